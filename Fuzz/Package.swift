// swift-tools-version: 6.0
import PackageDescription

// A package of its own: nobody who uses Hatchery builds this. Fuzz/run.sh builds it with the toolchain's libFuzzer.
let package = Package(
    name: "hatchery-fuzz",
    dependencies: [.package(name: "hatchery", path: "..")],
    targets: [
        .executableTarget(
            name: "HatcheryFuzz",
            dependencies: [.product(name: "HatcheryFuzzing", package: "hatchery")],
            // libFuzzer brings main.
            swiftSettings: [.unsafeFlags(["-parse-as-library"])]),
    ]
)
