"""Facts about zygote.py. Most compare a child with what the same interpreter does when it is started afresh.

    /usr/bin/python3 -m unittest discover -s Tests/PythonBootstrapTests
    HATCHERY_TEST_PYTHON=/path/to/python3.13 ...      another interpreter as the zygote
"""
import contextlib, importlib.util, json, os, re, shutil, subprocess, sys, tempfile, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BOOTSTRAP, CALL, CODE, MODULE, PYTHON, SCRIPT, Zygote, plan, real

VERSION = tuple(json.loads(subprocess.check_output([PYTHON, "-c", "import sys; print(list(sys.version_info[:2]))"])))
LC = "LC_ALL=C.UTF-8"


def has(module):
    return subprocess.run([PYTHON, "-I", "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode == 0


def needs(module):
    present = has(module)
    if not present:
        if os.environ.get("MUST_WORK") == "1":
            raise RuntimeError(f"MUST_WORK=1, and {PYTHON} has no {module}")
        print(f"skipped: {PYTHON} has no {module}", file=sys.stderr)
    return unittest.skipUnless(present, f"{PYTHON} has no {module}")


def comparable(result):
    """Without what differs between two runs of the same interpreter, and without the few frames below a child's script."""
    stderr = re.sub(rb"0x[0-9a-f]{6,}", b"0x", result.stderr)
    return result.status, result.stdout, re.sub(rb"repeated 9\d\d more times", b"repeated 9xx more times", stderr)


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.zygote = Zygote(["json", "random", "tempfile", "uuid", "secrets", "ssl", "threading", "logging"])
        assert cls.zygote.greeting == "ready", cls.zygote.greeting

    @classmethod
    def tearDownClass(cls):
        cls.zygote.__exit__()

    def setUp(self):
        self.directory = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory, True)

    def file(self, name, text):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def script(self, source, arguments=(), stdin=b"", name="prog.py", zygote=None, **more):
        launch = plan(SCRIPT, name, source, arguments, more.pop("environment", [LC]), **more)
        return (zygote or self.zygote).run(launch, stdin, self.directory)

    def code(self, source, **more):
        return self.zygote.run(plan(CODE, source=source, environment=[LC]), directory=self.directory, **more)

    def assert_like_python(self, source, arguments=(), stdin=b"", name="prog.py"):
        self.file(name, source)
        expected = real([name, *arguments], self.directory, stdin)
        os.remove(os.path.join(self.directory, name))
        self.assertEqual(comparable(self.script(source, arguments, stdin, name)), comparable(expected))
        return expected

    def values(self, source, **more):
        result = self.script(source, **more)
        self.assertEqual((result.status, result.stderr), (0, b""))
        return json.loads(result.stdout)


class Output(Case):
    def test_print_and_raw_descriptors_arrive_exactly_and_in_order(self):
        result = self.script(
            "import os, sys\nprint('one')\nsys.__stdout__.write('two\\n')\nos.write(1, b'three\\n')\nprint('four', end='')\n"
            "sys.stderr.write('e1\\n'); os.write(2, b'e2\\n'); sys.__stderr__.write('e3')\n")
        self.assertEqual(result.triple(), (0, b"one\ntwo\nthree\nfour", b"e1\ne2\ne3"))

    def test_std_streams_look_like_pythons(self):
        self.assert_like_python(
            "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n"
            "  print(s, s.buffer, s.buffer.raw, s.mode, s.errors, s.newlines, s.fileno(), s.write_through)\n"
            "print(sys.stdout is sys.__stdout__, sys.stdin is sys.__stdin__, sys.stderr is sys.__stderr__)")

    def test_streams_know_their_files(self):
        self.assert_like_python(
            "import sys\nfor s in (sys.stdout, sys.stderr):\n"
            "  print(s.seekable(), s.isatty(), s.readable(), s.writable(), s.encoding, s.closed)\nprint(sys.stdin.readable())")

    def test_a_stream_that_was_replaced_is_flushed_too(self):
        self.assert_like_python("import sys, io\nsys.stdout = io.StringIO()\nsys.__stdout__.write('kept')\nsys.__stderr__.write('this')")

    def test_what_is_printed_before_a_kill_is_not_lost(self):
        result = self.script("import os, signal\nprint('partial')\nos.kill(os.getpid(), signal.SIGKILL)")
        self.assertEqual(result.triple(), (-9, b"partial\n", b""))

    def test_nul_surrogates_and_invalid_utf8(self):
        self.assert_like_python("print('a\\0b')")
        self.assert_like_python("print('\\udcff\\udc80')")
        self.assert_like_python("print('\\ud800')")
        self.assert_like_python("import sys\nsys.stdout.buffer.write(bytes(range(256)))")
        self.assert_like_python("import sys\nsys.stderr.write('\\ud800\\n')")
        self.assert_like_python("import sys\nprint(sys.argv, ascii(input()))", ["\udcff", "ü"], b"\xff\xfe\n")

    def test_huge_output_is_whole(self):
        result = self.script("import sys\nfor i in range(200): print('x' * 100000)\nsys.stdout.write('end')")
        self.assertEqual((result.status, len(result.stdout), result.stderr), (0, 200 * 100001 + 3, b""))

    def test_stdin_is_echoed_and_ends(self):
        self.assert_like_python("import sys\nsys.stdout.write(sys.stdin.read())", stdin=b"a\r\nb\rc\n" * 5000)
        self.assert_like_python("print(input(), input('> '))", stdin=b"first\nsecond")
        self.assert_like_python("input()")  # EOFError

    def test_a_flush_that_fails_is_told(self):
        launch = plan(CODE, source="import sys\nsys.stdout.write('x')", environment=[LC])
        result = self.zygote.run(launch, close_stdout=True)
        self.assertEqual(result.status, 120)
        self.assertIn(b"BrokenPipeError", result.stderr)

    def test_files_left_open_reach_the_disk(self):
        self.script("import io\nf = open('left', 'w')\nf.write('kept')\ng = [open('other', 'wb')]\ng[0].write(b'too')\ng.append(g)")
        for name, content in (("left", "kept"), ("other", "too")):
            with open(os.path.join(self.directory, name)) as file:
                self.assertEqual(file.read(), content)

    def test_c_stdio_is_flushed(self):
        self.assert_like_python("import ctypes\nctypes.CDLL(None).printf(b'from C')")


class Exceptions(Case):
    def test_tracebacks_are_pythons_byte_for_byte(self):
        for source in (
            "print('x')\n1/0\n",
            "def f(n):\n    if n: f(n - 1)\n    else: raise ValueError('ü', '\\ud800')\n\nf(2)\n",
            "try:\n    {}['a']\nexcept KeyError as e:\n    raise RuntimeError('b') from e\n",
            "try:\n    {}['a']\nexcept KeyError as e:\n    raise RuntimeError('b')\n",
            "def f(): f()\nf()\n",
            "import json\njson.loads('{')\n",
            "import nowhere\n",
            "raise BaseException('base')",
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
            "exec('1/0')\n",
            "import sys\nsys.excepthook = lambda *a: print('hook', a[0], a[1], a[2].tb_lineno)\n1/0\n",
            "import sys\ndef hook(*a): raise KeyError(1)\nsys.excepthook = hook\n1/0\n",
            "import sys\nsys.excepthook = lambda *a: sys.exit(7)\n1/0\n",
            "import warnings\nwarnings.warn('hm')\n",
            "x = y\n" if VERSION < (3, 12) else "1/0",
            "raise GeneratorExit",
            "class A:\n    def __del__(self): raise ValueError('unraisable')\nA()\nprint('on')\n",
            "assert False, 'so'\n",
        ):
            with self.subTest(source):
                self.assert_like_python(source)

    def test_exception_groups_are_pythons(self):
        if VERSION >= (3, 11):
            self.assert_like_python("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])")

    def test_syntax_errors_are_pythons(self):
        for source in ("x = = 1\n", "def f(:\n", "if True:\nprint(1)\n", "\n\n  'abc\n", "return 1\n", "x = (1,\n",
                       "print 'x'\n", "f(a for a in b, c)\n", "\tx\n        y\n"):
            if VERSION == (3, 9) and source == "x = (1,\n":
                continue  # its parser words this differently for a file and for a string
            with self.subTest(source):
                self.assert_like_python(source)

    def test_a_script_that_cannot_be_stored_still_shows_its_lines(self):
        self.file("prog.py", "something = 'else'\n")
        result = self.script("print('mine')\n1/0\n")
        self.assertEqual((result.status, result.stdout), (1, b"mine\n"))
        self.assertIn(b"    1/0\n", result.stderr)
        self.assertTrue(result.stderr.endswith(b"ZeroDivisionError: division by zero\n"))

    def test_no_frame_of_ours_is_in_any_traceback(self):
        result = self.script("import threading\ndef f(): 1/0\nt = threading.Thread(target=f)\nt.start(); t.join()\nf()")
        self.assertNotIn(b"/proc/self/fd", result.stderr)
        self.assertNotIn(b"ctypes", result.stderr)

    def test_encoding_declarations_are_obeyed(self):
        self.assert_like_python(b"# coding: latin-1\nprint('\xe9')\n")
        self.assert_like_python(b"\xef\xbb\xbfprint('bom')\n")
        self.assert_like_python("print('crlf')\r\nprint(2)\r\n")


class Exit(Case):
    def test_exit_codes_are_pythons(self):
        for code in ("", "None", "0", "1", "42", "130", "255", "256", "257", "-1", "-2", "2**31", "2**63", "-2**70", "True", "False",
                     "'text'", "'ü\\ud800'", "1.5", "[1]", "(1, 2)", "object"):
            with self.subTest(code):
                if VERSION >= (3, 12) and "**" in code and code != "2**31":
                    continue  # CPython tells of its own OverflowError there, as one of threading's shutdown
                self.assert_like_python(f"import sys\nprint('out')\nsys.exit({code})\n")
        self.assert_like_python("raise SystemExit")
        self.assert_like_python("raise SystemExit(1, 2)")
        self.assert_like_python("exit(3)")
        self.assert_like_python("import os\nos._exit(9)")

    def test_signals_are_pythons(self):
        self.assert_like_python("raise KeyboardInterrupt")
        self.assert_like_python("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(5)")
        self.assert_like_python("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)")
        self.assert_like_python("import os\nos.abort()")
        self.assert_like_python(
            "import signal\nprint([(int(s), str(signal.getsignal(s))[:25]) for s in signal.valid_signals() if signal.getsignal(s)])")

    def test_exit_handlers_run_as_in_python(self):
        self.assert_like_python("import atexit\natexit.register(print, 1)\natexit.register(print, 2)\nprint(0)")
        self.assert_like_python("import atexit, sys\natexit.register(print, 1)\nsys.exit(3)")
        self.assert_like_python("import atexit\natexit.register(print, 1)\n1/0")
        self.assert_like_python("import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'final')")
        self.assert_like_python("class A:\n    def __del__(self): print('del')\na = A()\nb = [A()]\nb.append(b)")
        if VERSION >= (3, 10):
            self.assert_like_python("import atexit\ndef f(): raise ValueError(1)\natexit.register(f)\nprint(0)")

    def test_an_exit_handler_that_hangs_is_left_behind(self):
        for hang in ("__import__('time').sleep(60)", "exec('while True: pass')", "__import__('threading').Lock().__enter__()"):
            start = time.monotonic()
            result = self.script(f"import atexit, threading\ndef f():\n    l = threading.Lock(); l.acquire()\n"
                                 f"    l.acquire() if 'Lock' in {hang!r} else {hang}\natexit.register(f)\nprint('out', end='')")
            self.assertEqual((result.status, result.stdout), (0, b"out"))
            self.assertIn(b"exit handlers took more than", result.stderr)
            self.assertLess(time.monotonic() - start, 8)

    def test_threads_are_joined_and_daemons_are_not(self):
        self.assert_like_python("import threading, time\ndef f():\n    time.sleep(.3); print('late')\n"
                                "threading.Thread(target=f).start()\nprint('main')")
        self.assert_like_python("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(1)")
        self.assert_like_python("import concurrent.futures as c, time\np = c.ThreadPoolExecutor(3)\n"
                                "fs = [p.submit(lambda i=i: (time.sleep(.1), print(i))) for i in range(1)]\nprint('main')")

    def test_a_forked_grandchild_ends_properly(self):
        result = self.assert_like_python(
            "import os, atexit, sys\natexit.register(lambda: print('bye', flush=True))\npid = os.fork()\n"
            "if pid: print('status', os.waitpid(pid, 0)[1] >> 8)\nelse: print('grandchild'); sys.exit(5)")
        self.assertEqual(result.stdout, b"grandchild\nbye\nstatus 5\nbye\n")


class LikeAScript(Case):
    def test_argv_path_and_main_are_a_scripts(self):
        for source in (
            "import sys\nprint(sys.argv, __file__, __name__, sys.path)\n",
            "print(sorted(globals()))\nprint(__doc__, __package__, __spec__, __loader__.__class__, __builtins__)",
            "'''doc'''\nprint(__doc__)\nimport sys\nprint(sys.modules['__main__'].__dict__ is globals())",
            "import sys\nprint(sys.orig_argv)" if VERSION >= (3, 10) else "1",
            "import inspect\ndef f(): pass\nprint(inspect.getsource(f))",
            "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
            "import gc, sys\nprint(gc.isenabled(), gc.get_threshold(), sys.gettrace())",
            "import helper\nprint(helper.x)",
            "print(open('prog.py').read())",
        ):
            with self.subTest(source):
                self.file("helper.py", "x = 3")
                self.assert_like_python(source.replace("sys.path)", "sys.path[0], [p for p in sys.path if 'python3' in p][0])")
                                        , ["a", "", "b c", "-x"])

    def test_the_stack_holds_two_frames_of_ours_at_most(self):
        self.assertLessEqual(self.values("import sys, json\nf = sys._getframe()\nn = 0\nwhile f: n += 1; f = f.f_back\nprint(n)"), 3)

    def test_code_is_like_dash_c(self):
        for source in ("import sys\nprint(sys.argv, sys.path[0] == '', __name__, sorted(globals()))", "print('a')\n1/0\n",
                       "x = = 1", "import sys; sys.exit(4)", "def f():\n  raise ValueError(1)\nf()", "print('\u00fc', __loader__)"):
            with self.subTest(source):
                expected = real(["-c", source], self.directory)
                self.assertEqual(self.code(source).triple(), expected.triple())

    def test_modules_are_like_dash_m(self):
        self.file("single.py", "import sys\nprint(sys.argv, __name__, __file__, __package__, __spec__.name, sys.path[0])\n"
                               "if sys.argv[1:] == ['die']: 1/0\n")
        self.file("package/__init__.py", "print('init')")
        self.file("package/__main__.py", "from . import part\nimport sys\nprint(sys.argv, __name__, __package__, part.x)\nsys.exit(6)")
        self.file("package/part.py", "x = 1")
        self.file("plain/__init__.py", "")
        self.file("broken.py", "x = = 1")
        for arguments in (["single", "a"], ["single", "die"], ["package", "z"], ["package.part"], ["plain"], ["nowhere"],
                          ["package.nowhere"], ["broken"], ["json.tool", "--help"], ["timeit", "-n1", "-r1", "-h"]):
            with self.subTest(arguments):
                expected = real(["-B", "-m", *arguments], self.directory)
                launch = plan(MODULE, arguments[0], arguments=arguments[1:], environment=[LC])
                self.assertEqual(self.zygote.run(launch, directory=self.directory).triple(), expected.triple())

    def test_the_environment_is_exactly_the_configured_one(self):
        variables = ["A=1", "B=x=y", "EMPTY=", "A=2", "U=\u00fc\udcff", "TZ=Asia/Tokyo", LC]
        source = ("import os, subprocess, ctypes, posix, time\nprint(sorted(os.environ.items()))\n"
                  "print(sorted(posix.environ.items()) == sorted(os.environb.items()))\n"
                  "print(subprocess.run(['/usr/bin/env'], stdout=-1).stdout == b''.join(k + b'=' + v + b'\\n' for k, v in os.environb.items()))\n"
                  "e = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')\nc = []\n"
                  "while e[len(c)]: c.append(e[len(c)])\nprint(sorted(c))\nprint(time.tzname[0])\n")
        result = self.script(source, environment=variables)
        pairs = [("A", "2"), ("B", "x=y"), ("EMPTY", ""), ("LC_ALL", "C.UTF-8"), ("TZ", "Asia/Tokyo"), ("U", "\u00fc\udcff")]
        self.assertEqual(result.stderr, b"")
        zone = "JST" if os.path.exists("/usr/share/zoneinfo/Asia/Tokyo") else "Asia"
        self.assertEqual(result.stdout.decode("utf-8", "surrogateescape"),
                         f"{pairs}\nTrue\nTrue\n{sorted(os.fsencode('='.join(pair)) for pair in pairs)}\n{zone}\n")
        self.assertEqual(self.script("import os\nprint(dict(os.environ))", environment=[]).stdout, b"{}\n")

    def test_the_zygotes_environment_is_not_seen(self):
        with Zygote(["os"], environment={"SECRET_OF_ZYGOTE": "1"}, warmup="import os\nassert os.environ['SECRET_OF_ZYGOTE'] == '1'\n"
                    "assert os.environ['OMP_NUM_THREADS'] == '1' and os.environ['MPLBACKEND'] == 'Agg'") as zygote:
            self.assertEqual(zygote.greeting, "ready")
            result = self.script("import os\nos.system('env')\nprint(dict(os.environ))", zygote=zygote)
            self.assertNotIn(b"ZYGOTE", result.stdout)
            self.assertNotIn(b"OMP", result.stdout)

    def test_the_locale_follows_the_variables(self):
        source = "import locale, json\nprint(json.dumps([locale.setlocale(locale.LC_CTYPE), locale.setlocale(locale.LC_NUMERIC)]))"
        self.assertEqual(self.values(source), ["C.UTF-8", "C"])
        self.assertEqual(self.values(source, environment=[]), ["C.UTF-8", "C"])

    def test_processes_and_loops_work(self):
        self.assert_like_python("import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True).stdout)")
        self.assert_like_python("import asyncio\nasync def f():\n    await asyncio.sleep(.01)\n    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)\n"
                                "    return await p.communicate()\nprint(asyncio.run(f()))")
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method):
                self.assert_like_python(
                    "import multiprocessing as m, sys\ndef f(x): return x * x\ndef g(q): q.put('queued'); print('child', flush=True)\n"
                    f"if __name__ == '__main__':\n    m.set_start_method('{method}')\n    with m.Pool(2) as p: print(p.map(f, range(5)))\n"
                    "    q = m.Queue()\n    p = m.Process(target=g, args=(q,)); p.start(); p.join(); print(q.get(), p.exitcode)\n")
        self.assert_like_python("import concurrent.futures as c\nif __name__ == '__main__':\n    with c.ProcessPoolExecutor(2) as p: print(list(p.map(abs, [-1, 2])))")
        self.assert_like_python("import threading, os\nprint(threading.current_thread(), threading.active_count(), "
                                "threading.main_thread() is threading.current_thread())".replace("threading.current_thread(),", "threading.current_thread().name,", 1))


