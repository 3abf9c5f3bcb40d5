import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Rows A15 and A21 to A23: what a warm interpreter must and must not share.
@Suite struct PythonZygoteTests {
    private func daemon(_ zygote: String) throws -> TestDaemon {
        try TestDaemon(
            """
            zygotes:
              - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 1, max: 2}, \(zygote)}
            """)
    }

    @Test func importsAreDoneOnceInTheZygote() async throws {
        let daemon = try daemon("preload: [json], warmup: 'import os, json; json.imported_by = os.getpid()'")
        defer { daemon.stop() }
        let client = try await daemon.client()
        var seen: Set<String> = []
        for _ in 0..<3 {
            let result = try await client.run(.python(code: "import sys; print(sys.modules['json'].imported_by)"))
            seen.insert(result.stdout)
        }
        #expect(seen.count == 1)
    }

    @Test func aFailingImportIsAnErrorWithItsTracebackBeforeReady() throws {
        let error = #expect(throws: TestDaemon.Refused.self) { try daemon("preload: [json, no_such_module]") }
        #expect(error?.description.contains("ModuleNotFoundError: No module named 'no_such_module'") == true)
    }

    @Test func aFailingWarmUpIsAnErrorWithItsTraceback() throws {
        let error = #expect(throws: TestDaemon.Refused.self) { try daemon("warmup: '1/0'") }
        #expect(error?.description.contains("ZeroDivisionError") == true)
    }

    @Test func aPreloadThatStartsAThreadIsRefusedByName() throws {
        let error = #expect(throws: TestDaemon.Refused.self) {
            try daemon("warmup: 'import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()'")
        }
        #expect(error?.description.contains("thread") == true)
    }

    @Test func twoChildrenDiffer() async throws {
        let client = try await Beds.root().client()
        let code = """
            import random, uuid, secrets, tempfile, ssl, os
            print(random.random(), uuid.uuid4(), secrets.token_hex(8), next(tempfile._get_candidate_names()),
                  ssl.RAND_bytes(8).hex(), os.urandom(8).hex(), sep="\\n")
            """
        let first = try await client.run(.python(code: code)).stdout.split(separator: "\n")
        let second = try await client.run(.python(code: code)).stdout.split(separator: "\n")
        #expect(first.count == 6)
        for (a, b) in zip(first, second) { #expect(a != b) }
    }

    @Test func theSameSeedGivesTheSameValues() async throws {
        let client = try await Beds.root().client()
        var options = RunOptions()
        options.seed = 42
        let code = "import random; print(random.random(), random.getrandbits(64))"
        let first = try await client.run(.python(code: code), options).stdout
        let second = try await client.run(.python(code: code), options).stdout
        #expect(!first.isEmpty && first == second)
    }

    /// Row A22: a 100 KB marker in A's arguments, environment and stdin is nowhere in B's memory.
    @Test func nothingOfOneRequestIsInTheNextOnesMemory() async throws {
        let client = try await Beds.root().client()
        let marker = String(repeating: "Zx9Qw7Lk", count: 12_800)
        var options = RunOptions()
        options.environment = [("MARKED", marker)]
        options.stdin = .bytes(Array(marker.utf8))
        // The needle is put together at run time, so that the searching code does not contain it.
        let scan = """
            import sys
            needle = b"".join([b"Zx9Q", b"w7Lk"]) * 4
            held = sys.stdin.buffer.read()
            found = 0
            with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
                for line in maps:
                    span, rights = line.split()[:2]
                    if "r" not in rights or "[v" in line: continue
                    start, end = (int(part, 16) for part in span.split("-"))
                    try:
                        memory.seek(start)
                        found += memory.read(end - start).count(needle)
                    except (OSError, ValueError, OverflowError): pass
            # The needle itself, and copies of it that the interpreter makes, are short; the marker is 100 KB.
            print("marker" if found > 100 else "clean")
            """
        let holder = try await client.run(.python(code: scan, [marker]), options)
        #expect(holder.stdout == "marker\n", "the search must be able to find it")
        for _ in 0..<3 {
            let later = try await client.run(.python(code: scan))
            #expect(later.stdout == "clean\n")
        }
    }

    @Test func scriptsModulesAndArgumentsAreAsPythonHasThem() async throws {
        let client = try await Beds.root().client()
        let script = "import sys; print(sys.argv, __name__, __file__); raise SystemExit(3)\n"
        let result = try await client.run(.python(source: Array(script.utf8), name: "dir/tool.py", ["a", "b c"]))
        #expect(result.stdout.contains("'a', 'b c'] __main__"))
        #expect(result.exitCode == 3)
        let module = try await client.run(.python(module: "json.tool", ["--help"]))
        #expect(module.stdout.hasPrefix("usage:"))
    }

    @Test func libraryFeaturesWorkInside() async throws {
        let code = """
            import asyncio, multiprocessing, os, subprocess, threading, tempfile, sqlite3, concurrent.futures as cf
            def square(x): return x * x
            if __name__ == "__main__":
                print(subprocess.run(["/bin/echo", "sub"], capture_output=True).stdout)
                box = []
                thread = threading.Thread(target=box.append, args=(1,)); thread.start(); thread.join(); print(box)
                async def f(): await asyncio.sleep(0); return "async"
                print(asyncio.run(f()))
                with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(square, [1, 2, 3]))
                with cf.ThreadPoolExecutor(2) as pool: print(list(pool.map(square, [4])))
                with tempfile.NamedTemporaryFile() as file: file.write(b"x"); print(os.path.dirname(file.name))
                db = sqlite3.connect("x.db"); db.execute("create table t(a)"); db.commit(); print("sqlite")
                print(os.path.expanduser("~"), os.access("/dev/shm", os.W_OK))
            """
        let client = try await Beds.root().client()
        let result = try await client.run(.python(source: Array(code.utf8), name: "features.py"))
        #expect(
            result.stdout == """
                b'sub\\n'
                [1]
                async
                [1, 4, 9]
                [16]
                /tmp
                sqlite
                /home/sandbox True

                """, "\(result.stderr)")
        #expect(result.exitCode == 0)
    }
}
