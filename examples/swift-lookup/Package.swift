// swift-tools-version: 6.0
import PackageDescription

// Build with `swift build -c release --static-swift-stdlib`: the sandboxes have no Swift runtime of their own.
let package = Package(
    name: "swift-lookup",
    dependencies: [.package(name: "hatchery", path: "../..")],
    targets: [
        .executableTarget(name: "Lookup", dependencies: [.product(name: "HatcheryZygote", package: "hatchery")])
    ])