class Call(Case):
    def call(self, target, json_arguments=None):
        self.file("lib.py", "import sys\ndef add(a, b=2):\n    print('printed')\n    return a + b\ndef bad(): return object()\n"
                            "def nan(): return float('nan')\ndef leave(): sys.exit(3)\ndef fail():\n    raise ValueError('v')\n"
                            "class C:\n    @staticmethod\n    def m(**k): return k\nvalue = 1\n"
                            "def late():\n    import atexit; atexit.register(print, 'late'); return 1\n")
        self.file("imports_missing.py", "import missing_thing\n")
        return self.zygote.run(plan(CALL, target, environment=[LC], json_arguments=json_arguments), directory=self.directory)

    def test_values_come_back_as_the_last_line(self):
        self.assertEqual(self.call("lib:add", "[1]").triple(), (0, b"printed\n3\n", b""))
        self.assertEqual(self.call("lib:add", '{"a": "x", "b": "\u00fc"}').triple(), (0, b'printed\n"x\\u00fc"\n', b""))
        self.assertEqual(self.call("lib:C.m", '{"k": [1, null]}').stdout, b'{"k": [1, null]}\n')
        self.assertEqual(self.call("lib:late").stdout, b"late\n1\n")
        self.assertEqual(self.call("json:loads", '["[1.5]"]').stdout, b"[1.5]\n")

    def test_mistakes_are_explained(self):
        for target, arguments, words in (
            ("nowhere:f", None, "no module named 'nowhere'"), ("lib:nothing", None, "has no 'nothing'"), ("lib", None, "not of the form"),
            ("lib:value", None, "not callable"), ("lib:bad", None, "is not JSON"), ("lib:nan", None, "is not JSON"),
            ("lib:add", "7", "neither a JSON array"), ("lib:add", "[", "are not JSON"), ("lib:add", "[]", "missing 1 required positional"),
        ):
            with self.subTest(target):
                result = self.call(target, arguments)
                self.assertEqual((result.status, result.stdout), (1, b""))
                self.assertIn(words, result.stderr.decode())
                self.assertNotIn(b"Traceback", result.stderr)
        self.assertIn(b"Traceback", self.call("imports_missing:f").stderr)
        self.assertEqual(self.call("lib:leave").status, 3)
        fails = self.call("lib:fail").stderr.decode()
        self.assertEqual(fails, "Traceback (most recent call last):\n"
                         f"  File \"{self.directory}/lib.py\", line 9, in fail\n    raise ValueError('v')\nValueError: v\n")


