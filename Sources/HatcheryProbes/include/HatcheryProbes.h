#ifndef HATCHERY_PROBES_H
#define HATCHERY_PROBES_H

// The inside of `hatchery security-test`: a small server that tries things and says what came of them.
//
// C, because an attacker's tools are raw: system calls by number, the x32 and i386 entries, memory by address. It knows
// nothing of what is right or wrong; the outside judges. The same code serves as a program (kind exec) and as a library
// that a cloned Python loads (no execve in between, so that what the zygote left in the process is within its reach).

/// Reads one attempt a line from `input` and answers each with one line on `output`, until the end of file.
///
/// A line is `do NAME ARG...` (in a forked child: what kills it is told as `killed SIGNAL`) or `here NAME ARG...` (in this
/// very process, so that what is opened stays open). An answer is `ok [TEXT]`, the name of an errno, `killed SIGNAL`, or
/// `unsupported` for what this architecture does not have.
/// - Returns: 0.
int hatchery_probes_serve(int input, int output);

#endif
