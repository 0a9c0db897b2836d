"""Start Python as a fork of a process that has imported the libraries already.

Most tests look at what a run makes and tells, not at how Python starts, and nearly half of the suite's time went into
that. So `Copy.python` has its process forked, and the helper and the kernels that this one starts. Each still imports
pokeml itself, from where its own PYTHONPATH says. What is about the start (imports, signals, terminals) starts Python
as always, and so does everything with `pytest --cold`.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Sequence
from importlib import metadata
from importlib.metadata import packages_distributions as _packages_distributions
from pathlib import Path
from typing import Any

# Nothing that starts a thread. What matplotlib has read from the environment is put right in `_take_place`.
LIBRARIES = """
    click click.shell_completion fast_sugiyama filelock fsspec.implementations.local http.server ipykernel.debugger
    ipykernel.ipkernel ipykernel.kernelapp IPython.core.application IPython.core.debugger
    IPython.core.interactiveshell IPython.core.oinspect IPython.extensions.storemagic jupyter_client markdown_it
    matplotlib.backends.backend_agg matplotlib.pyplot nbclient nbformat nh3 numpy omegaconf
    omegaconf.vendor.antlr4.LL1Analyzer pandas pandas.core.arrays.arrow.extension_types pandas.io.formats.csvs
    pandas.io.formats.html pandas.io.formats.string pandera.pandas papermill pluggy pyarrow.dataset
    pyarrow.pandas_compat pyarrow.parquet pydantic pydantic.main pydantic.type_adapter pygments.formatters.html
    pygments.lexers.python rich.console rich.logging rich.progress rich.table skops.io sklearn.ensemble
    sklearn.linear_model sklearn.metrics sklearn.model_selection sklearn.pipeline sklearn.preprocessing sklearn.tree
    sqlalchemy sqlite3 statistics tornado.platform.asyncio xxhash yaml
""".split()
# What processes of small projects find imported, which take pokeml itself from where the tests do.
POKEML = """
    answers catalog_report cli engine figure_datasets gallery helper hooks inline lineage model_file node_runner plan
    progress record run_page runs selection snapshot sql_datasets stage stage_lineage stage_notebook table_datasets
    verify warm
