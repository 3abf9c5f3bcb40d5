import Foundation

/// What run.sh passes on.
struct Options {
    var socket = ""
    var parkedSocket = ""
    var parkedDaemon: pid_t = 0
    var hatchery = ""
    var floors = ""
    var python = "/usr/bin/python3"
    var commit = "unknown"
    var json: String?
    /// The daemon behind `socket`.
    var daemon: pid_t = 0
    /// A daemon in a mount namespace with a thousand mounts more; nil where that was not to be had.
    var mountsSocket: String?
    /// A daemon with the zygotes of `Ballast.sizes`.
    var ballastSocket: String?
    /// A daemon that gives networks; nil where none was to be had.
    var networkedSocket: String?
    /// Where the plot goes.
    var plot: String?
    /// A Python that has pyspawner.
    var pyspawner: String?
    private var wantedGrowth: Int?
    var isQuick = false
    var isForced = false

    /// Of every row with percentiles.
    var samples: Int { isQuick ? 250 : 2000 }
    var bubblewrapSamples: Int { isQuick ? 200 : 2000 }
    var peerSamples: Int { isQuick ? 50 : 2000 }
    var rateSeconds: Int { isQuick ? 4 : 20 }
    var growthSpawns: Int { wantedGrowth ?? (isQuick ? 1000 : 20_000) }
    let commandLineSamples = 20
    let parkedChildren = 50
    var parkedRounds: Int { isQuick ? 2 : 15 }

    static let highestLoad = 4.0

    /// For one section alone.
    init(socket: String, isQuick: Bool) {
        self.socket = socket
        self.isQuick = isQuick
    }

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        func value(_ flag: String) throws -> String {
            guard let value = rest.popFirst() else { throw BenchmarkError("\(flag) needs a value") }
            return value
        }
        while let flag = rest.popFirst() {
            switch flag {
            case "--socket": socket = try value(flag)
            case "--parked-socket": parkedSocket = try value(flag)
            case "--parked-daemon": parkedDaemon = pid_t(try value(flag)) ?? 0
            case "--hatchery": hatchery = try value(flag)
            case "--floors": floors = try value(flag)
            case "--python": python = try value(flag)
            case "--commit": commit = try value(flag)
            case "--json": json = try value(flag)
            case "--daemon": daemon = pid_t(try value(flag)) ?? 0
            case "--mounts-socket": mountsSocket = try value(flag)
            case "--ballast-socket": ballastSocket = try value(flag)
            case "--networked-socket": networkedSocket = try value(flag)
            case "--plot": plot = try value(flag)
            case "--pyspawner": pyspawner = try value(flag)
            case "--growth":
                guard let count = Int(try value(flag)), count >= 8 else { throw BenchmarkError("--growth needs a number of spawns, 8 or more") }
                wantedGrowth = count
            case "--quick": isQuick = true
            case "--force": isForced = true
            default: throw BenchmarkError("unknown option \(flag); run.sh knows how to call this program")
            }
        }
        guard !socket.isEmpty, !parkedSocket.isEmpty, parkedDaemon > 0, daemon > 0, !hatchery.isEmpty, !floors.isEmpty else {
            throw BenchmarkError("daemons and programs must be named; call Benchmarks/run.sh instead")
        }
    }
}
