"""The Python zygote: what the user's own interpreter runs in order to be preloaded once and hatch many children.

    python3 -I -X utf8 -B /proc/self/fd/N  CONTROL  LIBRARY  CONFIGURATION    (three descriptor numbers)

CONFIGURATION holds JSON: preload (modules, in order), warmup and rehearsal (code, run once in the zygote and once in each
parked child), environment (for the preload only), allow (findings of the audit to let pass), paths (put before sys.path), rehearse (default true), freeze (default
true: the library moves the heap out of a clone's way).

From top to bottom this file is the life of a generation: `start` preloads and freezes, the library's serve loop
clones, `prepare` makes the copy a process of its own while it is parked, `main` turns it into what `python SCRIPT` would be, and
`finish` ends it as CPython ends. Only the first part runs in the zygote; from the call of `serve` on, nothing of Python
runs there any more, so that the frozen heap stays untouched and no request ever enters the memory later children copy.

Standard library only, CPython 3.9 to 3.14. The library is ours (Swift, C ABI) and is reached through ctypes.
"""
MAIN_MODULE_NAMES = frozenset(globals())  # what this interpreter puts into a script's `__main__`, nothing of ours yet

import os

FORK_HOOKS, REGISTER_AT_FORK = [], os.register_at_fork  # of the preload: (before, after in the child, after in the parent)


def remember_fork_hooks(*, before=None, after_in_child=None, after_in_parent=None):
    """In the place of os.register_at_fork while the zygote preloads."""
    hooks = before, after_in_child, after_in_parent
    if any(hook is not None and not callable(hook) for hook in hooks):
        raise TypeError("a fork hook must be callable")
    if hooks == (None, None, None):
        raise TypeError("At least one argument is required.")
    if CLONE_HOOKS:  # a module that kept this function, and registers in the child
        return REGISTER_AT_FORK(**{name: hook for name, hook in zip(("before", "after_in_child", "after_in_parent"), hooks) if hook})
    FORK_HOOKS.append(hooks)


os.register_at_fork = remember_fork_hooks  # before the first import of what registers any

import _signal, atexit, builtins, ctypes, functools, gc, importlib.util, io, json, linecache, posix, runpy, signal, struct, sys, time
import traceback, types
from importlib.machinery import BuiltinImporter, SourceFileLoader

BLAS_PINS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
             "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")
EXIT_HANDLERS_SECONDS = 5  # what atexit callbacks and finalizers may take together before we leave without them
STATUS_OWN_FAILURE, STATUS_FLUSH_FAILED, STATUS_INTERRUPTED = 125, 120, 130
INTERRUPTED = -1  # in place of a status: a KeyboardInterrupt, told apart from sys.exit(130)
PREPARE = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int)
MAIN = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
libc = ctypes.PyDLL(None)  # PyDLL keeps the GIL: nothing here blocks, and a switch in the middle of a fork is unwanted


class Library:
    """The C ABI of libhatchery-python.so, declared in one place."""

    def __init__(self, descriptor):
        # PyDLL, not CDLL: the GIL stays held across the clone, so that the child's callbacks own it from the start.
        library = ctypes.PyDLL(f"/proc/self/fd/{descriptor}")
        self.report_failure = library.hatchery_zygote_report_failure
        self.report_failure.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self.report_failure.restype = ctypes.c_int
        self.report_finding = library.hatchery_zygote_report_finding
        self.report_finding.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self.report_finding.restype = ctypes.c_int
        self.audit = library.hatchery_zygote_audit
        self.audit.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self.audit.restype = ctypes.c_size_t
        # Not a PyDLL's business, but one call of it costs a child five pages, and os.fstat() fifty: a named tuple of twenty objects.
        self.surroundings = library.hatchery_zygote_surroundings
        self.surroundings.argtypes = (ctypes.c_int,)
        self.surroundings.restype = ctypes.c_int
        self.serve = library.hatchery_zygote_serve
        self.serve.argtypes = (ctypes.c_int, PREPARE, MAIN, ctypes.c_int)
        self.serve.restype = ctypes.c_int


# ---- In the zygote: preload, audit, freeze ---------------------------------------------------------------------------

class PreloadFailure(Exception):
    """Why this generation must not serve: the text the operator reads."""


def start(arguments, open_library=Library):
    """Everything up to the serve loop. Returns the library and the control descriptor; does not return on failure."""
    global surroundings
    control, library_descriptor, configuration_descriptor = map(int, arguments[1:4])
    library = open_library(library_descriptor)
    surroundings = library.surroundings
    os.close(library_descriptor)
    if arguments[0].startswith("/proc/self/fd/"):
        os.close(int(arguments[0].rpartition("/")[2]))  # this file, which has been read
    try:
        configuration = read_configuration(configuration_descriptor)
        # Modules that look at `__main__` while they load must not find the bootstrap.
        sys.argv[:], sys.modules["__main__"] = [""], types.ModuleType("__main__")
        preload(configuration, Audit(library, control, configuration.get("allow") or ()))
        settle()
    except BaseException as error:  # SystemExit too: a preload that leaves is a preload that failed
        text = str(error) if isinstance(error, PreloadFailure) else "".join(
            traceback.format_exception(type(error), error, own_frames_stripped(error)))
        message = text.translate(CONTROLS_ESCAPED).encode("utf-8", "backslashreplace")
        library.report_failure(control, message, len(message))
        os._exit(1)  # not sys.exit: threads of a failed preload could hold up an orderly end
    return library, control


