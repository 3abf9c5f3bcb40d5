"""Starts zygote.py as the daemon does, with standin.c in the place of the library, and hatches children from it."""
import array, atexit, json, os, shutil, socket, struct, subprocess, sys, tempfile, threading

HERE = os.path.dirname(os.path.abspath(__file__))
BOOTSTRAP = os.path.join(HERE, "..", "..", "Sources", "HatcheryDaemon", "Python", "zygote.py")
PYTHON = os.environ.get("HATCHERY_TEST_PYTHON", sys.executable)
SCRIPT, CODE, MODULE, CALL = 1, 2, 3, 4


def standin():
    """The compiled stand-in, built once per run."""
    if not hasattr(standin, "path"):
        directory = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, directory, True)
        standin.path = os.path.join(directory, "standin.so")
        compiler = shutil.which("cc") or shutil.which("clang")
        if not compiler:
            raise RuntimeError("no C compiler for the stand-in library")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", standin.path, os.path.join(HERE, "standin.c")], check=True)
    return standin.path


def memory_file(content):
    descriptor = os.memfd_create("test")
    os.write(descriptor, content) if content else None
    return descriptor


def plan(mode, target="", source=b"", arguments=(), environment=(), json_arguments=None, seed=None, tells_imports=False):
    """LaunchPlan.encoded() of Sources/HatcheryProtocol/LaunchPlan.swift."""
    fields = [(1, bytes([mode])), (2, os.fsencode(target)), (3, source.encode() if isinstance(source, str) else source)]
    fields += [(4, os.fsencode(argument)) for argument in arguments]
    fields += [(5, os.fsencode(variable)) for variable in environment]
    if json_arguments is not None:
        fields.append((6, json_arguments.encode()))
    if seed is not None:
        fields.append((7, struct.pack("<Q", seed)))
    if tells_imports:
        fields.append((10, b"\1"))
    return b"".join(struct.pack("<HI", tag, len(value)) + value for tag, value in fields if value or tag == 4)


class Result:
    def __init__(self, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr  # status: as subprocess has it

    def triple(self):
        return self.status, self.stdout, self.stderr


class Zygote:
    def __init__(self, preload=(), warmup="", python=PYTHON, environment=None, **more):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        configuration = dict(preload=list(preload), warmup=warmup, environment=environment or {}, **more)
        with open(BOOTSTRAP, "rb") as file:
            bootstrap = memory_file(file.read())
        library = os.open(standin(), os.O_RDONLY)
        described = memory_file(json.dumps(configuration).encode())
        descriptors = [bootstrap, theirs.fileno(), library, described]
        self.control = ours
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [python, "-I", "-X", "utf8", "-B", f"/proc/self/fd/{bootstrap}", *map(str, descriptors[1:])],
            pass_fds=descriptors, env={}, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, cwd="/")
        for descriptor in (bootstrap, library, described):
            os.close(descriptor)
        theirs.close()
        self.greeting = ours.recv(1 << 20).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        self.process.wait(10)
        self.output.close()

    def log(self):
        self.output.seek(0)
        return self.output.read().decode()

    def run(self, launch, stdin=b"", directory="/", close_stdout=False):
        """One child's whole life."""
        readers, threads, collected = [], [], [b"", b""]
        input_file = memory_file(stdin)
        os.lseek(input_file, 0, os.SEEK_SET)
        passed = [input_file]
        for index in range(2):
            reader, writer = os.pipe()
            passed.append(writer)
            if index == 0 and close_stdout:
                os.close(reader)
                continue

            def collect(reader=reader, index=index):
                with open(reader, "rb") as file:
                    collected[index] = file.read()
            threads.append(threading.Thread(target=collect))
        passed += [memory_file(launch), os.open(directory, os.O_RDONLY | os.O_DIRECTORY)]
        for thread in threads:
            thread.start()
        self.control.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", passed))])
        for descriptor in passed:
            os.close(descriptor)
        prepared, status, thread_count = struct.unpack("iii", self.control.recv(64))
        for thread in threads:
            thread.join()
        assert prepared == 0, f"prepare returned {prepared}: {self.log()} {collected}"
        assert thread_count == 1, f"{thread_count} threads in the zygote"
        return Result(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), *collected)


def real(arguments, directory, stdin=b"", environment=None, python=PYTHON):
    """What the interpreter itself does."""
    done = subprocess.run([python, *arguments], input=stdin, capture_output=True, cwd=directory,
                          env={"LC_ALL": "C.UTF-8", **(environment or {})})
    return Result(done.returncode, done.stdout, done.stderr)
