// swift-tools-version: 6.0
import PackageDescription

// A package of its own: nobody who uses Hatchery builds this.
let package = Package(
    name: "hatchery-benchmarks",
    products: [
        .executable(name: "hatchery-benchmarks", targets: ["HatcheryBenchmarks"]),
        .executable(name: "hatchery-floors", targets: ["HatcheryFloors"]),
    ],
    dependencies: [
        .package(name: "hatchery", path: "..")
    ],
    targets: [
        // C, and a program of its own: a floor is what a *tiny* process pays, so no Swift runtime may be mapped in it.
        .executableTarget(name: "HatcheryFloors", cSettings: [.define("_GNU_SOURCE")]),
        .executableTarget(
            name: "HatcheryBenchmarks",
            dependencies: [.product(name: "Hatchery", package: "hatchery")]),
    ]
)