# Whoever wrote the text of an exception must not write on the terminal of the operator who reads it.
CONTROLS_ESCAPED = {number: f"\\x{number:02x}" for number in [*range(0x20), *range(0x7F, 0xA0)] if chr(number) not in "\n\t"}


def read_configuration(descriptor):
    with open(descriptor, "rb") as file:
        if file.seekable():
            file.seek(0)  # a memfd arrives with its offset where the writer left it
        return json.loads(file.read())


class Audit:
    """Names who left what behind: open descriptors and sockets, shared memory, secrets in the environment."""
    ROOM = 1 << 16

    def __init__(self, library, control, allowed):
        self.library, self.control, self.allowed, self.seen = library, control, allowed, set()
        self.look("")  # what is there already is ours, or the interpreter's

    def look(self, culprit):
        room = ctypes.create_string_buffer(self.ROOM)
        length = self.library.audit(self.control, room, self.ROOM)
        text = room.raw[:length].decode("utf-8", "replace")
        for kind, what, advice in (line.split("\t") for line in text.split("\n") if line):
            if (kind, what) in self.seen:
                continue
            self.seen.add((kind, what))
            if not culprit and kind != "!secrets":
                continue
            message = f"{culprit or 'the daemon'} left {what}: {advice}"
            if kind.startswith("!") and kind[1:] not in self.allowed:
                raise PreloadFailure(message)
            message = message.translate(CONTROLS_ESCAPED).encode("utf-8", "backslashreplace")
            self.library.report_finding(self.control, message, len(message))


def preload(configuration, audit):
    """Imports and the warm-up, with the module that fails or starts threads named."""
    os.environ.update(configuration.get("environment") or {})
    # A BLAS reads these when it is loaded, and starts its threads then. Threads do not survive a clone; their locks do.
    os.environ.update(dict.fromkeys(BLAS_PINS, "1"))
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.path[0:0] = configuration.get("paths") or []
    # For programs that import it themselves: nobody looks at a window here. Frozen with the rest, it costs a child nothing.
    sys.meta_path.insert(0, AfterImport("agg", {"matplotlib": choose_backend}))
    sys.dont_write_bytecode = True
    refuse_threads("the interpreter's start-up (sitecustomize or a .pth file)")
    audit.look("the configuration's environment, or the interpreter's start-up,")
    for module in configuration.get("preload") or ():
        attempt(f"preload of {module!r} failed", lambda: __import__(module))
        refuse_threads(module)
        audit.look(f"the preload of {module!r}")
    REHEARSAL["wanted"] = configuration.get("rehearse", True)
    FREEZE["wanted"] = configuration.get("freeze", True)
    for name in ("warmup", "rehearsal"):
        source = configuration.get(name)
        if source:
            filename = f"<{name}>"
            linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
            code = attempt(f"{name} failed", lambda: compile(source, filename, "exec", dont_inherit=True))
            if name == "rehearsal":  # the operator's own snippet, run in every parked child before it is handed over
                REHEARSAL["code"] = code
            else:
                attempt(f"{name} failed", lambda: exec(code, {"__name__": "__warmup__", "__builtins__": builtins}))
                refuse_threads(name)
                audit.look(f"the {name}")


def choose_backend(matplotlib, name):
    """Also over a distribution's own default, which may be one with windows; not over what the program's environment says."""
    if not os.environ.get("MPLBACKEND"):
        matplotlib.use(name)


def attempt(what, action):
    try:
        return action()
    except BaseException as error:
        lines = traceback.format_exception(type(error), error, own_frames_stripped(error))
        raise PreloadFailure(f"{what}:\n" + "".join(lines)) from None


def thread_names():
    """The kernel's names of this process' threads: also those that Python knows nothing of."""
    names = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            pass  # it ended meanwhile
    return names


def refuse_threads(culprit):
    """A fork copies only the calling thread: locks the others hold stay locked for ever. So there must be no others."""
    names = thread_names()
    for _ in range(20):  # a thread that has just been joined may still be on its way out
        if len(names) <= 1:
            return
        time.sleep(0.005)
        names = thread_names()
    threading = sys.modules.get("threading")
    python_threads = [thread.name for thread in threading.enumerate()[1:]] if threading else []
    raise PreloadFailure(
        f"{culprit} started {len(names) - 1} thread(s); a process with threads cannot be cloned safely\n"
        f"threads of the process: {', '.join(names)}\n"
        + (f"started by Python: {', '.join(python_threads)}\n" if python_threads else "")
        + "import it in the child instead, or configure it not to start threads while it is imported")


