"""What the pages of the docs have in common: each works in a folder of its own, as its reader would.

A page begins with a hidden cell that calls `work_in`, `bakery` or `example`, and ends with one that calls `leave`.
"""

import atexit
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
OWN_PROJECT = Path(__file__).with_name("how_to") / "01_own_project.ipynb"
_before: dict[str, Any] = {}


def work_in(name: str, **env: str) -> Path:
    """Go to a new, empty folder of this name; commands find `pokeml`, and nothing of this machine's settings."""
    leave()
    _before.update(folder=Path.cwd(), env=dict(os.environ), temporary=tempfile.mkdtemp(prefix="pokeml-page-"))
    for gone in ("IN_TEST", "PYTHONPATH", "POKEML_PROJECT", "POKEML_ENV", "POKEML_CONF_SOURCE", "FORCE_COLOR"):
        os.environ.pop(gone, None)
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    if server := os.environ.get("POKEML_TESTS_SERVER"):  # tests/forked.py
        places.insert(0, str(Path(server).with_name("bin")))
    os.environ.update(
        PATH=os.pathsep.join(places),
        COLUMNS="100",
        NO_COLOR="1",
        BASH_ENV=str(Path(_before["temporary"], "bash.sh")),  # a command that fails ends its cell
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_AUTHOR_NAME="You",
        GIT_AUTHOR_EMAIL="you@example.org",
        GIT_COMMITTER_NAME="You",
        GIT_COMMITTER_EMAIL="you@example.org",
        **env,
    )
    Path(_before["temporary"], "bash.sh").write_text("set -eo pipefail\n")
    folder = Path(_before["temporary"], name)
    folder.mkdir()
    os.chdir(folder)
    return folder


def leave() -> None:
    """Go back, put the environment back as it was, and remove the folder."""
    if _before:
        os.chdir(_before["folder"])
        os.environ.clear()
        os.environ.update(_before["env"])
        for name, module in list(sys.modules.items()):  # the next page may import a package of the same name
            places = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
            if any(str(place).startswith(_before["temporary"]) for place in places):
                del sys.modules[name]
        importlib.invalidate_caches()
        shutil.rmtree(_before["temporary"], ignore_errors=True)
        _before.clear()
        sys.path[:] = [place for place in sys.path if place != ".."]


atexit.register(leave)


def _made_once(name: str, make: Callable[[], None]) -> Path:
    """Have a project made and planned once for all pages, which copy it, instead of by each of them."""
    sources = [
        OWN_PROJECT,
        Path(__file__),
        *sorted((ROOT / "pokeml").rglob("*.py")),
        *sorted((ROOT / "conf").rglob("*")),
    ]
    stamp = json.dumps([[str(path), path.stat().st_mtime_ns] for path in sources])
    made = ROOT / ".docs" / "cache" / f"{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_name(f"{name}.lock")):
        if not made.exists():
            for old in made.parent.glob(f"{name}-*"):
                if time.time() - old.stat().st_mtime > 24 * 3600:  # another page may be copying a newer one
                    shutil.rmtree(old, ignore_errors=True)
            before, half = Path.cwd(), Path(tempfile.mkdtemp(prefix="pokeml-page-"), name)
            half.mkdir()
            os.chdir(half)
            make()
            subprocess.run(["pokeml", "run", "--dry-run"], check=True, capture_output=True)
            os.chdir(before)
            shutil.move(half, made)
            half.parent.rmdir()
    return made


def _make_bakery() -> None:
    for part in ("nbs/pipelines", "nbs/stages"):
        Path(part).mkdir(parents=True)
    names: dict[str, Any] = {}
    for cell in json.loads(OWN_PROJECT.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.startswith("%%writefile "):
            place, _, text = source.removeprefix("%%writefile ").partition("\n")
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).write_text(text if text.endswith("\n") else f"{text}\n", "utf-8")
        elif cell["cell_type"] == "code" and "write_notebook(" in source:
            exec(source, names)
    subprocess.run(["nbdev-export"], check=True)


def bakery(*, git: bool = False) -> Path:
    """Go to the project that the page "A project of your own" makes; with `git`, everything in it is committed."""
    folder = work_in("bakery")
    shutil.copytree(_made_once("bakery", _make_bakery), folder, dirs_exist_ok=True)
    if git:
        Path(".gitignore").write_text("data/0[2-9]*\noutputs\nconf/local\n", "utf-8")
        for words in ("init -q -b main", "add .", "commit -q -m Begin"):
            subprocess.run(["git", *words.split()], check=True)
    return folder


def _copy_example(sample: bool) -> None:
    os.environ["PYTHONPATH"] = os.getcwd()  # its own package, not the one that is installed
    skip = shutil.ignore_patterns(".*", "docs", "explore", "*.pyc.*")
    for part in ("nbs", "pokeml", "conf", "data/01_raw"):
        shutil.copytree(ROOT / part, part, ignore=skip)
    shutil.rmtree("conf/local", ignore_errors=True)
    shutil.copy(ROOT / "settings.ini", ".")
    if sample:
        shutil.copy(ROOT / "tests" / "data" / "pokemon_sample.csv", "data/01_raw/pokemon.csv")


def example(*, sample: bool = False) -> Path:
    """Go to a copy of the example, this repository's own project, in which nothing ran yet; or with a small table."""
    folder = work_in("pokeml")
    made = _made_once("sample" if sample else "example", lambda: _copy_example(sample))
    shutil.copytree(made, folder, dirs_exist_ok=True)
    os.environ["PYTHONPATH"] = str(folder)
    return folder


def edit(path: str, old: str, new: str) -> None:
    """Change a text in a notebook, as one would in JupyterLab, and save it."""
    notebook = json.loads(Path(path).read_text("utf-8"))
    found = 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        found += source.count(old)
        cell["source"] = source.replace(old, new).splitlines(keepends=True)
    assert found, f"{path} does not hold {old!r}"
    Path(path).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


def save(path: str, old: str, new: str) -> None:
    """Change a text in a notebook and save it in JupyterLab, where `pokeml lab` exports it."""
    from pokeml.export_on_save import export_notebook
    from pokeml.project import find_project

    edit(path, old, new)
    done = export_notebook(find_project(), Path(path).resolve())
    assert done.status == "written", str(done)
