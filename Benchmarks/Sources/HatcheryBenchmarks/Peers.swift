import Foundation

/// The field's tools beside ours, in the same run, where they are installed.
struct Peers {
    let options: Options

    func addRows(to report: inout Report) throws {
        let section = "Peers"
        try add(section, "bwrap, python3 -c 'import pandas; print(1)'", "/usr/bin/bwrap", samples: options.isQuick ? 10 : 100, to: &report) {
            Program(
                $0, ["--ro-bind", "/", "/", "--unshare-all", options.python, "-c", "import pandas; print(1)"])
        }
        let bundle = NSTemporaryDirectory() + "hatchery-crun-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: bundle) }
        try add(section, "crun run, /bin/true, cgroups left alone", "/usr/bin/crun", samples: options.peerSamples, to: &report) {
            try Peers.write(bundle: bundle)
            return Program($0, ["--cgroup-manager=disabled", "run", "--bundle", bundle, "hatchery-\(getpid())"])
        }
        try addPyspawner(section, to: &report)
    }

    private func add(
        _ section: String, _ name: String, _ path: String, samples count: Int, to report: inout Report,
        _ make: (String) throws -> Program
    ) throws {
        guard access(path, X_OK) == 0 else {
            report.add(Row(section, "\(name): not installed", figure: .nan, unit: "us", samples: 0))
            return
        }
        let program = try make(path)
        do {
            _ = try program.timed()
        } catch {
            report.add(Row(section, "\(name): refused here", figure: .nan, unit: "us", samples: 0, note: "\(error)"))
            return
        }
        progress("\(count) runs of \(name)")
        var samples = Samples()
        for _ in 0..<count { samples.append(try program.timed()) }
        report.add(Row(section, name, samples))
    }

    /// The host's root, read-only, and new namespaces: as near to bwrap's run as an OCI bundle comes.
    private static func write(bundle: String) throws {
        try FileManager.default.createDirectory(atPath: bundle, withIntermediateDirectories: true)
        let namespaces = ["pid", "network", "ipc", "uts", "mount"].map { "{\"type\": \"\($0)\"}" }.joined(separator: ", ")
        let text = """
            {"ociVersion": "1.0.0", "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"],
             "env": ["PATH=/usr/bin:/bin"], "cwd": "/", "noNewPrivileges": true},
             "root": {"path": "/", "readonly": true},
             "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
             "linux": {"namespaces": [\(namespaces)]}}
            """
        try text.write(toFile: bundle + "/config.json", atomically: true, encoding: .utf8)
    }

    /// pyspawner (PyPI) hands out a child of a preloaded interpreter: our nearest relative. Its own Python is named by
    /// HATCHERY_BENCHMARK_PYSPAWNER.
    private func addPyspawner(_ section: String, to report: inout Report) throws {
        guard let python = options.pyspawner else {
            report.add(Row(section, "pyspawner: no interpreter that has it was named", figure: .nan, unit: "us", samples: 0))
            return
        }
        progress("\(options.peerSamples) lives of pyspawner")
        let lines: [Substring]
        do {
            lines = try Program(python, ["-c", Peers.spawnLoop, "\(options.peerSamples)"]).output().split(separator: "\n")
        } catch {
            report.add(Row(section, "pyspawner: does not run here", figure: .nan, unit: "us", samples: 0, note: "\(error)"))
            return
        }
        var (handOff, firstByte, ended) = (Samples(), Samples(), Samples())
        for line in lines {
            let numbers = line.split(separator: " ").compactMap { UInt64($0) }
            guard numbers.count == 3 else { throw BenchmarkError("pyspawner's loop printed \"\(line)\"") }
            handOff.append(numbers[0])
            firstByte.append(numbers[1])
            ended.append(numbers[2])
        }
        report.add(Row(section, "pyspawner with pandas: request -> pid in hand", handOff))
        report.add(Row(section, "pyspawner with pandas: request -> first byte", firstByte))
        report.add(Row(section, "pyspawner with pandas: request -> reaped", ended))
    }

    // The function that children run must be importable by its module's name: the module is written to a directory of its own.
    private static let spawnLoop = """
        import os, sys, tempfile, time
        place = tempfile.mkdtemp()
        with open(os.path.join(place, "bench_child.py"), "w") as file:
            file.write("import os\\ndef main(*_):\\n    os.write(1, b'1')\\n")
        sys.path.insert(0, place)
        import pyspawner
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
        with pyspawner.Client(child_main="bench_child.main", environment=environment, preload_imports=["pandas"]) as client:
            config = pyspawner.SandboxConfig(chroot_dir=None, network=None)
            for index in range(5 + int(sys.argv[1])):
                start = time.monotonic_ns()
                child = client.spawn_child(args=[], process_name="bench", sandbox_config=config)
                handed = time.monotonic_ns()
                child.stdout.read(1)
                first = time.monotonic_ns()
                child.wait(0)
                ended = time.monotonic_ns()
                for stream in (child.stdin, child.stdout, child.stderr):
                    stream.close()
                if index >= 5:
                    print(handed - start, first - start, ended - start, flush=True)
        os.remove(os.path.join(place, "bench_child.py"))
        import shutil
        shutil.rmtree(place, ignore_errors=True)
        """
}
