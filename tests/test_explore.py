"""Notebooks in `nbs/explore/` take no part in anything."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from toy import Toy

PYPROJECT = '[project]\nname = "toy"\nversion = "1"\n\n[tool.nbdev]\nput_version_in_init = false\n'


def notebook(*sources: str) -> str:
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for i, source in enumerate(sources)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def nbdev(toy: Toy, name: str, *arguments: str) -> subprocess.CompletedProcess:
    env = {key: value for key, value in toy.env.items() if key != "IN_TEST"}
    return toy.python(str(Path(sys.executable).with_name(name)), *arguments, env=env)


@pytest.fixture
def toy(tmp_path) -> Toy:
    toy = Toy(tmp_path / "project")
    shutil.rmtree(toy.root / "nbs/stages")
    toy.write("pyproject.toml", PYPROJECT)
    toy.write("nbs/explore/idea.ipynb", notebook("#| export\nx = 1", "1 / 0"))
    toy.write("nbs/01_fine.ipynb", notebook("#| default_exp fine", "#| export\nfine = 1"))
    shutil.copy(ROOT / "nbs/explore/.notest", toy.root / "nbs/explore")
    return toy


def test_nbdev_leaves_it_out(toy):
    done = nbdev(toy, "nbdev-test", "--n-workers", "0")
    assert done.returncode == 0 and "Success" in done.stdout, done.stderr
    (toy.root / "nbs/explore/.notest").unlink()
    assert "idea.ipynb" in nbdev(toy, "nbdev-test", "--n-workers", "0").stderr
    assert nbdev(toy, "nbdev-export").returncode == 0
    assert "fine = 1" in (toy.root / "toy/fine.py").read_text()
    assert not [path for path in (toy.root / "toy").rglob("*.py") if "idea.ipynb" in path.read_text()]


def test_a_run_is_refused_where_nbdev_would_write_it_over_a_module(toy):
    shutil.copytree(Toy(toy.root.parent / "other").root / "nbs/stages", toy.root / "nbs/stages")
    assert nbdev(toy, "nbdev-export").returncode == 0
    assert toy.pokeml("run", "--dry-run").returncode == 0
    toy.write("nbs/explore/old/copy.ipynb", notebook("#| default_exp fine", "#| export\nfine = 2"))
    done = toy.pokeml("run", "--dry-run")
    assert done.returncode == 2
    assert "nbs/explore/old/copy.ipynb is for exploring, and would be exported to toy.fine" in done.stderr


def test_git_and_ruff_leave_it_out():
    kept = ["nbs/explore/README.md", "nbs/explore/.notest"]
    asked = subprocess.run(["git", "ls-files", "nbs/explore"], cwd=ROOT, capture_output=True, text=True)
    if asked.returncode == 0:
        assert set(kept) <= set(asked.stdout.split())
        call = ["git", "check-ignore", "nbs/explore/a.ipynb", *kept]
        ignored = subprocess.run(call, cwd=ROOT, capture_output=True, text=True).stdout
        assert ignored.split() == ["nbs/explore/a.ipynb"]
    call = [str(Path(sys.executable).with_name("ruff")), "check", "--force-exclude", "--no-respect-gitignore"]
    call += ["--stdin-filename", "nbs/explore/a.py", "-"]
    done = subprocess.run(call, cwd=ROOT, input="import os\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_docs_are_not_made_of_it(tmp_path, monkeypatch):
    for name in ("nbs/explore/a.ipynb", "nbs/explore/b/c.ipynb", "nbs/d.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / ".docs/build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path / "nbs")
    assert build.all_notebooks() == [tmp_path / "nbs/d.ipynb"]
