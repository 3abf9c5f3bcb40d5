// swift-tools-version: 6.0
import PackageDescription

// The parts that live inside a zygote carry their own Swift runtime: a zygote is pivoted into a minimal tree in which no
// Swift toolchain exists, and a host that only runs Hatchery has none either.
let selfContained: [LinkerSetting] = [.unsafeFlags(["-static-stdlib"])]

// A sanitizer's runtime is no part of a static program: Tests/sanitize.sh builds these as others are.
let isSanitized = Context.environment["HATCHERY_SANITIZE"] == "1"
let wholly: [LinkerSetting] = isSanitized ? [] : [.unsafeFlags(["-static-executable"])]

// HATCHERY_TESTING compiles in the switches that take single layers away. A release build does not know them: a
// production daemon refuses such a request by name.
let testSwitches: [SwiftSetting] = [.define("HATCHERY_TESTING", .when(configuration: .debug))]

let package = Package(
    name: "hatchery",
    products: [
        .library(name: "Hatchery", targets: ["Hatchery"]),
        .library(name: "HatcheryJobs", targets: ["HatcheryJobs", "HatcheryBuildSpec"]),
        .library(name: "HatcheryZygote", targets: ["HatcheryZygote"]),
        .library(name: "hatchery-python", type: .dynamic, targets: ["HatcheryPython"]),
        .executable(name: "hatcheryd", targets: ["HatcheryDaemonMain"]),
        .executable(name: "hatchery-zygote", targets: ["HatcheryZygoteMain"]),
        .executable(name: "hatchery-build", targets: ["HatcheryBuildMain"]),
        .executable(name: "hatchery-steps", targets: ["HatcheryStepsMain"]),
        .executable(name: "hatchery", targets: ["HatcheryCLI"]),
        .executable(name: "hatchery-probe", targets: ["HatcheryProbe"]),
        .library(name: "hatchery-probes", type: .dynamic, targets: ["HatcheryProbes"]),
        .library(name: "HatcheryFuzzing", targets: ["HatcheryFuzzing"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // The system: C that Swift cannot say, and the two libraries of the field.
        .target(name: "CHatchery", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "CCap", pkgConfig: "libcap", providers: [.apt(["libcap-dev"])]),

        // The contract, and the one layer that calls the kernel.
        .target(name: "HatcheryProtocol", dependencies: ["CHatchery"]),
        .target(
            name: "HatcherySystem",
            dependencies: ["CHatchery", "CCap", "HatcheryProtocol"]),

        // The zygote side: no Foundation, no Dispatch, no Concurrency.
        .target(
            name: "HatcheryZygote",
            dependencies: ["CHatchery", "HatcheryProtocol", "HatcherySystem"],
            swiftSettings: testSwitches),
        .target(
            name: "HatcheryPython",
            dependencies: ["HatcheryZygote"],
            linkerSettings: selfContained),
        .executableTarget(
            name: "HatcheryZygoteMain",
            dependencies: ["HatcheryZygote"],
            linkerSettings: selfContained),

        // YAML that people write: read with marks, decoded by tables, errors that name line, key and the nearest right one.
        .target(
            name: "HatcheryConfigurationText",
            dependencies: ["HatcheryProtocol", .product(name: "Yams", package: "Yams")]),

        // The front.
        .target(
            name: "HatcheryDaemon",
            dependencies: [
                "CSeccomp", "HatcheryConfigurationText", "HatcheryProtocol", "HatcherySystem",
                .product(name: "Logging", package: "swift-log"),
            ],
            resources: [
                .embedInCode("Python/zygote.py"),
                .embedInCode("Seccomp/Policies/default.policy"),
                .embedInCode("Seccomp/Policies/init.policy"),
            ],
            swiftSettings: testSwitches),
        .executableTarget(
            name: "HatcheryDaemonMain",
            dependencies: [
                "HatcheryDaemon",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            // The default linker warns of a function inside Foundation's archive that nobody here calls.
            linkerSettings: [.unsafeFlags(["-use-ld=lld"])]),

        // The client.
        .target(
            name: "Hatchery",
            dependencies: [
                "HatcheryProtocol", "HatcherySystem",
                .product(name: "SystemPackage", package: "swift-system"),
            ]),
        // The runner inside a build's sandboxes, and what it and the builder tell each other. Linked statically: the root
        // around it may hold nothing at all.
        .target(name: "HatcherySteps", dependencies: ["CHatchery", "HatcheryProtocol", "HatcherySystem"]),
        .executableTarget(
            name: "HatcheryStepsMain",
            dependencies: ["CHatchery", "HatcheryProtocol", "HatcherySteps", "HatcherySystem"],
            linkerSettings: wholly + [.unsafeFlags(["-use-ld=lld"])]),
        // On top of the client: scripts, commands, builds.
        .target(
            name: "HatcheryJobs",
            dependencies: ["CHatchery", "Hatchery", "HatcheryProtocol", "HatcherySteps", "HatcherySystem"]),
        // The text of a build spec, and `hatchery build` itself: apart, so that the small command line carries no YAML.
        .target(
            name: "HatcheryBuildSpec",
            dependencies: ["HatcheryConfigurationText", "HatcheryJobs", "HatcheryProtocol", "HatcherySystem"]),
        .executableTarget(
            name: "HatcheryBuildMain",
            dependencies: [
                "Hatchery", "HatcheryBuildSpec", "HatcheryCommandLine", "HatcheryJobs", "HatcheryProtocol", "HatcherySystem",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            linkerSettings: [.unsafeFlags(["-use-ld=lld"])]),
        // The verbs, apart from the executable so that tests can link them. The executable carries its Swift runtime: one
        // file to install, and half the dynamic linker's work at every start.
        // What `hatchery security-test` tries, and how it is judged.
        .target(name: "HatcherySecuritySuite", dependencies: ["CHatchery", "Hatchery", "HatcheryProtocol", "HatcherySystem"]),
        .target(
            name: "HatcheryCommandLine",
            dependencies: [
                "Hatchery", "HatcheryJobs", "HatcherySecuritySuite",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .executableTarget(
            name: "HatcheryCLI",
            dependencies: ["HatcheryCommandLine"],
            // argument-parser brings FoundationEssentials, whose archive does not name the two that it needs itself.
            linkerSettings: selfContained + [
                .linkedLibrary("_FoundationCollections"), .linkedLibrary("_FoundationCShims"),
                // gold warns of mktemp in Foundation's archive, which nobody calls.
                .unsafeFlags(["-use-ld=lld"]),
            ]),

        // The inside of `hatchery security-test`: as a program, and as a library for the cloned Python. C, for calls by number
        // and foreign entries; static, so that it runs in a root that holds nothing else. Neither holds any of Swift.
        .target(
            name: "HatcheryProbes", cSettings: [.define("_GNU_SOURCE")],
            linkerSettings: [.unsafeFlags(["-nostartfiles", "-static-stdlib"])]),
        .executableTarget(
            name: "HatcheryProbe", dependencies: ["HatcheryProbes"],
            linkerSettings: wholly),
        // What a fuzzer and the tests of the corpora call: Fuzz/README.md.
        .target(
            name: "HatcheryFuzzing",
            dependencies: [
                "HatcheryBuildSpec", "HatcheryConfigurationText", "HatcheryDaemon", "HatcheryJobs", "HatcheryProtocol", "HatcherySteps",
            ],
            path: "Fuzz/Targets"),
        .testTarget(name: "HatcheryFuzzTests", dependencies: ["HatcheryFuzzing"]),

        .testTarget(name: "HatcheryProtocolTests", dependencies: ["HatcheryProtocol"]),
        .testTarget(name: "HatcherySystemTests", dependencies: ["CHatchery", "HatcherySystem"]),
        .testTarget(
            name: "HatcheryTests", dependencies: ["Hatchery", "HatcheryCommandLine"]),
        .testTarget(
            name: "HatcheryDaemonTests", dependencies: ["HatcheryDaemon", "CSeccomp"],
            swiftSettings: testSwitches),

        // A Swift zygote for the tests, with Foundation in it, and the one of examples/swift-lookup.
        .executableTarget(
            name: "HatcheryTestService", dependencies: ["HatcheryZygote"], path: "Tests/TestService",
            linkerSettings: selfContained + [
                // All of Foundation, whose archives do not name each other.
                .linkedLibrary("_FoundationCollections"), .linkedLibrary("_FoundationCShims"), .linkedLibrary("_FoundationICU"),
                .linkedLibrary("CoreFoundation"), .linkedLibrary("_CFXMLInterface"), .linkedLibrary("swiftSynchronization"),
                .linkedLibrary("stdc++"),
                .unsafeFlags(["-use-ld=lld"]),
            ]),
        .executableTarget(
            name: "HatcheryLookupExample", dependencies: ["HatcheryZygote"], path: "examples/swift-lookup/Sources/Lookup",
            linkerSettings: selfContained),

        // Daemons that the tests start, and programs that report from inside.
        .target(name: "HatcheryTestSupport", dependencies: ["CHatchery", "Hatchery"], path: "Tests/Support"),
        .testTarget(
            name: "SecurityTests",
            dependencies: ["CHatchery", "Hatchery", "HatcheryProtocol", "HatcherySystem", "HatcheryTestSupport"]),
        .testTarget(
            name: "HatcheryJobsTests",
            dependencies: [
                "CHatchery", "Hatchery", "HatcheryBuildSpec", "HatcheryConfigurationText", "HatcheryJobs", "HatcherySteps",
                "HatcherySystem", "HatcheryTestSupport",
            ]),
    ]
)