def settle():
    """Nothing of the preload may show or change later: environment, handlers, buffers, then the heap itself."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.set_wakeup_fd(-1)
    sys.settrace(None), sys.setprofile(None)
    set_environment({})
    time.tzset()
    libc.setlocale(0, b"C.UTF-8")
    surroundings(1)
    # FileFinder remembers directories that did not exist; in the child's root they may.
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[path]
    adopt_fork_hooks()
    collect_generators()
    reseed()  # proves at start, not in the first child, that every generator that was found can be reseeded
    forget_identity()
    PRELOADED.update(sys.modules)
    flush_streams()
    prepare_streams()
    libc.fflush(None)
    # Order: collect while everything is still in the ordinary generations, then move it all to the permanent one, which
    # no collection in a child visits (a visit writes to every object's header and so copies every page).
    gc.collect()
    gc.freeze()
    gc.disable()
    if hasattr(libc, "malloc_trim"):  # glibc; musl has none
        libc.malloc_trim(0)


def adopt_fork_hooks():
    """From here on os.register_at_fork is CPython's own, and knows one set of hooks: all of the preload's, in their order."""
    os.register_at_fork = REGISTER_AT_FORK
    threading, logging = sys.modules.get("threading"), sys.modules.get("logging")
    spared = set()
    # These make locks anew that another thread may have held, and drop that thread. Here there is none and was none at the clone, so
    # after them everything is as it was before, but for 160 pages of a child. Newer versions do more, or otherwise.
    if sys.version_info < (3, 13):
        if threading and knows_one_thread(threading):
            spared.add(("threading", "_after_fork"))
        if logging:
            spared.update(("logging", name) for name in ("_acquireLock", "_after_at_fork_child_reinit_locks", "_releaseLock"))
    ours = [tuple(None if (getattr(hook, "__module__", None), getattr(hook, "__qualname__", None)) in spared else quick_hook(hook)
                  for hook in hooks) for hooks in FORK_HOOKS]
    for when in range(2):  # as CPython runs them: the last one registered first before a fork, in their order after it
        CLONE_HOOKS.append([hooks[when] for hooks in (reversed(ours) if when == 0 else ours) if hooks[when] is not None])
    every = [[hooks[when] for hooks in FORK_HOOKS if hooks[when] is not None] for when in range(3)]
    every[0].reverse()
    before, after_in_child, after_in_parent = (fork_hook(hooks, when) for when, hooks in enumerate(every))
    REGISTER_AT_FORK(before=before, after_in_child=after_in_child, after_in_parent=after_in_parent)


def quick_hook(hook):
    """The way to the same that costs a child less, or the hook itself."""
    random = sys.modules.get("random")
    if random and hook == random._inst.seed and type(random._inst) is random.Random:
        random._inst.gauss_next = None  # once, here: what Random.seed() does beyond the seed of C
        return functools.partial(random._random.Random.seed, random._inst)
    return hook


def fork_hook(hooks, when):
    """One hook for many. At the clone of a sandbox those that are spared there are left out; at the program's own forks none is."""
    def run():
        for hook in (CLONE_HOOKS[when] if CLONING and when < 2 else hooks):
            try:
                hook()
            except BaseException as error:  # as CPython does: told, and the next one is called
                complain(f"Exception ignored in: {hook!r}\n" + "".join(
                    traceback.format_exception(type(error), error, own_frames_stripped(error))), prefix="")
    return run


def knows_one_thread(threading):
    try:
        main = threading.main_thread()
        return list(threading._active.values()) == [main] and not threading._limbo and set(threading._dangling) == {main} \
            and threading._active.get(threading.get_ident()) is main and not isinstance(main, threading._DummyThread)
    except AttributeError:
        return False


CLONE_HOOKS, CLONING = [], []  # the hooks before and after a clone; whether one is under way


def forget_identity():
    """What modules remember of the process they were imported in. Nothing of Python runs here any more, so it stays forgotten."""
    tempfile, uuid = sys.modules.get("tempfile"), sys.modules.get("uuid")
    if tempfile:
        tempfile._name_sequence = tempfile.tempdir = None  # tempdir came from the zygote's TMPDIR
    for name in [name for name in vars(uuid) if name.startswith("_last_timestamp")] if uuid else ():
        setattr(uuid, name, None)


REHEARSAL, FREEZE, PRELOADED = {"wanted": True, "code": None}, {"wanted": True}, set()


# ---- In the child, parked: become a process of one's own -------------------------------------------------------------

before_fork, after_fork_child = ctypes.pythonapi.PyOS_BeforeFork, ctypes.pythonapi.PyOS_AfterFork_Child
before_fork.restype = after_fork_child.restype = None


@PREPARE
def prepare(parks):
    """Called once, in the child, before it knows of a request. `parks`: whether it will wait for one, or one waits for it. 0, or 1: this
    child must not be used."""
    try:
        # CPython wants PyOS_BeforeFork in the parent, before the fork. Here both halves run in the child: the zygote
        # must not execute Python between clones, or it would unfreeze its own heap. That is sound because the zygote was
        # proved to have one thread, which holds the GIL and no other lock of the interpreter:
        #   - Before takes the import lock (3.13: also the list-of-threads lock) so that no *other* thread can hold them
        #     at the fork. There is none, so taking them after the fork finds them free, in the same state.
        #   - AfterFork_Child makes the locks, the GIL and the signal state anew, drops the other (absent) threads'
        #     states and other interpreters, and runs os.register_at_fork(after_in_child=...): random, threading, logging.
        #   - before= hooks run here too, in the same order as ever; after_in_parent= hooks belong to the zygote, which
        #     ran no before= hook, so nothing there waits for them.
        # Nothing stands between the two calls: 3.13 holds a lock there that creating a thread state would want.
        CLONING.append(True)
        before_fork()
        after_fork_child()
        CLONING.clear()
        if parks and REHEARSAL["wanted"]:
            rehearse()
        reseed()
        become_somebody_else()
        gc.enable()
        return 0
    except BaseException:
        complain("the child could not be prepared:\n" + traceback.format_exc())
        return 1


