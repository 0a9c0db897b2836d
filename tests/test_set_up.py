"""`make` sets up the environment on every Python, says what is wrong where it cannot, and takes no half for a whole."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT
from uv import find_uv_bin

SCRIPT, LOCK = ROOT / ".ci" / "set_up.py", ROOT / ".ci" / "lock.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

# Stands for Python, pip and uv: keeps what it was called with, and fails where a file beside `calls` says so.
FAKE = """#!/bin/sh
said="${0##*/} $*"
echo "$said" >> "$FAKES/calls"
for failure in "$FAKES"/fails-*; do
    [ -e "$failure" ] || continue
    { read -r when; read -r told; } < "$failure"
    case "$said" in *"$when"*) echo "$told"; exit 1;; esac
done
case "$said" in
    *" -m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
    *" install "*" uv") cp "$0" "${0%/*}/uv";;
    *" config list") cat "$FAKES/pip.conf" 2>/dev/null;;
    "uv "*) echo "index $UV_DEFAULT_INDEX" >> "$FAKES/calls";;
esac
exit 0
"""
NO_NETWORK = "WARNING: Retrying: NewConnectionError: Failed to establish a new connection: [Errno -3] Temporary failure"


def load_script():
    spec = importlib.util.spec_from_file_location("set_up", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Machine:
    """A machine on which nothing is installed, in the folder of a project."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture):
        self.script, self.fakes, self.capsys = load_script(), folder / "fakes", capsys
        self.script.ROOT, self.venv = folder, folder / ".venv"
        self.fakes.mkdir()
        self.python = self.program("python3")

    def program(self, name: str) -> Path:
        path = self.fakes / name
        path.write_text(FAKE)
        path.chmod(0o755)
        return path

    def fail(self, when: str, told: str = "") -> None:
        (self.fakes / f"fails-{len(list(self.fakes.iterdir()))}").write_text(f"{when}\n{told}\n")

    def mend(self) -> None:
        for failure in self.fakes.glob("fails-*"):
            failure.unlink()

    def set_up(self, kind: str = "run", status: int = 0) -> str:
        (self.fakes / "calls").write_text("")
        assert self.script.main([kind]) == status
        told = self.capsys.readouterr()
        return told.err if status else told.out

    def installed(self) -> list[str]:
        """List what was installed, and by whom."""
        calls = (self.fakes / "calls").read_text().replace(str(self.script.ROOT), ".").splitlines()
        found = [re.sub(r"--(python \S+|disable\S+|no-input|no-compile) ", "", call) for call in calls]
        return [call.replace("python -m pip", "pip") for call in found if " install " in call]

    def marks(self) -> set[str]:
        return {path.name for path in self.venv.glob(".*")}


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys) -> Machine:
    made = Machine(tmp_path, capsys)
    monkeypatch.setenv("FAKES", str(made.fakes))
    monkeypatch.setenv("PATH", f"{made.fakes}:/usr/bin:/bin")
    for name in ("PYTHON", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "_base_executable", str(made.python))
    monkeypatch.chdir(tmp_path)
    return made


def test_uv_installs_what_a_kind_needs_and_no_more(machine):
    assert machine.set_up("run") == "Setting up .venv (once, about half a minute)\n"
    lock = "-c ./.ci/lock.txt"
    by_uv = f"uv pip install -b ./.ci/lock.txt {lock} -e"
    assert machine.installed() == [f"pip install {lock} uv", f"{by_uv} .[example]"]
    assert machine.marks() == {".ready-run"}
    (own := machine.venv / "own.txt").touch()
    machine.set_up("dev")  # the same environment gets the rest
    assert machine.installed()[1:] == [f"{by_uv} .[dev]", "uv pip install -b ./.ci/lock.txt --no-deps poke-env==0.16.1"]
    assert own.exists() and machine.marks() == {".ready-run", ".ready-lab", ".ready-dev"}


@pytest.mark.parametrize(
    ("when", "told"),
    [(" uv", "ERROR: No matching distribution found for uv"), ("uv pip install", "error: Unsupported platform")],
    ids=["not to be had", "fails"],
)
def test_pip_installs_the_same_where_uv_cannot(machine, when, told):
    machine.fail(when, told)
    machine.set_up("run")
    assert machine.installed()[-1] == "pip install -c ./.ci/lock.txt -e .[example]"
    assert machine.marks() == {".ready-run"}
    assert told in (machine.venv / "setup.log").read_text()


