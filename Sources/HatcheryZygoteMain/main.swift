import Glibc
import HatcheryZygote

// hatchery-zygote CONTROL SPEC: started by hatcheryd with two open descriptors, never by hand.
guard CommandLine.arguments.count == 3, let control = Int32(CommandLine.arguments[1]),
    let spec = Int32(CommandLine.arguments[2])
else {
    let message = "hatchery-zygote is started by hatcheryd\n"
    _ = write(2, message, message.utf8.count)
    exit(125)
}
Launcher.run(control: control, spec: spec)