def rehearse():
    """Walks the way of `main` once, so that the request finds the pages it writes (reference counts!) already copied.

    A page's first write costs microseconds, and `main` makes some 300 of them. Here they cost a parked child a megabyte
    of memory instead; `"rehearse": false` in the configuration chooses otherwise, for instance where nothing is parked.
    """
    argv, path = sys.argv, sys.path[:]
    source = b"""import sys
class A:
    def f(self, *a, **k):
        for x in [y + 1 for y in a if y]:
            try: yield f'{x!r}', {x: k.get('a')}
            except (ValueError, KeyError) as e: raise RuntimeError from e
def main(): return list(A().f(1, a=len(sys.argv))), lambda: 2.5
if __name__ == '__main__': print(*main()[0][:0], end='')
"""
    fields = (1, bytes([CODE])), (3, source), (4, b"argument"), (5, b"LC_ALL=C.UTF-8"), (5, b"HOME=/")
    plan = Plan(b"".join(struct.pack("<HI", tag, len(value)) + value for tag, value in fields))
    become_python(plan)
    function, arguments, _ = entry(plan)
    function(*arguments)
    if REHEARSAL["code"]:
        exec(REHEARSAL["code"], {"__name__": "__rehearsal__", "__builtins__": builtins})
    set_environment({})
    linecache.cache.pop("<string>", None)
    sys.argv, sys.path[:], sys.modules["__main__"] = argv, path, types.ModuleType("__main__")


def reseed(seed=None):
    """Fresh entropy for every generator that was copied, or, for a reproducible run, all of them from `seed`."""
    for position, (reseeder, generator) in enumerate(GENERATORS if seed is None else SEEDED, 1):
        reseeder(generator, random_number() if seed is None else SALT | position << 64 | seed)
    for name, reseeder in RESEEDERS.items():
        if name in sys.modules:
            reseeder(sys.modules[name], seed)


SALT = 0x4861746368657279 << 96  # keeps a derived number apart from any that a program seeds with itself


def random_number():
    return int.from_bytes(os.urandom(16), "little")


def collect_generators():
    """Finds generators that the preload created. Before gc.freeze(), which hides objects from the search."""
    kinds = []
    if "random" in sys.modules:
        kinds.append((sys.modules["random"].Random, lambda generator, number: generator.seed(number)))
    if "numpy.random" in sys.modules:
        numpy_random = sys.modules["numpy.random"]
        kinds.append((numpy_random.BitGenerator, reseed_bit_generator))  # also the one inside each Generator
        kinds.append((numpy_random.RandomState, forget_cached_gaussian))
    if "torch" in sys.modules:
        kinds.append((sys.modules["torch"].Generator, reseed_torch_generator))
    # type(), not isinstance: __class__ may be a property of a proxy, with effects.
    SEEDED[:] = [(reseeder, found) for found in gc.get_objects() for kind, reseeder in kinds
                 if issubclass(type(found), kind)]
    GENERATORS[:] = [quick for quick in map(quickly, SEEDED) if quick is not None]


def quickly(pair):
    """The way to new entropy that costs a child least; None where it needs nothing of us."""
    reseeder, generator = pair
    random = sys.modules.get("random")
    if random and (generator is random._inst or isinstance(generator, random.SystemRandom)):
        return None  # the module's own fork hook seeds the one, and the other has no state
    if reseeder is forget_cached_gaussian:
        forget_cached_gaussian(generator, 0)  # once, here: children find it forgotten
        return None
    if reseeder is reseed_bit_generator and type(generator).__name__ == "MT19937":
        try:
            return mersenne_twister(generator), generator
        except (AttributeError, KeyError, TypeError, ValueError):
            pass  # a numpy that arranges it otherwise: the long way
    return pair


def mersenne_twister(generator):
    """Random bytes where numpy keeps the 624 words of a Mersenne Twister (mt19937_state: the words, then a position), instead of
    a second generator made only to copy its state: a tenth of the time and of the pages written."""
    address, state = generator.ctypes.state_address, generator.state["state"]
    words, position = (ctypes.c_uint32 * 624).from_address(address), ctypes.c_int.from_address(address + 4 * 624)
    if list(words) != state["key"].tolist() or position.value != state["pos"]:
        raise ValueError("the state is not where it is expected")
    position.value = 624  # all words used: the next number begins with a new round; it stays so, nobody draws in the zygote
    sequence = getattr(generator, "_seed_seq", None)
    reseed_sequence = seed_sequence(sequence)

    def reseed_words(_, number):
        offset = 0
        while offset < 2496:  # a signal may cut getrandom short
            count = getrandom(address + offset, 2496 - offset, 0)
            if count < 0:
                raise OSError("getrandom failed")
            offset += count
        reseed_sequence(number)
    return reseed_words


def seed_sequence(sequence):
    """What .spawn() and .jumped() derive from: a number, and a pool of words that come of it. A sequence made anew costs 80 pages and
    a tenth of a child's time; so the number, which is an object of this sequence alone, gets other digits (PyLongObject), and the pool other words."""
    if sequence is None:
        return lambda number: None
    sequence.__init__(1 << 127 | random_number() >> 1)
    entropy, pool = sequence.entropy, sequence.pool
    digits, words = (ctypes.c_uint32 * 5).from_address(id(entropy) + int.__basicsize__), pool.ctypes.data
    known = sys.int_info.bits_per_digit == 30 and sys.int_info.sizeof_digit == 4 and sys.implementation.name == "cpython" \
        and sum(digit << 30 * place for place, digit in enumerate(digits)) == entropy \
        and sys.getrefcount(entropy) == 3 and pool.dtype.itemsize * pool.size == 16 and pool.flags.c_contiguous
    if not known:
        return sequence.__init__

    def reseed_sequence(number):
        digits[:4] = (number & 0x3FFFFFFF, number >> 30 & 0x3FFFFFFF, number >> 60 & 0x3FFFFFFF, number >> 90 & 0x3FFFFFFF)
        if getrandom(words, 16, 0) != 16:  # so few are never cut short by a signal (getrandom(2))
            raise OSError("getrandom failed")
    return reseed_sequence


