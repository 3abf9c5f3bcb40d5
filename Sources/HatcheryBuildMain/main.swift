import Glibc
import HatcheryCommandLine

exit(BuildVerb.main(words: Array(CommandLine.arguments.dropFirst())))