class Randomness(Case):
    KEYS = {"random", "secrets", "uuid4", "tempfile", "openssl"}
    warmup = ("import random\nrandom.seed(1)\nmine = random.Random(1)\nimport ssl; ssl.RAND_bytes(1)\nrandom.kept = mine\n"
              "try:\n    import numpy.random as n\n    n.seed(1); n.randn(); n.kept = n.default_rng(1); n.old = n.RandomState(1); n.old.randn()\n"
              "except ImportError: pass\n")
    draws = ("import random, json\nv = [random.random(), random.kept.random()]\n"
             "try:\n    import numpy.random as n\n    v += [n.rand(), n.kept.random(), n.old.rand(), n.old.randn(), n.default_rng(n.kept.bit_generator._seed_seq.spawn(1)[0]).random()]\n"
             "except ImportError: pass\nprint(json.dumps(v))")

    @classmethod
    def setUpClass(cls):
        cls.zygote = Zygote(["random", "secrets", "uuid", "tempfile", "ssl", *(["numpy"] if has("numpy") else [])], cls.warmup)
        assert cls.zygote.greeting == "ready", cls.zygote.greeting

    def test_two_children_differ_in_every_generator(self):
        first, second = (json.loads(self.zygote.run(plan(CALL, "hatchery.zygote:random_values")).stdout) for _ in range(2))
        self.assertGreaterEqual(set(first), self.KEYS)
        for key in first:
            self.assertNotEqual(first[key], second[key], key)
        first, second = self.values(self.draws), self.values(self.draws)
        for index, pair in enumerate(zip(first, second)):
            self.assertNotEqual(*pair, index)

    def test_the_same_seed_gives_the_same_values(self):
        for seed in (0, 1, 2**32 + 7, 2**64 - 1):
            first, second = self.values(self.draws, seed=seed), self.values(self.draws, seed=seed)
            self.assertEqual(first, second)
            self.assertEqual(len(set(first)), len(first), f"{seed} {first}: independent generators must not repeat each other")
        self.assertNotEqual(self.values(self.draws, seed=1), self.values(self.draws, seed=2))

    def test_a_seed_means_what_it_means_to_random_and_numpy(self):
        import random
        self.assertEqual(self.values(self.draws, seed=42)[0], random.Random(42).random())
        if has("numpy"):
            self.assertAlmostEqual(self.values(self.draws, seed=42)[2], 0.3745401188473625)

    def test_a_seed_works_whatever_was_preloaded(self):
        import random
        source = "import random\nprint(random.random())"
        with Zygote([], rehearse=False) as bare:
            for zygote in (bare, self.zygote):
                for _ in range(2):
                    result = self.script(source, zygote=zygote, seed=7)
                    self.assertEqual(result.triple(), (0, f"{random.Random(7).random()}\n".encode(), b""))
            self.assertNotEqual(self.script(source, zygote=bare).stdout, self.script(source, zygote=bare).stdout)
            self.assertEqual(self.script("from random import randrange\nimport tempfile, uuid\nprint(randrange(10**9))", zygote=bare, seed=7).stdout,
                             f"{random.Random(7).randrange(10**9)}\n".encode())

    @needs("numpy")
    def test_a_seed_reaches_a_numpy_that_the_program_imports(self):
        with Zygote([], rehearse=False) as bare:
            for statement in ("import numpy", "from numpy import random", "import numpy.random.mtrand", "import pandas" if has("pandas") else "import numpy"):
                with self.subTest(statement):
                    source = f"{statement}\nimport numpy, sys\nprint(numpy.random.rand(), 'numpy.random' in sys.modules)"
                    bare_result, preloaded_result = (self.script(source, zygote=zygote, seed=42) for zygote in (bare, self.zygote))
                    self.assertEqual(bare_result.triple(), (0, b"0.3745401188473625 True\n", b""))
                    self.assertEqual(preloaded_result.triple(), bare_result.triple())
            source = "import numpy\nprint(numpy.random.rand())"
            self.assertNotEqual(self.script(source, zygote=bare).stdout, self.script(source, zygote=bare).stdout)
            # The module is the one that an import without the hook gives.
            source = ("import numpy.random as n, importlib, sys\nprint(n.__spec__.name, type(n.__loader__).__name__, 'exec_module' in vars(n.__loader__))\n"
                      "n.seed(1); importlib.reload(n)")
            self.assertEqual(self.script(source, zygote=bare, seed=1).triple(), (0, b"numpy.random SourceFileLoader False\n", b""))

    @needs("matplotlib")
    def test_matplotlib_draws_without_a_window(self):
        source = "import matplotlib\nprint(matplotlib.get_backend().lower())\nimport matplotlib.pyplot as p\np.plot([1, 2]); print(p.get_backend().lower())"
        wish = ["MPLBACKEND=svg", "HOME=/tmp", "MPLCONFIGDIR=/tmp/hatchery-test-matplotlib"]
        self.addCleanup(shutil.rmtree, "/tmp/hatchery-test-matplotlib", True)
        with Zygote(["matplotlib"], environment={"MPLCONFIGDIR": "/tmp/hatchery-test-matplotlib"}) as preloaded:
            for zygote in (self.zygote, preloaded):
                for environment, backend in ((wish[1:], "agg"), (wish, "svg")):
                    result = self.script(source, zygote=zygote, environment=environment)
                    self.assertEqual((result.status, result.stdout.decode()), (0, f"{backend}\n{backend}\n"), result.stderr)

    def test_a_seed_leaves_modules_of_the_same_name_alone(self):
        self.file("torch.py", "print('mine')\n")
        self.file("numpy/__init__.py", "")
        self.file("numpy/random.py", "def seed(): pass\n")
        with Zygote([], rehearse=False) as bare:
            self.assertEqual(self.script("import torch, numpy.random\nprint(numpy.random.__file__)", zygote=bare, seed=3).triple(),
                             (0, f"mine\n{self.directory}/numpy/random.py\n".encode(), b""))
            missing = self.script("import sys\nsys.path[:] = []\ntry: import torch\nexcept ImportError as e: print(e)", zygote=bare, seed=3)
            self.assertEqual(missing.triple(), (0, b"No module named 'torch'\n", b""))

    def test_openssl_differs_although_the_process_numbers_agree(self):
        # The child of a zygote that is pid 1 of its namespace is pid 1 of its own: OpenSSL 3 sees no fork.
        if os.getuid() != 0 or not shutil.which("unshare"):
            print("skipped: needs root and unshare(1)", file=sys.stderr)
            self.skipTest("needs root and unshare(1)")
        source = (
            "import ctypes, importlib.util, os, ssl\n"
            f"spec = importlib.util.spec_from_file_location('zygote', {BOOTSTRAP!r})\n"
            "zygote = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(zygote)\n"
            "libc, own = ctypes.CDLL(None), os.open('/proc/self/ns/pid', 0)\nssl.RAND_bytes(1)\n"
            "for number in range(4):\n"
            "    libc.setns(own, 0x20000000)\n    assert libc.unshare(0x20000000) == 0\n    read, write = os.pipe()\n"
            "    if os.fork() == 0:\n        assert os.getpid() == 1\n        number < 2 or zygote.reseed()\n"
            "        os.write(write, ssl.RAND_bytes(8).hex().encode()); os._exit(0)\n"
            "    os.wait(); print(os.read(read, 99).decode(), flush=True)\n")
        done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", PYTHON, "-c", source], capture_output=True, text=True)
        if "AssertionError" in done.stderr or not done.stdout:
            self.skipTest(f"no nested pid namespaces here: {done.stderr[-300:]}")
        values = done.stdout.split()
        self.assertEqual(len(values), 4, done)
        if values[0] != values[1]:
            print("note: this OpenSSL noticed the fork by itself", file=sys.stderr)
        self.assertNotEqual(values[2], values[3])

    def test_multiprocessing_keys_differ(self):
        with Zygote(["multiprocessing"]) as zygote:
            source = "import multiprocessing as m\nprint(bytes(m.current_process().authkey))"
            self.assertNotEqual(self.script(source, zygote=zygote).stdout, self.script(source, zygote=zygote).stdout)

    def test_fork_hooks_of_the_preload_run(self):
        warmup = "import os\nos.order = []\nos.register_at_fork(before=lambda: os.order.append('before'), after_in_child=lambda: os.order.append('child'))"
        with Zygote(["logging"], warmup) as zygote:
            self.assertEqual(self.script("import os\nprint(os.order)", zygote=zygote).stdout, b"['before', 'child']\n")

    def test_fork_hooks_of_the_preload_run_at_the_programs_own_forks(self):
        warmup = """import os
os.order = []
for number in 1, 2:
    os.register_at_fork(before=lambda n=number: os.order.append(f"before {n}"), after_in_child=lambda n=number: os.order.append(f"child {n}"),
                        after_in_parent=lambda n=number: os.order.append(f"parent {n}"))
"""
        source = """import os, threading
assert type(os.register_at_fork) is type(len), "not CPython's own"
os.register_at_fork(before=lambda: os.order.append("before 3"), after_in_child=lambda: os.order.append("child 3"))
thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.start()
del os.order[:]
pid = os.fork()
if pid == 0:
    print(os.order, threading.active_count(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(os.order, threading.active_count())
"""
        with Zygote(["logging", "threading", "random"], warmup) as zygote:
            before = "'before 3', 'before 2', 'before 1'"
            result = self.script(source, zygote=zygote)
            self.assertEqual(
                result.stdout.decode(), f"[{before}, 'child 1', 'child 2', 'child 3'] 1\n[{before}, 'parent 1', 'parent 2'] 2\n",
                result.stderr)

    def test_a_module_that_kept_the_function_registers_in_the_child(self):
        warmup = "import os\nfrom os import register_at_fork\nos.kept = register_at_fork"
        source = "import os\nos.kept(after_in_child=lambda: print('hook', flush=True))\nif os.fork() == 0: os._exit(0)\nos.wait()"
        with Zygote([], warmup) as zygote:
            self.assertEqual(self.script(source, zygote=zygote).triple(), (0, b"hook\n", b""))

    def test_a_hook_that_fails_does_not_keep_the_others_from_running(self):
        warmup = "import os\nos.order = []\nos.register_at_fork(after_in_child=lambda: 1 / 0)\nos.register_at_fork(after_in_child=lambda: os.order.append('child'))"
        with Zygote([], warmup) as zygote:
            self.assertEqual(self.script("import os\nprint(os.order)", zygote=zygote).stdout, b"['child']\n")
            self.assertIn("ZeroDivisionError", zygote.log())

    @needs("numpy")
    def test_children_spawn_different_generators(self):
        source = "import numpy as n\ns = n.random.mtrand._rand._bit_generator._seed_seq\nprint(s.entropy, s.generate_state(4), s.spawn(1)[0].generate_state(2))"
        with Zygote(["numpy.random"]) as zygote:
            results = [self.script(source, zygote=zygote) for _ in range(3)]
            self.assertEqual([result.status for result in results], [0, 0, 0], results[0].stderr)
            for words in zip(*(result.stdout.decode().replace("]", "").split("[") for result in results)):
                self.assertEqual(len(set(words)), 3, words)