getrandom = libc.getrandom
getrandom.argtypes, getrandom.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint), ctypes.c_ssize_t


def reseed_bit_generator(generator, number):
    """In place, because a Generator holds a pointer into its bit generator."""
    generator.state = type(generator)(number).state
    sequence = getattr(generator, "_seed_seq", None)  # what Generator.spawn() and .jumped() derive from
    if sequence is not None and hasattr(sequence, "entropy"):
        sequence.__init__(number)


def reseed_torch_generator(generator, number):
    generator.manual_seed((number ^ number >> 64 ^ number >> 128) % 2**63)


def forget_cached_gaussian(generator, _):
    state = generator.get_state(legacy=False)
    state.update(has_gauss=0, gauss=0.0)
    generator.set_state(state)


def reseed_numpy(module, seed):
    if seed is not None:  # with numpy.random.seed's own values where it takes them
        # The 1: `random` makes its state of the same two words in the same way.
        module.seed(seed if seed < 2**32 else [seed & 0xFFFFFFFF, seed >> 32, 1])


def reseed_openssl(module, _):
    # OpenSSL 3 notices a fork by a changed getpid(). In pid namespaces a child may well have its zygote's number.
    module.RAND_add(os.urandom(32), 32.0)


GENERATORS, SEEDED = [], []  # (reseeder, generator): for new entropy, and for the numbers of a seed
RESEEDERS = {  # module: what to do with it where it is already imported. Nothing is imported for this.
    "random": lambda module, seed: None if seed is None else module.seed(seed),  # the fresh one is in GENERATORS
    "numpy.random": reseed_numpy,
    "torch": lambda module, seed: module.manual_seed(random_number() % 2**63 if seed is None else seed % 2**63),
    "_ssl": reseed_openssl,
}


SEEDED_WHEN_IMPORTED = "numpy.random", "torch"  # too large to import for a program that may not want them


class AfterImport:
    """In sys.meta_path: does something to modules that the program imports itself, right after their import."""

    def __init__(self, argument, actions):
        self.argument, self.actions = argument, actions

    def find_spec(self, name, path=None, target=None):
        if name not in self.actions:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path
                 if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            self.act_after(spec.loader, name)
        return spec

    def act_after(self, loader, name):
        execute = loader.exec_module

        def exec_module(module):
            vars(loader).pop("exec_module", None)
            execute(module)
            try:
                self.actions[name](module, self.argument)
            except (AttributeError, TypeError):
                pass  # a module of the program's own that has the same name

        try:
            loader.exec_module = exec_module
        except AttributeError:
            pass  # a loader without room for it: then this module is as its authors made it


def become_somebody_else():
    process = sys.modules.get("multiprocessing.process")
    if process:
        process.current_process().authkey = os.urandom(32)  # else every child's authenticates to every other child's
        getattr(process.current_process(), "_config", {}).pop("tempdir", None)


# ---- In the child, sealed: run what was asked for ---------------------------------------------------------------------

PROGRAM, SCRIPT, CODE, MODULE, CALL = range(5)  # LaunchPlan.Mode


class Plan:
    """LaunchPlan.swift of HatcheryProtocol: fields `tag: UInt16, length: UInt32, bytes`, little-endian."""

    def __init__(self, data):
        self.mode, self.target, self.source, self.json_arguments, self.seed = None, b"", b"", b"", None
        self.plots, self.tells_imports = None, False
        self.arguments, self.environment, offset = [], {}, 0
        while offset < len(data):
            tag, length = struct.unpack_from("<HI", data, offset)
            value, offset = data[offset + 6:offset + 6 + length], offset + 6 + length
            if len(value) != length:
                raise ValueError(f"field {tag} of the launch plan is cut off")
            if tag == 1:
                self.mode = value[0]
            elif tag == 2:
                self.target = value
            elif tag == 3:
                self.source = value
            elif tag == 4:
                self.arguments.append(os.fsdecode(value))
            elif tag == 5:
                name, _, content = value.partition(b"=")
                self.environment.pop(name, None)
                self.environment[name] = content  # the profile's come first, the client's last: a later one wins
            elif tag == 6:
                self.json_arguments = value
            elif tag == 7:
                self.seed = int.from_bytes(value, "little")
            elif tag == 9:
                self.plots = os.fsdecode(value)
            elif tag == 10:
                self.tells_imports = value != b"\0"
            elif tag != 8:  # 8, the working directory, is the library's to enter
                raise ValueError(f"field {tag} of the launch plan is unknown")
        if self.mode not in (SCRIPT, CODE, MODULE, CALL):
            raise ValueError(f"mode {self.mode} of the launch plan is not for a Python zygote")


@MAIN
def main(launch, length):
    """Called once, in the sealed sandbox. Returns the exit status; no exception ever leaves it."""
    caught = answer = None
    process = os.getpid()  # a copy that the program forks and that comes back here has its figures twice
    try:
        plan = Plan(ctypes.string_at(launch, length))
        become_python(plan)
    except BaseException:
        complain("the launch plan cannot be run:\n" + traceback.format_exc())
        return STATUS_OWN_FAILURE
    try:
        # The user's code is called from here and not from deeper: each of our frames is one that traceback.print_stack,
        # sys._getframe and the recursion limit show.
        function, arguments, keywords = entry(plan)
        result = function(*arguments, **keywords)
        if plan.mode == CALL:
            status, answer = render(plan, result)
        else:
            status = 0
    except BaseException as error:
        caught = error  # told below: inside of this block it would be the context of whatever an excepthook raises
    try:
        if caught is not None:
            status = report(caught, plan)
        caught = function = arguments = keywords = result = None  # they keep `__main__` alive
        if plan.plots and os.getpid() == process:
            guarded(lambda: save_plots(plan.plots))
        if plan.tells_imports and os.getpid() == process:
            tell_imports()
        return finish(status, answer)
    except BaseException:
        complain("the end went wrong:\n" + traceback.format_exc())
        return STATUS_OWN_FAILURE