""".split()
# What notebooks need besides. Put aside, for a command shall not find it imported.
FOR_NOTEBOOKS = ("nbdev.test", "fastcore.test", "pokeml.magics", "pokeml.cli")
ASIDE = ("pokeml", "nbdev", "fastcore", "execnb")
UNWANTED = ("debugpy", "pytest", "_pytest", "rfc3987_syntax")  # pokeml leaves them out as well
ROOT = Path(__file__).resolve().parents[1]
INLINE = "module://matplotlib_inline.backend_inline"
HELPER = "from pokeml.warm import serve"  # in the code of the command that starts it
KERNEL = "ipykernel_launcher"
NOTEBOOK = "from nbdev.test import nbdev_test"
COMMANDS = ("pokeml", "papermill", "nbdev-clean", "nbdev-export", "nbdev-test")  # which cells of notebooks type
MODULES = ("pokeml", "papermill")  # started as `python -m`
POSSIBLE = hasattr(os, "fork") and hasattr(os, "pidfd_open")
SERVER = "POKEML_TESTS_SERVER"  # the environment variable with the place of the server's socket

# Stands on PATH in place of a command, or of Python: has the server fork it.
CLIENT = """\
#!{python} -ISE
import sys
sys.path.insert(0, {folder!r})
import forked
forked.stand_for([{python!r}, *{command!r}, *sys.argv[1:]])
"""

_aside: dict[str, types.ModuleType] = {}
_of_fastcore: set[str] = set()  # the methods that it gives to Path; its repr among them
_packages_known: dict[str, list[str]] = {}


def _packages(**where: list[str]) -> dict[str, list[str]]:
    """Do what `packages_distributions` does, which reads the names of all installed files, in some folders."""
    distributions = metadata.distributions
    metadata.distributions = lambda: distributions(**where)
    try:
        return dict(_packages_distributions())
    finally:
        metadata.distributions = distributions


class Fork:
    """A process forked by the server, with what is used of `subprocess.Popen`."""

    def __init__(
        self, words: Sequence[str], cwd: Any = None, env: Any = None, streams: Sequence[int] = (), pass_fds=()
    ):
        env = dict(os.environ if env is None else env)
        place = env.get(SERVER) or os.environ[SERVER]
        request = {"words": list(words[1:]), "cwd": str(cwd or os.getcwd()), "env": env | {SERVER: place}}
        is_notebook = any(word.startswith(NOTEBOOK) or "/nbdev-" in word for word in words[1:3])
        request |= {"pass_fds": list(pass_fds), "is_kernel": KERNEL in words, "is_notebook": is_notebook}
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(place)
        socket.send_fds(self._server, [json.dumps(request).encode()], [*streams, *pass_fds])
        self.pid = int(self._server.recv(100))
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = io.BytesIO(), None, None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = int(self._server.recv(100))
            self._server.close()
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str], cwd: Path, env: dict[str, str], input: str, timeout: float, **options: bool
) -> subprocess.CompletedProcess:
    """Do what `subprocess.run` does with `capture_output` and `text`."""
    with contextlib.ExitStack() as files:
        read, out, err = (files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3))
        read.write(input)
        read.seek(0)
        process = Fork(words, cwd, env, [file.fileno() for file in (read, out, err)])
        try:
            status = process.wait(timeout)
        except BaseException:
            process.kill()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(words), status, out.read(), err.read())


def stand_for(words: Sequence[str]) -> None:
    """Have a command forked, hand signals on to it, and end as it does."""
    if SERVER not in os.environ:
        os.execv(words[0], words)
    process = Fork(words, streams=[0, 1, 2])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    status = process.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


class _Popen(subprocess.Popen):
    """Has the server fork pokeml, its helper and Jupyter's kernels, and starts everything else as always."""

    def __new__(cls, args: Any, *more: Any, **options: Any) -> Any:
        is_helper = isinstance(args, list) and HELPER in args[-1]
        if not is_helper and KERNEL not in args:
            return super().__new__(cls)
        with open(os.devnull, "r+") as nothing:
            if is_helper:
                return Fork(args, streams=[nothing.fileno()] * 3, pass_fds=options["pass_fds"])
            return Fork(args, options["cwd"], options["env"], [nothing.fileno(), 1, 2])

    def __init__(self, args: Any, *more: Any, **options: Any):
        if isinstance(args, list) and args[:2] == [sys.executable, "-m"] and args[2] in MODULES:
            args = [str(Path(os.environ[SERVER]).with_name("python")), *args[1:]]
        super().__init__(args, *more, **options)