def test_uv_is_told_of_the_index_that_pip_has(machine):
    (machine.fakes / "pip.conf").write_text("global.index-url='https://mirror.example/simple'\n:env:.timeout='9'\n")
    machine.set_up("run")
    assert "index https://mirror.example/simple\n" in (machine.fakes / "calls").read_text()


def test_without_network_nothing_is_half_made(machine):
    machine.fail(" install ", NO_NETWORK)
    told = machine.set_up("run", status=1)
    assert "cannot be reached" in told and "HTTPS_PROXY" in told and "pip and uv said: .venv/setup.log" in told
    assert len(machine.installed()) == 1  # pip fails as uv does: it is not waited for
    assert NO_NETWORK in (machine.venv / "setup.log").read_text() and ".ready-run" not in machine.marks()
    (left := machine.venv / "half").touch()
    machine.mend()
    machine.set_up("run")
    assert not left.exists() and machine.marks() == {".ready-run"}


def test_what_cannot_be_added_for_want_of_a_network_leaves_the_rest(machine):
    machine.set_up("run")
    (own := machine.venv / "own.txt").touch()
    machine.fail("uv pip install", NO_NETWORK)
    machine.set_up("dev", status=1)
    assert machine.marks() == {".ready-run"}
    machine.fail("pip install", "error: No space left on device (os error 28)")
    assert "The disk is full" in machine.set_up("dev", status=1)
    machine.mend()
    machine.set_up("dev")
    assert machine.marks() == {".ready-run", ".ready-lab", ".ready-dev"} and not own.exists()


@pytest.mark.parametrize("what", ["was killed", "lost its Python"])
def test_an_environment_that_is_not_whole_is_made_anew(machine, what):
    machine.set_up("dev")
    (left := machine.venv / "left").touch()
    if what == "was killed":
        (machine.venv / ".half-made").touch()
    else:
        (machine.venv / "bin" / "python").unlink()
    machine.set_up("run")
    assert not left.exists() and machine.marks() == {".ready-run"}


def test_what_is_not_known_is_named_with_the_log(machine):
    machine.fail(" -m venv ", "Segmentation fault")
    told = machine.set_up("run", status=1)
    assert re.fullmatch(r"python3 -m venv \S+\.venv failed\.\nWhat pip and uv said: \.venv/setup\.log\n", told)


def test_ctrl_c_leaves_nothing_that_is_taken_for_ready(machine, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine.script.Environment, "install", stop)
    assert "it begins anew" in machine.set_up("run", status=130)
    assert machine.marks() == {".half-made"}


def test_a_python_without_venv_is_told_what_to_install(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    told = machine.set_up("run", status=1)
    assert "sudo apt install python3-venv" in told and not machine.venv.exists()


def test_a_python_that_is_too_old_finds_another_or_says_so(machine, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", str(machine.fakes))
    told = machine.set_up("run", status=1)
    assert "pokeml needs Python 3.11 or newer, and" in told and "is 3.9" in told and "make PYTHON=" in told
    machine.program("python3.13")
    machine.set_up("run")
    assert f"python3.13 {SCRIPT} run" in (machine.fakes / "calls").read_text()
    monkeypatch.setenv("PYTHON", "python3.9")  # no other is taken for one that was asked for
    assert "make PYTHON=" in machine.set_up("run", status=1)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407'))", "HTTPS_PROXY"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate", "SSL_CERT_FILE"),
        ("  Caused by: invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        ("  Caused by: dns error: failed to lookup address information", "cannot be reached"),
        ("ReadTimeoutError(\"HTTPSConnectionPool(host='x', port=443): Read timed out.", "cannot be reached"),
        ("error: Failed to build `numpy==2.4.6`", "CPython 3.11 to 3.14"),
        ("Segmentation fault", ""),
    ],
)
def test_what_pip_and_uv_say_is_put_into_words(said, told):
    script = load_script()
    assert told in script.reason(said) and bool(told) == bool(script.reason(said))


def test_python_3_6_can_read_the_script():
    ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 6))


