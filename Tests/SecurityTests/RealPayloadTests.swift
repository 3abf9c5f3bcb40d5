import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Programs as people have them, under the default profile: a policy that breaks them protects nobody, because it is turned off.
/// Each prints what only comes out where the work was done.
@Suite(.serialized) struct RealPayloadTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        /// What must be installed; test.sh does that.
        let needs: String
        let program: String
        let arguments: [String]
        let prints: String
        var pids: UInt64?

        var testDescription: String { name }

        static func python(_ name: String, needs: String = Beds.python, _ code: String, prints: String) -> Case {
            Case(name: name, needs: needs, program: Beds.python, arguments: ["-I", "-c", code], prints: prints)
        }

        static func shell(_ name: String, needs: String, _ script: String, prints: String) -> Case {
            Case(name: name, needs: needs, program: "/bin/sh", arguments: ["-euc", script], prints: prints)
        }
    }

    static let cases: [Case] = [
        .python(
            "pandas", needs: "/usr/lib/python3/dist-packages/pandas",
            """
            import pandas as pd, numpy as np
            frame = pd.DataFrame({"k": np.arange(1000) % 7, "v": np.arange(1000.0)})
            frame.to_csv("/tmp/f.csv"); back = pd.read_csv("/tmp/f.csv")
            print(int(back.groupby("k").v.sum().sum()), back.merge(frame, on="k").shape)
            """, prints: "499500 (142858, 4)\n"),
        .python(
            "numpy with BLAS and its threads", needs: "/usr/lib/python3/dist-packages/numpy",
            """
            import numpy as np
            a = np.random.default_rng(1).random((300, 300)); x = np.linalg.solve(a, a @ np.ones(300))
            print(bool(np.allclose(x, 1)), np.linalg.svd(a)[1].shape)
            """, prints: "True (300,)\n"),
        .python(
            "sqlite and its locks",
            """
            import os, sqlite3
            def connect(): return sqlite3.connect("/tmp/x.db", timeout=30, isolation_level=None)
            connect().execute("create table t(a)")
            for mode in "wal", "delete":
                connect().execute(f"pragma journal_mode={mode}")
                pids = []
                for number in range(3):
                    pids.append(os.fork())
                    if pids[-1] == 0:
                        db = connect()
                        for i in range(20):
                            db.execute("begin immediate"); db.execute("insert into t values (?)", (i,)); db.execute("commit")
                        os._exit(0)
                for pid in pids: assert os.waitpid(pid, 0)[1] == 0
            print(connect().execute("select count(*), sum(a) from t").fetchone())
            """, prints: "(120, 1140)\n"),
        .shell(
            "gcc", needs: "/usr/bin/gcc",
            """
            cat >/tmp/a.c <<'END'
            #include <pthread.h>
            #include <stdio.h>
            static void *work(void *n) { *(int *)n *= 2; return NULL; }
            int main(void) { int n = 21; pthread_t t; pthread_create(&t, NULL, work, &n); pthread_join(t, NULL); printf("%d\\n", n); }
            END
            gcc -O2 -pthread -o /tmp/a /tmp/a.c && /tmp/a
            """, prints: "42\n"),
        .shell(
            "git", needs: "/usr/bin/git",
            """
            cd /tmp && git init -q one && cd one && git config user.email a@b && git config user.name n
            echo 1 >f && git add f && git commit -qm first && git checkout -qb next && echo 2 >>f && git commit -qam second
            cd .. && git clone -q one two && cd two && git gc -q && git log --format=%s && wc -l <f
            """, prints: "second\nfirst\n2\n"),
        Case(
            name: "node", needs: "/usr/bin/node", program: "/usr/bin/node",
            arguments: [
                "-e",
                """
                const { Worker } = require("worker_threads"), zlib = require("zlib"), fs = require("fs");
                const { execFileSync } = require("child_process"), crypto = require("crypto");
                fs.writeFileSync("/tmp/x", zlib.gzipSync(Buffer.alloc(100000)));
                console.log(zlib.gunzipSync(fs.readFileSync("/tmp/x")).length, execFileSync("/bin/echo", ["sub"]) + "");
                crypto.scrypt("a", "b", 16, (e, key) => {
                  console.log(key.length);
                  new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true }).on("message", console.log);
                });
                """,
            ], prints: "100000 sub\n\n16\n42\n"),
        .shell(
            "java", needs: "/usr/bin/java",
            """
            keytool -genkeypair -keyalg EC -alias a -dname CN=x -keystore /tmp/k -storepass secret -validity 9 2>/dev/null
            keytool -list -keystore /tmp/k -storepass secret | grep -c PrivateKeyEntry
            """, prints: "1\n"),
        .python(
            "pip from a local wheel", needs: "/usr/lib/python3/dist-packages/pip",
            """
            import subprocess, sys, zipfile
            info = "kestrel-1.0.dist-info/"
            with zipfile.ZipFile("/tmp/kestrel-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr("kestrel.py", "def hover(): return 'hovering'\\n")
                wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: kestrel\\nVersion: 1.0\\n")
                wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
                wheel.writestr(info + "RECORD", f"kestrel.py,,\\n{info}METADATA,,\\n{info}WHEEL,,\\n{info}RECORD,,\\n")
            subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-index", "--target", "/tmp/here",
                            "/tmp/kestrel-1.0-py3-none-any.whl"], check=True)
            sys.path.insert(0, "/tmp/here")
            import kestrel
            print(kestrel.hover())
            """, prints: "hovering\n"),
    ]

    @Test(arguments: cases)
    func itWorksUnderTheDefaultProfile(_ subject: Case) async throws {
        guard FileManager.default.fileExists(atPath: subject.needs) else {
            print("skipped: \(subject.name): \(subject.needs) is not installed")
            #expect(!Beds.mustWork)
            return
        }
        var options = RunOptions(time: Beds.time(.seconds(120)))
        options.cpuTime = Beds.time(.seconds(120))
        options.environment = [("PATH", "/usr/bin:/bin"), ("HOME", "/home/sandbox")]
        let result = try await Self.daemon.get().client().run(.program(subject.program, subject.arguments), options)
        #expect(result.verdict == .exited && result.exitCode == 0, "\(result.verdict.name) \(result.stderr.suffix(600))")
        #expect(result.stdout == subject.prints)
        // What it was refused all the same, for whoever reads the policy.
        if !result.evidence.violations.isEmpty { print("\(subject.name): refused \(result.evidence.violations)") }
    }

    private static let daemon = Result {
        try TestDaemon("zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 1}}]\nprofiles: {default: {}}")
    }
}
