import Glibc
import HatcheryCommandLine

exit(HatcheryCommand.main(words: Array(CommandLine.arguments.dropFirst())))