def test_what_a_run_needs_can_be_imported_on_windows(monkeypatch):
    for name in ("fcntl", "grp", "pwd", "resource", "termios"):  # which Windows does not have
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("helper", "warm", "engine"):
        spec = importlib.util.spec_from_file_location(f"pokeml.{name}_elsewhere", ROOT / "pokeml" / f"{name}.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.fixture
def make(machine, tmp_path):
    """Call make in a folder with a fake Python, which makes the mark that is asked for; give what Python was told."""
    for name in ("Makefile", "pyproject.toml", ".ci/lock.txt", ".ci/set_up.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    script = FAKE.replace('case "$said" in\n', 'case "$said" in\n    *set_up.py*) touch "$3/.ready-$2";;\n', 1)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for path in (machine.python, tmp_path / ".venv/bin/python", tmp_path / ".venv/bin/pokeml"):
        path.write_text(script)
        path.chmod(0o755)

    def call(*arguments: str, status: int = 0) -> SimpleNamespace:
        (machine.fakes / "calls").write_text("")
        words = ["make", *arguments]
        done = subprocess.run(words, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        calls = (machine.fakes / "calls").read_text().splitlines()
        return SimpleNamespace(calls=calls, told=done.stdout + done.stderr)

    return call


def test_make_sets_up_what_has_changed_and_nothing_else(make, tmp_path):
    made, run = "python3 .ci/set_up.py {} .venv", "pokeml run"
    assert make("run").calls == [made.format("run"), run]
    assert make("run").calls == [run]
    assert make(".venv/.ready-dev").calls == [made.format("dev")]
    later = (tmp_path / ".venv/.ready-run").stat().st_mtime + 5
    os.utime(tmp_path / ".ci/lock.txt", (later, later))
    assert make("run").calls == [made.format("run"), run]
    os.utime(tmp_path / ".venv/.ready-run", (later, later))
    (tmp_path / ".venv/bin/python").unlink()
    assert make("run").calls == [made.format("run"), run]


def test_make_tells_who_has_no_python(make):
    told = make("run", "PYTHON=python3.99", status=2).told
    assert "There is no python3.99 here" in told and "PYTHON=python3.12" in told


def resolve(*arguments: str) -> subprocess.CompletedProcess:
    words = [find_uv_bin(), "pip", "compile", "pyproject.toml", "--python", sys.executable, *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def pins(text: str) -> list[str]:
    return [line for line in text.splitlines() if line[0] != "#"]


def test_the_lock_is_in_step_with_the_project(tmp_path):
    """Every pin is one that the oldest Python takes, too: with another, uv would have had to choose anew."""
    shutil.copy(LOCK, tmp_path)
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("uv pip compile pyproject.toml ")[2]
    options = recipe.partition("--custom-compile-command")[0].replace("\\\n", " ").split()
    done = resolve(*options, "--output-file", str(tmp_path / "lock.txt"))
    assert done.returncode == 0, done.stderr
    assert pins(LOCK.read_text("utf-8")) == pins((tmp_path / "lock.txt").read_text("utf-8")), "call: make lock"


@pytest.mark.parametrize("minor", range(11, 15))
def test_the_lock_holds_for_every_python(minor):
    """For each pin there is a wheel, so that nobody has to compile."""
    platform = "x86_64-manylinux_2_34"  # of 2021; fast-sugiyama has none for older ones
    options = ["--all-extras", "--no-annotate", "--no-build", "--no-python-downloads", "-c", str(LOCK)]
    done = resolve(*options, f"--python-version=3.{minor}.0", f"--python-platform={platform}")
    assert done.returncode == 0, done.stderr
    assert {pin.partition(" ")[0] for pin in pins(done.stdout)} <= {
        pin.partition(" ")[0] for pin in pins(LOCK.read_text("utf-8"))
    }


def test_the_lock_names_no_host_and_no_place():
    found = pins(LOCK.read_text("utf-8"))
    assert len(found) > 200 and all(re.fullmatch(r"[\w.-]+==[\w.]+( ; [\w.\s'<>=!()]+)?", pin) for pin in found)


def test_all_that_names_pythons_agrees():
    script = load_script()
    versions = [f"3.{minor}" for minor in range(script.OLDEST[1], script.NEWEST[1] + 1)]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert classifiers == versions
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == versions
    for name in ("README.md", "Makefile"):
        named = re.findall(r"Python (3\.\d+)", (ROOT / name).read_text("utf-8"))
        assert named and named[0] == versions[0], name
    assert f"--python-version {versions[0]}.0" in (ROOT / "Makefile").read_text("utf-8")