def become_python(plan):
    """The state that a freshly started interpreter would have."""
    set_environment(plan.environment)
    around = surroundings(0)
    if b"TZ" in plan.environment or around & OTHER_ZONE:
        time.tzset()
    names = [name for name in (b"LC_ALL", b"LC_CTYPE", b"LANG") if plan.environment.get(name)]
    # CPython coerces an unset or C locale to UTF-8 (PEP 538); we do so too, but leave no variable behind.
    if names and plan.environment[names[0]] not in (b"C", b"POSIX", b"C.UTF-8", b"C.utf8"):
        libc.setlocale(0, b"")  # 0 is LC_CTYPE, the one category CPython sets; the zygote's is C.UTF-8
    # The functions of C: those of signal.py make enumerations of their arguments and results first.
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    open_streams(around)
    if plan.seed is not None:
        __import__("random")  # so that it is seeded whatever was preloaded; sys.path is still the zygote's own
        reseed(plan.seed)
        missing = {name: RESEEDERS[name] for name in SEEDED_WHEN_IMPORTED if name not in sys.modules}
        if missing:
            sys.meta_path.insert(0, AfterImport(plan.seed, missing))
    backend = plan.environment.get(b"MPLBACKEND")
    if backend and "matplotlib" in sys.modules:  # which read the preload's when it was imported
        guarded(lambda: sys.modules["matplotlib"].use(os.fsdecode(backend)))
    process = sys.modules.get("multiprocessing.process")
    if process and hasattr(process, "ORIGINAL_DIR"):
        process.ORIGINAL_DIR = working_directory()


def set_environment(variables):
    """Exactly these, for Python and for C: also what C libraries put there behind os.environ's back."""
    os.environ._data.clear()  # not os.environ.clear(), which unsets one after the other
    libc.clearenv()
    posix.environ.clear()
    for name, value in variables.items():
        posix.putenv(name, value)
    os.environ._data.update(variables)  # which has them as bytes, as C has
    posix.environ.update(variables)


def open_stream(descriptor, mode, name, errors):
    """A fresh text layer, as CPython's own start builds it."""
    try:
        buffer = open(descriptor, mode + "b", closefd=False)
    except OSError:
        return None  # a closed descriptor: CPython has None there as well
    raw = getattr(buffer, "raw", buffer)
    raw.name = name
    # -X utf8 means surrogateescape for stdin and stdout. Lines are flushed as they end, unlike CPython into a pipe:
    # what was printed before a kill must not be lost.
    text = io.TextIOWrapper(buffer, "utf-8", errors, "\n", line_buffering=mode == "w")
    text.mode = mode
    return text


STREAMS = (0, "r", "<stdin>", "surrogateescape"), (1, "w", "<stdout>", "surrogateescape"), (2, "w", "<stderr>", "backslashreplace")
# What hatchery_zygote_surroundings() says: a bit for each stream that is a pipe, one for a stdin that is a null device, one for
# a time zone file that is not the one of the call with 1.
PIPES, NULL_INPUT, OTHER_ZONE = (1, 2, 4), 8, 16
PREPARED = {}  # the bit: a text layer that no byte went through


def prepare_streams():
    """In the zygote: text layers for the kinds of file that children nearly always have, a pipe and /dev/null. What a layer remembers
    of its file is whether it can seek, and the size of its buffer."""
    kept = [os.dup(descriptor) for descriptor in range(3)]
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        for bits, source in (PIPES, reader), ((NULL_INPUT,), null):
            for descriptor, file in enumerate((source, writer, writer)):
                os.dup2(file, descriptor)
            for stream, bit in zip(STREAMS, bits):
                PREPARED[bit] = open_stream(*stream)
        bind_streams(NULL_INPUT | PIPES[1] | PIPES[2])
    finally:
        for descriptor, file in enumerate(kept):
            os.dup2(file, descriptor)
        for descriptor in (*kept, reader, writer, null):
            os.close(descriptor)


def open_streams(around):
    """The zygote's own may be bound to another kind of file."""
    usual = around & (NULL_INPUT | PIPES[0] | PIPES[1] | PIPES[2]) == NULL_INPUT | PIPES[1] | PIPES[2]
    if not (usual and sys.stdin is sys.__stdin__ and sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__):
        bind_streams(around)


def bind_streams(around):
    bits = (NULL_INPUT if around & NULL_INPUT else around & PIPES[0]), around & PIPES[1], around & PIPES[2]
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = [
        PREPARED.get(bit) or open_stream(*stream) for stream, bit in zip(STREAMS, bits)]


def working_directory():
    try:
        return os.getcwd()
    except OSError:
        return ""


