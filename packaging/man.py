#!/usr/bin/env python3
"""man.py SECTION PROGRAM DIRECTORY: the manual pages of a program, from what its argument parser says of itself.

One page for the program, and one for each of its verbs that is not hidden (hatchery-run.1 and so on).
"""

import json
import subprocess
import sys
from pathlib import Path

SEE_ALSO = {"hatchery": "hatcheryd(8)", "hatcheryd": "hatchery(1)"}


def escape(text):
    """As roff wants it: a line that begins with a dot or a quote would be a command, and a hyphen is not a minus."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join("\\&" + line if line.startswith((".", "\\(aq")) else line for line in text.split("\n"))


def spelled(argument):
    dashes = {"long": "--", "short": "-", "longWithSingleDash": "-"}
    return [dashes[name["kind"]] + name["name"] for name in argument.get("names", [])]


def value(argument):
    return f"\\fI{escape(argument['valueName'])}\\fR"


def usage(argument):
    if argument["kind"] == "positional":
        text = value(argument)
    else:
        text = f"\\fB{escape(spelled({'names': [argument['preferredName']]})[0])}\\fR"
        if argument["kind"] == "option":
            text += " " + value(argument)
    text += " ..." if argument["isRepeating"] else ""
    return f"[{text}]" if argument["isOptional"] else text


def described(argument):
    if argument["kind"] == "positional":
        term = value(argument)
    else:
        term = ", ".join(f"\\fB{escape(name)}\\fR" for name in spelled(argument))
        if argument["kind"] == "option":
            term += " " + value(argument)
    lines = [escape(argument.get("abstract", "")), escape(argument.get("discussion", ""))]
    if argument.get("defaultValue"):
        lines.append(f"(default: {escape(argument['defaultValue'])})")
    return [".TP", term] + [line for line in lines if line]


def page(command, names, section):
    title = "-".join(names)
    arguments = [argument for argument in command.get("arguments", []) if argument.get("shouldDisplay", True)]
    verbs = shown(command)
    lines = [f'.TH {title.upper()} {section} "" "Hatchery" "Hatchery"', ".SH NAME",
             f"{escape(title)} \\- {escape(command.get('abstract', '').rstrip('.'))}", ".SH SYNOPSIS",
             f"\\fB{escape(' '.join(names))}\\fR " + " ".join(map(usage, arguments)) + (" \\fIverb\\fR" if verbs else "")]
    if command.get("discussion"):
        lines += [".SH DESCRIPTION", escape(command["discussion"]).replace("\n\n", "\n.PP\n")]
    if arguments:
        lines += [".SH OPTIONS"] + [line for argument in arguments for line in described(argument)]
    if verbs:
        lines.append(".SH VERBS")
        for verb in verbs:
            lines += [".TP", f"\\fB{escape(title)}\\-{escape(verb['commandName'])}\\fR({section})", escape(verb.get("abstract", ""))]
    related = [f"{names[0]}({section})"] if len(names) > 1 else [SEE_ALSO[names[0]]]
    lines += [".SH FILES", ".TP", "\\fI/etc/hatchery/hatchery.yaml\\fR", "The daemon's configuration.",
              ".TP", "\\fI/run/hatchery/hatchery.sock\\fR", "The daemon's socket.",
              ".SH SEE ALSO", ", ".join(escape(name) for name in related), ".PP",
              "The documentation in \\fI/usr/share/doc/hatchery\\fR."]
    return "\n".join(line for line in lines if line) + "\n"


def shown(command):
    return [verb for verb in command.get("subcommands", []) if verb.get("shouldDisplay", True) and verb["commandName"] != "help"]


def main():
    section, program, directory = sys.argv[1:]
    dump = json.loads(subprocess.check_output([program, "--experimental-dump-help"]))["command"]
    pages = [(dump, [dump["commandName"]])]
    for command, names in pages:
        Path(directory, f"{'-'.join(names)}.{section}").write_text(page(command, names, section))
        pages += [(verb, [*names, verb["commandName"]]) for verb in shown(command)]


if __name__ == "__main__":
    main()
