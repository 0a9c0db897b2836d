"""What needs no library of the project imports none."""

import json
import subprocess
import sys

import pytest
from toy import Toy

HEAVY = {"pandas", "sklearn", "IPython", "matplotlib", "papermill"}
WATCH = """\
import atexit, os, sys
if os.environ.get("MODULES"):
    path = os.environ.pop("MODULES")
    atexit.register(lambda: open(path, "w").write(" ".join(sys.modules)))
"""


def modules(toy: Toy, *arguments: str, **env: str) -> set[str]:
    """Run pokeml and tell which modules its main process had imported at its end."""
    toy.write("../lib/sitecustomize.py", WATCH)  # on PYTHONPATH
    told = toy.root / "modules.txt"
    done = subprocess.run(
        toy.command(*arguments),
        cwd=toy.root,
        env=toy.env | {"MODULES": str(told)} | env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout, done.stderr
    return set(told.read_text().split())


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Toy:
    """A project in which everything ran once."""
    toy = Toy(tmp_path_factory.mktemp("light") / "project")
    toy.run()
    return toy


COMMANDS = [
    ["--version"],
    ["--help"],
    ["info"],
    ["params"],
    ["runs", "list"],
    ["runs", "show"],
    ["run", "--dry-run"],
    ["run"],
    ["catalog", "list"],
    ["catalog", "resolve"],
    ["predict", "--help"],
]
ONE_BY_ONE = """\
import json, sys
from click.testing import CliRunner
from pokeml.cli import main
told = []
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, words)
    told.append([done.exit_code, bool(done.output), sorted(sys.modules)])
print(json.dumps(told))
"""


def test_nothing_heavy_is_imported(done):
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps(COMMANDS)]
    told = subprocess.run(command, cwd=done.root, env=done.env, capture_output=True, text=True, check=True).stdout
    for words, (status, is_told, found) in zip(COMMANDS, json.loads(told), strict=True):
        assert status == 0 and is_told and not HEAVY & set(found), words


def test_completion(done):
    found = modules(done, _POKEML_COMPLETE="bash_complete", COMP_WORDS="pokeml ru", COMP_CWORD="1")
    assert "pokeml.cli" in found and not HEAVY & found


def test_info_where_nothing_ran_yet(tmp_path):
    assert not HEAVY & modules(Toy(tmp_path / "project"), "info")


def test_a_run_imports_nothing_that_only_others_need(tmp_path):
    toy = Toy(tmp_path / "project")
    toy.write("../lib/rfc3987_syntax.py", "def is_valid_syntax(*it): ...\n")  # of JupyterLab, and takes two seconds
    found = modules(toy, "run")
    assert "papermill" in found and not {"pyarrow.fs", "rfc3987_syntax"} & found


def test_the_watch_sees_what_is_imported(done):
    modules(done, "--version")
    told = done.root / "modules.txt"
    command = [sys.executable, "-c", "import pandas"]
    subprocess.run(command, cwd=done.root, env=done.env | {"MODULES": str(told)}, check=True)
    assert HEAVY & set(told.read_text().split()) == {"pandas"}
