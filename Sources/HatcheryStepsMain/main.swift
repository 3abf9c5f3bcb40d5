// The runner inside a build's sandbox: takes the orders of one phase on stdin, runs its tasks, tells on stdout what becomes of
// them, and sends the state of the tree back. Linked statically, since the root around it may hold nothing at all.
import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

// SECURITY: the tasks have this process's user id. Not dumpable, its descriptors, memory and environment are out of their reach
// (ptrace(2)), so that nobody but the runner says how a task ended. Before anything is read. Test: aStepCannotSpeakForTheRunner.
// It kills everything that it can see. Only in a pid namespace of its own is it the first process behind the init; outside,
// that one is a thread of the kernel.
guard getpid() == 2 && getppid() == 1 else {
    try? writeAll(STDERR_FILENO, Array("hatchery-steps runs inside a build's sandbox; use hatchery build\n".utf8))
    exit(125)
}
_ = hatchery_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
signal(SIGPIPE, SIG_IGN)
umask(0o022)
exit(PhaseRun.perform())