class Preload(Case):
    def failing(self, preload=("lib",), **more):
        with Zygote(preload, paths=[self.directory], **more) as zygote:
            self.assertNotEqual(zygote.greeting, "ready")
            zygote.process.wait(10)
            self.assertEqual(zygote.process.returncode, 1)
            return zygote.greeting

    def test_a_failing_import_is_named_with_its_traceback(self):
        self.file("lib.py", "def f():\n    raise ValueError('boom')\nf()\n")
        self.assertEqual(
            re.sub(r" +[~^]+\n", "", self.failing()), "preload of 'lib' failed:\nTraceback (most recent call last):\n"
            f"  File \"{self.directory}/lib.py\", line 3, in <module>\n    f()\n"
            f"  File \"{self.directory}/lib.py\", line 2, in f\n    raise ValueError('boom')\nValueError: boom\n")
        self.assertIn("No module named 'nowhere'", self.failing(["json", "nowhere"]))
        self.file("leaves.py", "raise SystemExit(0)")
        self.assertIn("preload of 'leaves' failed", self.failing(["leaves"]))

    def test_a_failure_is_told_without_control_characters(self):
        self.file("lib.py", "raise ValueError('a\\0b\\x1b[2J\\r\\x7f\\x9b\\tc\\nd\\ud800ü')\n")
        self.assertTrue(self.failing().endswith("ValueError: a\\x00b\\x1b[2J\\x0d\\x7f\\x9b\tc\nd\\ud800ü\n"), self.failing())

    def test_a_failing_warmup_is_told(self):
        message = self.failing([], warmup="x = 1\n1/0\n")
        self.assertIn('warmup failed:\nTraceback (most recent call last):\n  File "<warmup>", line 2, in <module>\n    1/0\n', message)
        self.assertIn("SyntaxError", self.failing([], warmup="x = = 1"))

    def test_a_module_that_starts_threads_is_named(self):
        self.file("lib.py", "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True, name='sleeper').start()\n")
        message = self.failing(["json", "lib", "random"])
        self.assertIn("lib started 1 thread(s)", message)
        self.assertIn("sleeper", message)
        self.assertIn("warmup started 1 thread(s)", self.failing(["json"], warmup="import lib"))
        self.file("brief.py", "import threading\nt = threading.Thread(target=int)\nt.start(); t.join()\n")
        with Zygote(["brief"], paths=[self.directory]) as zygote:
            self.assertEqual(zygote.greeting, "ready")
        # No key of the configuration makes an exception: the library would refuse the zygote anyway.
        self.assertIn("lib started 1 thread(s)", self.failing(["lib"], allow_threads=["lib"]))

    def test_what_a_child_imports_again_is_told(self):
        source = "import json, json.tool, xml.dom.minidom, sys; raise SystemExit(3)"
        result = self.script(source, tells_imports=True)
        self.assertEqual((result.status, result.stdout), (3, b""))
        told = re.fullmatch(rb"hatchery: imported beyond the preload: (.*)\n", result.stderr)[1].split(b", ")
        self.assertEqual([name for name in told if name in (b"json", b"json.tool", b"xml", b"xml.dom", b"sys", b"__main__")], [b"json.tool", b"xml"])
        self.assertEqual(self.script("import json", tells_imports=True).stderr, b"hatchery: imported beyond the preload: nothing\n")
        self.assertEqual(self.script(source).stderr, b"")

    def test_imports_are_done_once_in_the_zygote(self):
        self.file("lib.py", "import os\npid = os.getpid()\n")
        with Zygote(["lib"], paths=[self.directory]) as zygote:
            self.assertEqual(self.script("import lib, os\nprint(lib.pid == os.getpid())", zygote=zygote).stdout, b"False\n")

    def test_nothing_buffered_in_the_zygote_is_repeated(self):
        with Zygote([], "import sys, ctypes\nsys.stdout.write('in python'); ctypes.CDLL(None).printf(b'in C')") as zygote:
            for _ in range(2):
                self.assertEqual(self.script("print('child')", zygote=zygote).triple(), (0, b"child\n", b""))
            self.assertEqual(sorted(re.findall("in python|in C", zygote.log())), ["in C", "in python"])

    def test_a_rehearsal_runs_in_each_child_before_its_request(self):
        with Zygote(["random"], rehearsal="import random, os\nrandom.rehearsed = os.getpid()") as zygote:
            self.assertEqual(self.script("import random, os\nprint(random.rehearsed == os.getpid())", zygote=zygote).stdout, b"True\n")

    def test_it_works_without_rehearsal(self):
        with Zygote(["json"], rehearse=False) as zygote:
            self.assertEqual(self.script("print('x')\n1/0", zygote=zygote).stdout, b"x\n")

    def test_only_the_standard_descriptors_are_open(self):
        result = self.script("import os\nfor fd in range(4096):\n    try: os.fstat(fd); print(fd)\n    except OSError: pass")
        self.assertEqual(result.triple(), (0, b"0\n1\n2\n", b""))

    def test_the_zygote_keeps_no_descriptor_but_its_control_socket(self):
        with Zygote(["json"]) as zygote:
            self.assertEqual(zygote.greeting, "ready")
            opened = {int(name) for name in os.listdir(f"/proc/{zygote.process.pid}/fd")} - {0, 1, 2}
            self.assertEqual(len(opened), 1, opened)

    def test_signal_handlers_of_the_preload_are_gone(self):
        with Zygote([], "import signal\nsignal.signal(signal.SIGTERM, lambda *a: None)") as zygote:
            self.assertEqual(self.script("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", zygote=zygote).status, -15)

    @needs("pandas")
    def test_pandas_works_in_children_and_runs_one_thread(self):
        with Zygote(["numpy", "pandas"]) as zygote:
            self.assertEqual(zygote.greeting, "ready")
            result = self.script("import pandas, os\nprint(pandas.DataFrame({'a': [1, 1, 2], 'b': [1, 2, 3]}).groupby('a').b.sum().tolist())\n"
                                 "import numpy\nprint(int(numpy.linalg.det(numpy.eye(300))), len(os.listdir('/proc/self/task')))", zygote=zygote)
            self.assertEqual(result.triple(), (0, b"[3, 3]\n1 1\n", b""))

    @needs("numpy")
    def test_traceback_under_numpy(self):
        with Zygote(["numpy"]) as zygote:
            self.assertIn(b"ValueError", self.script("import numpy\nnumpy.array([1,2]).reshape(3)", zygote=zygote).stderr)

    def test_nothing_of_an_earlier_request_is_in_a_later_child(self):
        marker = "M4rK" + "x" * 1000 + "er"
        # Another name: of the same one, the second child would find and read the file that the first wrote.
        self.script(f"a = {marker!r}", name="first.py", arguments=["M4rK" + "y" * 5000], environment=["V=M4rK" + "z" * 5000])
        result = self.script("needle = b'M4' + b'rK'\nimport re\nfound = 0\nfor line in open('/proc/self/maps'):\n"
                             "    a, b = (int(x, 16) for x in line.split()[0].split('-'))\n    if line.split()[1][0] != 'r' or '[v' in line: continue\n"
                             "    m = open('/proc/self/mem', 'rb', 0); m.seek(a)\n    try: found += len(re.findall(needle + b'[xyz]{9}', m.read(b - a)))\n"
                             "    except OSError: pass\nprint(found)")
        self.assertEqual(result.stdout, b"0\n", result.stderr)


