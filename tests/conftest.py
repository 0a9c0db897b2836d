"""A copy of the project for each test that runs or breaks something, and the command line in it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import forked
import pytest
from filelock import FileLock

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # of nbformat: takes four seconds, and pokeml leaves it out

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "data" / "pokemon_sample.csv"


def start(
    words: Sequence[str],
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
    typed: str = "",
    timeout: float = 300,
    cold: bool = False,
) -> subprocess.CompletedProcess:
    """Run Python, forked if it can be; `typed` is what it reads."""
    run = subprocess.run if cold or forked.SERVER not in os.environ else forked.run
    options = {"input": typed, "capture_output": True, "text": True, "timeout": timeout}
    return run(words, cwd=cwd, env=dict(os.environ) if env is None else env, **options)


class Copy:
    """A copy of the project with its own package, so that a test may change anything in it."""

    def __init__(self, root: Path):
        self.root = root
        # With what Python has compiled, so that no copy has to; but not what it is just writing (name.pyc.number).
        skip = shutil.ignore_patterns("*.pyc.*", ".ipynb_checkpoints", ".*", "explore")
        if not root.exists():  # else it is one that another process made
            for folder in ("nbs", "pokeml", "conf", "data/01_raw"):
                shutil.copytree(ROOT / folder, root / folder, ignore=skip)
            shutil.rmtree(root / "conf" / "local", ignore_errors=True)  # a developer's own settings are not tested
            shutil.copy(ROOT / "settings.ini", root)
        self.env = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": ""}
        self.env.pop("POKEML_PROJECT", None)

    def use_sample(self) -> None:
        """Put the small sample in place of the full table, and small grids in place of the default ones."""
        shutil.copy(SAMPLE, self.root / "data" / "01_raw" / "pokemon.csv")
        self.write(
            "conf/local/parameters.yml",
            "primary_type_models:\n"
            "  sk_learn_dt: {classifier: sklearn.tree.DecisionTreeClassifier, params: {max_depth: [10, 20]}}\n"
            "statistics_models: {tree: {classifier: sklearn.tree.DecisionTreeClassifier}}\n",
        )

    def write(self, path: str, text: str) -> Path:
        """Write a file of the copy."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there in a file of the copy."""
        text = (self.root / path).read_text("utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        (self.root / path).write_text(text.replace(old, new), "utf-8")

    def command(self, *arguments: str) -> list[str]:
        """Give the command that runs pokeml."""
        return [sys.executable, "-m", "pokeml", *arguments]

    def python(
        self,
        *arguments: str,
        cwd: str | Path = ".",
        env: dict[str, str] | None = None,
        typed: str = "",
        timeout: float = 300,
        cold: bool = False,
    ) -> subprocess.CompletedProcess:
        """Run Python in a folder of the copy, forked unless it is to be `cold`; `typed` is what it reads."""
        return start([sys.executable, *arguments], self.root / cwd, env or self.env, typed, timeout, cold)

    def pokeml(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
        """Run pokeml in a folder of the copy; `options` as of `python`."""
        return self.python("-m", "pokeml", *arguments, **options)

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start pokeml in a session of its own, so that a signal to its group is like Ctrl-C in a terminal."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.env,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
            # A test run in the background of a shell ignores SIGINT, and would hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def written(self) -> list[str]:
        """List the files below the generated data layers and outputs."""
        files = [*(self.root / "data").glob("0[2-9]*/**/*"), *(self.root / "outputs").glob("**/*")]
        return sorted(
            str(p.relative_to(self.root)) for p in files if p.is_file() and p.name not in (".lock", ".pokeml.db")
        )

    def records(self) -> list[Path]:
        """List the run records, the oldest first."""
        return sorted((self.root / "outputs" / "runs").glob("*/run.json"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--affected", type=float, metavar="SECONDS", help="run what a change may touch, the nearest first")
    parser.addoption("--cold", action="store_true", help="start every process as a user does, which takes much longer")


pytest.register_assert_rewrite("browser")


def pytest_configure(config: pytest.Config) -> None:
    """Have processes forked (see `forked`), unless `--cold` is given or the system cannot."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations())
    needless = config.getoption("--cold") or config.getoption("--collect-only") or not forked.POSSIBLE
    if not needless and forked.SERVER not in os.environ:  # else this is a worker, and finds the server of all
        server = contextlib.ExitStack()
        server.enter_context(forked.server())
        config.add_cleanup(server.close)


# The files that take longest come first. The notebooks come last: they are many and short, so that in the end no
# process is left alone with a long file.
LONGEST = """
    test_types test_wheel test_engines test_docs test_lab test_lineage test_inline test_debug test_run test_shape
    test_schema test_config test_hooks test_catalog_runs test_serve test_choosing test_faults test_api test_rerun
""".split()
NOTEBOOKS = "tests/test_notebooks.py"  # the tests of other files stay together, since they share fixtures
SHARE = 0.15  # of the time of all, for one file or notebook
CHOSEN = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)} | {Path(NOTEBOOKS).stem: 1000}
    items.sort(key=lambda item: order.get(item.path.stem, 999))
    if config.getoption("--affected"):
        import affected

        took = config.cache.get("pokeml/took", {})
        chosen, config.stash[CHOSEN] = affected.choose(ROOT, items, took, config.getoption("--affected"))
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(NOTEBOOKS) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def too_long(took: dict[str, float]) -> dict[str, float]:
    """Give the files and notebooks that took more of the time of all tests than their share, and what they took."""
    files: Counter[str] = Counter()
    for test, seconds in took.items():
        files[test if test.startswith(NOTEBOOKS) else test.partition("::")[0]] += seconds
    return {name: seconds / files.total() for name, seconds in files.items() if seconds > SHARE * files.total()}


class Durations:
    """How long each test takes: kept for the next run, and a whole run fails in which one file took too much of it."""

    def __init__(self) -> None:
        self.took: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took[report.nodeid] += report.duration

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        cache = session.config.cache
        cache.set("pokeml/took", cache.get("pokeml/took", {}) | {t: round(s, 2) for t, s in self.took.items()})
        files = {test.partition("::")[0] for test in self.took}
        is_whole = all(path.relative_to(ROOT).as_posix() in files for path in (ROOT / "tests").glob("test_*.py"))
        self.too_long = too_long(self.took) if is_whole else {}
        if self.too_long:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        for line in config.stash.get(CHOSEN, []):
            terminalreporter.write_line(line)
        for name, share in self.too_long.items():
            terminalreporter.write_line(
                f"FAILED {name} took {share:.0%} of the time of all tests, and none may take more than {SHARE:.0%}",
                red=True,
            )


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Have one of the processes of a test run make a folder, which all of them read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            half = folder.with_name(f"{name}-half")
            shutil.rmtree(half, ignore_errors=True)
            make(half)
            half.rename(folder)
    return folder


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a plan has found out about a fresh copy, and about one with the small sample, which takes two seconds."""

    def make(folder: Path) -> None:
        for name in ("copy", "sample"):
            made = Copy(folder / name)
            if name == "sample":
                made.use_sample()
            done = made.pokeml("run", "--dry-run")
            assert done.returncode == 0, done.stderr

    folder = made_once(tmp_path_factory, "planned", make)
    return {name: folder / name / "outputs" / ".pokeml.db" for name in ("copy", "sample")}


@pytest.fixture
def copy(tmp_path: Path, planned: dict[str, Path]) -> Copy:
    """A fresh copy of the project, planned and never run."""
    made = Copy(tmp_path / "project")
    (made.root / "outputs").mkdir()
    shutil.copy(planned["copy"], made.root / "outputs")
    return made


@pytest.fixture
def sample(copy: Copy, planned: dict[str, Path]) -> Copy:
    """A fresh copy with the small sample, planned and never run."""
    copy.use_sample()
    shutil.copy(planned["sample"], copy.root / "outputs")
    return copy


@pytest.fixture
def sample_done(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy with the small sample in which everything ran once, to be changed as one likes."""

    def make(folder: Path) -> None:
        made = Copy(folder / "project")
        made.use_sample()
        done = made.pokeml("run", "-q")
        assert done.returncode == 0, done.stderr

    shutil.copytree(made_once(tmp_path_factory, "sample_done", make) / "project", tmp_path / "project")
    return Copy(tmp_path / "project")


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy in which everything ran once on the full table; not to be changed."""

    def make(folder: Path) -> None:
        done = Copy(folder / "project").pokeml("run")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "stdout.txt").write_text(done.stdout, "utf-8")

    folder = made_once(tmp_path_factory, "full", make)
    made = Copy(folder / "project")
    made.stdout = (folder / "stdout.txt").read_text("utf-8")
    return made


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, for all tests of a worker."""
    from browser import started

    with started() as chromium:
        yield chromium


def wait_for(condition, seconds: float = 60):
    """Wait until `condition()` is true and return what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def processes_below(folder: Path) -> list[int]:
    """Find the processes whose working directory lies in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:  # gone in the meantime, or not ours
            continue
    return found


def interrupt(process: subprocess.Popen) -> None:
    """Send what Ctrl-C sends: SIGINT to the whole foreground group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.fixture(scope="session")
def made_predictors(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the project with the small sample, in which the predictors were made; not to be changed."""

    def make(folder: Path) -> None:
        project = Copy(folder / "project")
        project.use_sample()
        done = project.pokeml("run", "--engine", "inline", "--to-outputs", "predictor,statistics_predictor")
        assert done.returncode == 0, done.stdout + done.stderr

    project = Copy(made_once(tmp_path_factory, "served", make) / "project")
    project.env.pop("API_SECRET_KEY", None)
    return project


@pytest.fixture(scope="session")
def server(made_predictors: Copy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The service of that project, as `pokeml serve` runs it."""
    from serving import serve

    with serve(made_predictors, tmp_path_factory.mktemp("log") / "serve.log") as running:
        yield running