def entry(plan):
    """What to call for the plan: (function, arguments, keywords), after sys.argv, sys.path and `__main__` are set."""
    target = os.fsdecode(plan.target) if plan.target else ""
    directory = "" if plan.mode == CODE else working_directory()
    if plan.mode == SCRIPT and target != "-":
        name = os.path.basename(target) or "script.py"
        path = os.path.join(directory, name)  # since 3.9 `__file__` is absolute, sys.argv[0] as it was typed
        namespace = new_main(name, directory, plan, __file__=path, __loader__=SourceFileLoader("__main__", path))
        place_source(path, plan.source)
        return exec, (compile(plan.source, path, "exec", dont_inherit=True), namespace), {}
    if plan.mode in (SCRIPT, CODE):
        name, filename = ("-c", "<string>") if plan.mode == CODE else ("-", "<stdin>")
        namespace = new_main(name, "", plan)
        source = plan.source.decode("utf-8", "surrogateescape")
        if sys.version_info >= (3, 14):
            source = __import__("textwrap").dedent(source)
        if sys.version_info >= (3, 13):  # since then tracebacks show the lines of -c
            linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        return exec, (compile(source, filename, "exec", dont_inherit=True), namespace), {}
    if plan.mode == MODULE:
        new_main("-m", directory, plan)
        sys.orig_argv[1:2] = ["-m", target]
        return runpy._run_module_as_main, (target,), {}  # what `python -m` itself calls: same frames, same messages
    if plan.mode == CALL:
        new_main(target, directory, plan)
        return callee(plan, target)
    raise AssertionError("Plan lets no other mode through")


def new_main(program, directory, plan, **attributes):
    """sys.argv, sys.path and a `__main__` with exactly the names a script finds there."""
    sys.argv = [program, *plan.arguments]
    sys.orig_argv = [sys.executable, *sys.argv]
    added = os.environ._data.get(b"PYTHONPATH")  # environ.get() would raise an exception, and catch it: ten pages
    sys.path[0:0] = [directory, *filter(None, os.fsdecode(added).split(":"))] if added else [directory]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__.update({"__builtins__": builtins, "__loader__": BuiltinImporter, **attributes})
    for name in ("__annotations__", "__cached__"):
        if name in MAIN_MODULE_NAMES and (attributes or name == "__annotations__"):
            module.__dict__[name] = {} if name == "__annotations__" else None
    return module.__dict__


def place_source(path, source):
    """The script as a file: tracebacks, inspect and multiprocessing's spawn read it by its name."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:
            file.write(source)
        return
    except OSError:  # it is there already, or nobody may write here
        try:
            with open(path, "rb") as file:
                if file.read(len(source) + 1) == source:
                    return
        except OSError:
            pass
    try:
        text = importlib.util.decode_source(source)
    except (SyntaxError, UnicodeError):
        return  # the compiler is about to say so
    linecache.cache[path] = (len(source), None, text.splitlines(True), path)  # None: never compared with the disk


def callee(plan, target):
    """The function of `module:function` with its JSON arguments."""
    module_name, _, function_name = target.partition(":")
    if not module_name or not function_name:
        raise SystemExit(f"hatchery: call: {target!r} is not of the form module:function")
    if module_name == "hatchery.zygote":
        return random_values, (), {}  # the self-test of a generation
    try:
        __import__(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise SystemExit(f"hatchery: call: no module named {error.name!r}") from None
        raise  # something that the module itself imports: its own traceback tells
    function = sys.modules[module_name]
    for attribute in function_name.split("."):
        try:
            function = getattr(function, attribute)
        except AttributeError:
            raise SystemExit(f"hatchery: call: module {module_name!r} has no {function_name!r}") from None
    if not callable(function):
        raise SystemExit(f"hatchery: call: {target!r} is not callable")
    try:
        arguments = json.loads(plan.json_arguments or b"[]")
    except ValueError as error:
        raise SystemExit(f"hatchery: call: the arguments are not JSON: {error}") from None
    if isinstance(arguments, dict):
        return function, (), arguments
    if isinstance(arguments, list):
        return function, arguments, {}
    raise SystemExit("hatchery: call: the arguments are neither a JSON array nor an object")


def render(plan, result):
    """The value returned, as the line that ends stdout."""
    try:
        return 0, json.dumps(result, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        name = os.fsdecode(plan.target)
        raise SystemExit(f"hatchery: call: the value that {name!r} returned is not JSON: {error}") from None


def random_values():
    """One value of each generator: two children of one generation must not agree in any of them (ACCEPTANCE A23)."""
    import random, secrets, tempfile, uuid
    values = {"random": random.random(), "secrets": secrets.token_hex(8), "uuid4": str(uuid.uuid4()),
              "tempfile": next(tempfile._get_candidate_names())}
    if "numpy.random" in sys.modules:
        values["numpy"] = float(sys.modules["numpy.random"].random_sample())
        inherited = [found for _, found in GENERATORS if hasattr(found, "random_raw")]
        values["numpy_inherited"] = [str(generator.random_raw()) for generator in inherited]
    if "_ssl" in sys.modules:
        values["openssl"] = sys.modules["_ssl"].RAND_bytes(8).hex()
    return values


# ---- In the child: the end ---------------------------------------------------------------------------------------------

def report(error, plan):
    """What CPython does with an exception that nobody caught. Returns the exit status."""
    if isinstance(error, SystemExit):
        code = error.code
        if code is None or isinstance(code, int):
            return 0 if code is None else (code if -2**63 <= code < 2**63 else -1) & 0xFF
        try:
            print(code, file=sys.stderr)
        except BaseException:
            pass
        return 1
    error.__traceback__ = frames = own_frames_stripped(error)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, frames
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        in_memory = sys.version_info < (3, 13) and plan.mode == SCRIPT and sys.excepthook is sys.__excepthook__ \
            and any(name.startswith("/") and entry[1:2] == (None,) for name, entry in linecache.cache.items())
        # Until 3.12 the built-in hook reads source lines from files only; the traceback module asks linecache.
        (traceback.print_exception if in_memory else sys.excepthook)(type(error), error, frames)
    except SystemExit as leave:
        return report(leave, plan)
    except BaseException as second:
        # CPython's words for a hook that fails itself.
        print("Error in sys.excepthook:", file=sys.stderr)
        show(second)
        print("\nOriginal exception was:", file=sys.stderr)
        show(error)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def show(error):
    error.__traceback__ = own_frames_stripped(error)  # the built-in hook prints this one, not its argument
    sys.__excepthook__(type(error), error, error.__traceback__)


def own_frames_stripped(error):
    """The traceback without the frames of this file, which all stand at its beginning."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == OWN_FILENAME:
        frames = frames.tb_next
    return frames