def _take_place(request: dict[str, Any], files: list[int]) -> None:
    """Make of a fork of the server what a new Python with these words would be."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 500) for fd in files]
    os.closerange(3, 500)
    for fd, wanted in zip(high, [0, 1, 2, *request["pass_fds"]], strict=True):
        os.dup2(fd, wanted)
        os.close(fd)
    for number, name in enumerate(("stdin", "stdout", "stderr")):  # else they take the server's for what they are
        is_by_line = name == "stderr" or os.isatty(number) or HELPER in request["words"][-1]
        options = {"mode": "w", "buffering": 1 if is_by_line else -1} if number else {}
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream = open(number, encoding="utf-8", errors=errors, closefd=False, **options)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    places = [str(Path(p).absolute()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:] = [*places, *sys.path]
    is_ours = places[:1] == [str(ROOT)]
    for name, module in _aside.items():
        if request["is_notebook"] or is_ours and name.partition(".")[0] == "pokeml":
            sys.modules[name] = module
    for name in () if request["is_notebook"] else _of_fastcore:
        delattr(Path, name)
    metadata.packages_distributions = lambda: _packages_known | _packages(path=places)
    subprocess.Popen = sys.modules["jupyter_client.launcher"].Popen = _Popen
    if request["is_kernel"] or HELPER in request["words"][-1]:
        os.environ.setdefault("MPLBACKEND", INLINE)  # they say so themselves, before matplotlib is imported
    matplotlib = sys.modules["matplotlib"]
    matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND") or matplotlib.rcParamsDefault._get("backend")
    importlib.invalidate_caches()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


def _run(words: list[str]) -> None:
    """Run `-m module …`, `-c code …` or a command; first may stand `-u` for the helper, and what a kernel needs not."""
    while words[0] not in ("-c", "-m") and not words[0].startswith("/"):
        words = words[1:]
    if words[0].startswith("/"):
        sys.argv = words
        sys.path.insert(0, os.path.dirname(words[0]))
        runpy.run_path(words[0], run_name="__main__")
        return
    sys.argv = [words[1] if words[0] == "-m" else "-c", *words[2:]]
    if words[0] == "-m":
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    sys.path.insert(0, "")
    if HELPER in words[1]:
        os.setsid()
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(words[1], vars(main))


def _be_forked(request: dict[str, Any], files: list[int]) -> None:
    """Do what was asked for, and end as Python does, but for taking the libraries' modules apart."""
    status = 1
    try:
        _take_place(request, files)
        _run(request["words"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve(listener: socket.socket, lives: int) -> None:
    """Fork whenever somebody asks for it, and tell how the forks have ended, until `lives` is closed."""
    sys.modules.update(dict.fromkeys(UNWANTED))
    for name in LIBRARIES:
        importlib.import_module(name)
    for language in ("python", "ipython3", "bash", "json", "yaml"):
        importlib.import_module("pygments.lexers").get_lexer_by_name(language)  # compiles its patterns
    _of_fastcore.update(vars(Path))
    for name in [*FOR_NOTEBOOKS, *(f"pokeml.{name}" for name in POKEML)]:
        importlib.import_module(name)
    _of_fastcore.symmetric_difference_update(vars(Path))
    _aside.update({name: module for name, module in sys.modules.items() if name.partition(".")[0] in ASIDE})
    for name in [*_aside, *UNWANTED]:
        sys.modules.pop(name, None)
    _packages_known.update(_packages())
    atexit._clear()
    gc.collect()
    gc.freeze()
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([listener, lives, *running], [], [])
        if lives in ready:
            break
        for process in set(ready) & set(running):
            pid, asker = running.pop(process)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(OSError), asker:
                asker.send(str(status).encode())
            os.close(process)
        if listener in ready:
            asker, _ = listener.accept()
            data, files, _, _ = socket.recv_fds(asker, 2**20, 20)
            request = json.loads(data)
            if (pid := os.fork()) == 0:
                _be_forked(request, files)
            if request["is_kernel"]:  # its group gets the signals that are meant for it
                os.setpgid(pid, pid)
            for fd in files:
                os.close(fd)
            asker.send(str(pid).encode())
            running[os.pidfd_open(pid)] = (pid, asker)
    for pid, _ in running.values():
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def server():
    """Start the server, and end it afterwards; without it every process is started as always."""
    with (
        tempfile.TemporaryDirectory(prefix="pokeml-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s,
    ):
        place = f"{folder}/server"
        os.mkdir(f"{folder}/bin")
        clients = {f"bin/{name}": [str(Path(sys.executable).with_name(name))] for name in COMMANDS}
        for name, command in (clients | {"python": []}).items():
            client = Path(folder, name)
            client.write_text(CLIENT.format(python=sys.executable, folder=str(Path(__file__).parent), command=command))
            client.chmod(0o755)
        s.bind(place)
        s.listen(20)
        theirs, ours = os.pipe()
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        code = f"import sys; sys.path[0] = {str(Path(__file__).parent)!r}; import forked, socket; sys.path.pop(0)\n"
        code += f"forked._serve(socket.socket(fileno={s.fileno()}), {theirs})"
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdin=subprocess.DEVNULL, pass_fds=[s.fileno(), theirs]
        )
        os.close(theirs)
        s.close()  # where the server has failed, nobody waits for it
        os.environ[SERVER] = place
        try:
            yield
        finally:
            del os.environ[SERVER]
            os.close(ours)
            process.wait()