class Unit(unittest.TestCase):
    """zygote.py imported as a module: its guard keeps it from serving."""

    @classmethod
    def setUpClass(cls):
        spec = importlib.util.spec_from_file_location("zygote", BOOTSTRAP)
        cls.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.module)

    def test_plans_are_decoded(self):
        decoded = self.module.Plan(plan(CALL, "t", b"s", ["a", ""], ["A=1", "B=2", "A=3"], "[1]", 2**64 - 1))
        self.assertEqual((decoded.mode, decoded.target, decoded.source, decoded.json_arguments, decoded.seed),
                         (CALL, b"t", b"s", b"[1]", 2**64 - 1))
        self.assertEqual(decoded.environment, {b"A": b"3", b"B": b"2"})

    def test_a_plan_cut_off_or_unknown_is_refused(self):
        whole = plan(CODE, source=b"pass")
        for end in range(1, len(whole)):
            if end != 7:  # there a field ends
                with self.assertRaises(Exception):
                    self.module.Plan(whole[:end])
        with self.assertRaises(ValueError):
            self.module.Plan(whole + b"\x63\0\0\0\0\0")

    def test_a_bad_plan_is_our_failure_not_the_programs(self):
        with Zygote([]) as zygote:
            for launch in (b"\1", b"", plan(0, "x"), plan(9)):
                result = zygote.run(launch)
                self.assertEqual((result.status, result.stdout), (125, b""), launch)
                self.assertIn(b"hatchery: ", result.stderr)


if __name__ == "__main__":
    unittest.main()