OWN_FILENAME = own_frames_stripped.__code__.co_filename


def save_plots(directory):
    """Saves the figures that the program left open, as somebody who had looked at them would have seen them at the end."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    numbers = pyplot.get_fignums() if pyplot else ()
    if not numbers:
        return
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for number in numbers:
        try:
            pyplot.figure(number).savefig(os.path.join(directory, f"figure-{number}.png"), format="png")
        except Exception as error:
            complain(f"figure {number} could not be saved: {type(error).__name__}: {error}")


def tell_imports():
    """What every child that does the same imports again, for the operator who decides on the preload."""
    names = [name for name in sys.modules if name not in PRELOADED and name not in ("__main__", "__mp_main__")]
    # A package stands for what came with it.
    names = sorted(name for name in names if name.rpartition(".")[0] in (*PRELOADED, ""))
    complain("imported beyond the preload: " + (", ".join(names) or "nothing"))


def finish(status, answer=None):
    """Py_FinalizeEx without the interpreter's own tear-down, which would touch every page that is still shared.

    A process that user code forked and that returned here ends by the same path, as it would in CPython.
    """
    interrupted, status = status == INTERRUPTED, STATUS_INTERRUPTED if status == INTERRUPTED else status
    guarded(join_threads)

    def give_up(*_):
        complain(f"exit handlers took more than {EXIT_HANDLERS_SECONDS} seconds; leaving without them")
        os._exit(last_words(status, answer))

    # A handler that leaves by itself needs no thread, and works whatever the callbacks catch. It interrupts sleeps,
    # locks and loops of Python; a callback stuck in C is left to the time limit.
    _signal.signal(_signal.SIGALRM, give_up)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
    _signal.setitimer(_signal.ITIMER_REAL, EXIT_HANDLERS_SECONDS)
    guarded(atexit._run_exitfuncs)  # the preload's too: logging.shutdown, multiprocessing, weakref.finalize
    failed = not flush_streams()
    guarded(drop_modules)
    _signal.setitimer(_signal.ITIMER_REAL, 0)
    status = last_words(STATUS_FLUSH_FAILED if failed else status, answer)
    if interrupted:
        # Die of the signal, as CPython does, so that whoever waits can tell an interrupt from an exit.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def guarded(action):
    try:
        action()
    except SystemExit:
        pass
    except BaseException as error:
        show(error)


def join_threads():
    """Waits for the threads that are not daemons, for as long as they take. concurrent.futures hooks in there too."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    # Nothing would happen, at the price of 35 pages.
    if sys.version_info < (3, 13) and len(threading._active) == 1 and not threading._limbo and not threading._threading_atexits:
        return
    if hasattr(threading, "_shutdown"):
        threading._shutdown()
    else:
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.main_thread():
                thread.join()


def drop_modules():
    """Lets go of the user's modules, so that finalizers run and forgotten files reach the disk, as at CPython's end."""
    flush_files()
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            delattr(sys, name)
    users = ["__main__"]
    for name in reversed(sys.modules):  # newest first; a look at the preloaded ones would copy the page of every name
        if name in PRELOADED:
            break
        users.append(name)
    for name in users:
        sys.modules.pop(name, None)
    gc.collect()
    flush_files()


def flush_files():
    """Files with unwritten bytes that somebody still holds; without the preload's, which are frozen.

    Before the collection, because a buffer and its file in one cycle are finalized in any order; and once more after it.
    """
    writers = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for found in gc.get_objects():
        if type(found) in writers and not found.closed:
            try:
                found.flush()
            except Exception:
                pass


def last_words(status, answer):
    """Flushes, then the answer of a call, which nothing that was printed may follow."""
    if not flush_streams():
        status = STATUS_FLUSH_FAILED
    libc.fflush(None)
    while answer:
        try:
            answer = answer[os.write(1, answer):]
        except OSError:
            return STATUS_FLUSH_FAILED
    return status


def flush_streams():
    flushed = True
    # Those of the start too, where the program put others in their place: what was written there goes out as well.
    for stream in dict.fromkeys((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException as error:
            flushed = False
            if stream is sys.stdout:
                complain(f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}", prefix="")
    return flushed


def complain(text, prefix="hatchery: "):
    try:
        os.write(2, (prefix + text.rstrip("\n") + "\n").encode("utf-8", "backslashreplace"))
    except OSError:
        pass


if __name__ == "__main__":
    zygote_library, zygote_control = start(sys.argv)
    # In the module's own frame: whatever stands here is at the bottom of every child's stack.
    os._exit(zygote_library.serve(zygote_control, prepare, main, FREEZE["wanted"]))
