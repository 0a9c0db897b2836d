"""What `pokeml init` makes of git: clean commits, readable differences, merges cell by cell; in real repositories."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, Copy

NAME = "nbs/pipelines/01_prices.ipynb"
IDS = ["exp", "text", "imports", "price", "check", "wiring"]
SOURCES = {
    "exp": "#| default_exp pipelines.prices",
    "text": "# Prices\n> What things cost.",
    "imports": "#| export\nfrom pokeml.pipeline import Pipeline, node",
    "price": '#| export\ndef price(net: float, rate: float):\n    """Add the tax."""\n    return net * (1 + rate)',
    "check": "assert price(100, 0.25) == 125",
    "wiring": '#| export\npipeline = Pipeline([node(price, ["net", "params:rate"], "gross")])',
}
FILES = {
    "settings.ini": "[pokeml]\npackage = shop\n",
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n\n[tool.nbdev]\nput_version_in_init = false\n',
    "shop/__init__.py": "",
}


class Shop(Copy):
    """A project in a repository, with one notebook."""

    def __init__(self, root: Path, home: Path, of: "Shop | None" = None):
        self.root, self.home = root, home
        home.mkdir()
        own = {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "PYTHONPATH": str(ROOT)}
        own |= {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.env = {k: v for k, v in os.environ.items() if k not in ("POKEML_PROJECT", "IN_TEST", "XDG_CONFIG_HOME")}
        self.env |= own | {"PATH": "/usr/local/bin:/usr/bin:/bin", "COLUMNS": "200"}  # no environment is active
        if of:
            shutil.copytree(of.root, root)
            return
        for path, text in FILES.items():
            self.write(path, text)
        self.save([self.cell(key) for key in IDS])
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")

    def cell(self, key: str, source: str | None = None, **metadata) -> dict:
        kind = "markdown" if key == "text" else "code"
        more = {} if kind == "markdown" else {"outputs": [], "execution_count": None}
        source = SOURCES[key] if source is None else source
        return {"cell_type": kind, "id": key, "metadata": metadata, "source": source.splitlines(True)} | more

    def save(self, cells: list[dict], path: str = NAME) -> None:
        nb = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.write(path, json.dumps(nb, sort_keys=True, indent=1) + "\n")

    def cells(self, rev: str = "", path: str = NAME) -> dict[str, str]:
        """Read the cells of the notebook, in the folder or in git, which must be a valid one."""
        text = self.git("show", "--no-textconv", f"{rev}:{path}") if rev else (self.root / path).read_text("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what nbformat mends on its own, another program may not
            nb = nbformat.reads(text, as_version=4)
            nbformat.validate(nb)
        return {cell.id: cell.source for cell in nb.cells}

    def git(self, *call: str, status: int = 0, cwd: Path | None = None) -> str:
        done = subprocess.run(["git", *call], cwd=cwd or self.root, env=self.env, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        self.said = done.stdout + done.stderr
        return done.stdout

    def init(self, status: int = 0, cwd: str = ".") -> str:
        done = self.pokeml("init", cwd=cwd)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def branches(self, ours: list[dict], theirs: list[dict]) -> None:
        """Commit two versions of the notebook, on `main` and `feature`."""
        self.git("switch", "-qc", "feature")
        self.save(theirs)
        self.git("commit", "-qam", "theirs")
        self.git("switch", "-q", "main")
        self.save(ours)
        self.git("commit", "-qam", "ours")

    def export(self) -> subprocess.CompletedProcess:
        command = str(Path(sys.executable).with_name("nbdev-export"))
        return subprocess.run([command], cwd=self.root, env=self.env, capture_output=True, text=True)


@pytest.fixture
def bare(tmp_path) -> Shop:
    return Shop(tmp_path / "a shop", tmp_path / "home")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Shop:
    """A project in which `pokeml init` was called, and what it wrote committed."""
    folder = tmp_path_factory.mktemp("made")
    shop = Shop(folder / "shop", folder / "home")
    shop.init()
    shop.git("add", "-A")
    shop.git("commit", "-qm", "attributes")
    return shop


@pytest.fixture
def shop(made, tmp_path) -> Shop:
    return Shop(tmp_path / "a shop", tmp_path / "home", of=made)


def with_outputs(cells: list[dict]) -> list[dict]:
    stream = {"output_type": "stream", "name": "stdout", "text": ["seen\n"]}
    ran = {"outputs": [stream], "execution_count": 7}
    return [cell | (ran if cell["cell_type"] == "code" else {}) for cell in cells]


def test_init_sets_up_one_clone_and_nothing_else(bare):
    told = bare.init(cwd="nbs")  # from any folder
    assert told.count(": set\n") == 3 and ".gitattributes: written; commit it" in told
    assert bare.git("status", "--porcelain") == "?? .gitattributes\n"
    assert sys.executable not in (bare.root / ".gitattributes").read_text()
    state = [(bare.root / name).read_bytes() for name in (".gitattributes", ".git/config")]
    told = bare.init()
    assert "already" in told and not {"set", "replaced"} & set(told.split("\n")[1].split(": "))
    assert state == [(bare.root / name).read_bytes() for name in (".gitattributes", ".git/config")]
    assert not list(bare.home.iterdir())
    assert not [path for path in (bare.root / ".git/hooks").iterdir() if path.suffix != ".sample"]


def test_init_is_refused_where_there_is_nothing_to_set_up(bare, tmp_path):
    (bare.root / ".git").rename(tmp_path / "gone")
    told = bare.init(status=2)
    assert "lies in no git repository. Make one, then: pokeml init" in told and "Traceback" not in told
    assert not (bare.root / ".gitattributes").exists()
    (bare.root / "settings.ini").unlink()
    assert "No pokeml project here" in bare.init(status=2)


def test_outputs_are_never_committed(shop):
    cells = with_outputs([shop.cell(key) for key in IDS])
    cells[4]["metadata"] = {"tags": ["parameters"], "scrolled": True, "execution": {"iopub.status.busy": "2026"}}
    shop.save(cells)
    shop.git("add", NAME)
    kept = json.loads(shop.git("show", "--no-textconv", f":{NAME}"))["cells"]
    assert [c["id"] for c in kept] == IDS and kept[4]["metadata"] == {"tags": ["parameters"]}
    assert not [c for c in kept if c.get("outputs") or c.get("execution_count")]
    shop.git("commit", "-qam", "tagged")
    assert "seen" in (shop.root / NAME).read_text()  # the file keeps them
    shop.save(with_outputs(cells))
    assert shop.git("status", "--porcelain") == ""


def test_outputs_that_were_committed_before_are_told_of(bare):
    bare.save(with_outputs([bare.cell(key) for key in IDS]))
    bare.git("commit", "-qam", "with outputs")
    told = bare.init()
    assert "Notebooks that have outputs in git: 1. To take these out: git add --renormalize nbs" in told
    bare.git("add", "--renormalize", "nbs")
    assert "outputs in git" not in bare.init()


def test_differences_are_shown_as_text(shop):
    cells = [shop.cell(key) for key in IDS]
    cells[4] = shop.cell("check", "assert price(100, 0.2) == 120", tags=["parameters"])
    shop.save(with_outputs(cells))
    expected = ["-# %% [code] check", "-assert price(100, 0.25) == 125"]
    expected += ['+# %% [code] check {"tags": ["parameters"]}', "+assert price(100, 0.2) == 120"]
    for call in (["diff"], ["commit", "-qam", "tagged"], ["show"], ["log", "-p", "-1"]):
        told = shop.git(*call).splitlines()
        changed = [line for line in told if line.startswith(("+", "-")) and line[:3] not in ("---", "+++")]
        assert changed == expected or call[0] == "commit"
    shop.save(cells[:3] + [shop.cell("price", SOURCES["price"].replace("1 + rate", "rate + 1"))] + cells[4:])
    assert "@@ # %% [code] price" in shop.git("diff", "-U1")


def test_cells_that_two_branches_changed_are_merged(shop):
    ours = [shop.cell(key) for key in IDS]
    theirs = [shop.cell(key) for key in IDS]
    ours[3] = shop.cell("price", SOURCES["price"].replace("1 + rate", "1 + rate / 100"))
    ours.insert(4, shop.cell("ours", "price(1, 0.1)"))
    theirs[3] = shop.cell("price", SOURCES["price"].replace("net: float", "net: int"))  # another line of the same cell
    theirs[4] = shop.cell("check", tags=["parameters"])
    theirs.insert(4, shop.cell("theirs", "price(2, 0.1)"))
    theirs = theirs[-1:] + theirs[:-1]  # moved
    shop.branches(ours, theirs)
    shop.git("merge", "-qm", "merged", "feature")
    cells = shop.cells()
    assert list(cells) == ["wiring", "exp", "text", "imports", "price", "ours", "theirs", "check"]
    assert "net: int" in cells["price"] and "rate / 100" in cells["price"]
    merged = json.loads((shop.root / NAME).read_text())["cells"]
    assert [c["metadata"] for c in merged if c["id"] == "check"] == [{"tags": ["parameters"]}]
    assert shop.git("status", "--porcelain") == ""


@pytest.mark.parametrize("how", ["merge", "rebase"])
def test_a_conflict_in_one_cell_leaves_a_notebook_that_opens(shop, how):
    ours, theirs = ([shop.cell(key) for key in IDS] for _ in range(2))
    ours[3] = shop.cell("price", SOURCES["price"].replace("1 + rate", "1 + rate / 100"))
    theirs[3] = shop.cell("price", SOURCES["price"].replace("1 + rate", "1.0 + rate"))
    theirs[4] = shop.cell("check", "assert price(100, 0.5) == 150")
    shop.branches(ours, theirs)
    shop.git(how, "feature", status=1)
    other = "feature" if how == "merge" else "theirs"
    assert f"{NAME}, cell price: HEAD and {other} changed the same lines" in shop.said
    assert shop.git("status", "--porcelain") == f"UU {NAME}\n"
    cells = shop.cells()
    notice = list(cells)[3]
    assert [key for key in cells if key != notice] == IDS and "0.5" in cells["check"]
    assert cells[notice].startswith("## Merge conflict in the next cell")
    lines = cells["price"].splitlines()
    assert [line[:7] for line in lines[3:]] == ["<<<<<<<", "    ret", "=======", "    ret", ">>>>>>>"]
    assert "# %% [code] price" in shop.git("diff")  # of three sides, as text
    solved = [shop.cell(key, cells[key]) for key in IDS]
    solved[3] = shop.cell("price", "\n".join([*lines[:3], *(line for line in lines if "rate / 100" in line)]))
    shop.save(solved)
    shop.git("add", NAME)
    shop.git("-c", "core.editor=true", how, "--continue")
    assert list(shop.cells("HEAD")) == IDS
    if how == "merge":  # which takes a second
        done = shop.export()
        assert done.returncode == 0, done.stderr
        assert "rate / 100" in (shop.root / "shop/pipelines/prices.py").read_text()


def test_a_conflict_that_is_left_cannot_be_overlooked(shop):
    ours, theirs = ([shop.cell(key) for key in IDS] for _ in range(2))
    ours[3]["source"], theirs[3]["source"] = ["#| export\n", "A = 1"], ["#| export\n", "A = 2"]
    shop.branches(ours, theirs)
    shop.git("merge", "feature", status=1)
    shop.git("commit", "-qam", "as it is")
    assert shop.export().returncode != 0 or "<<<<<<<" in (shop.root / "shop/pipelines/prices.py").read_text()
    done = shop.pokeml("catalog", "check")
    assert done.returncode == 2 and "SyntaxError" in done.stderr


def test_one_deletes_what_the_other_changes(shop):
    ours = [shop.cell(key) for key in IDS if key != "check"]
    theirs = [shop.cell(key) for key in IDS]
    theirs[4] = shop.cell("check", "assert price(100, 0.5) == 150")
    shop.branches(ours, theirs)
    shop.git("merge", "feature", status=1)
    cells = list(shop.cells().items())
    assert "HEAD deleted the cell, feature changed it" in cells[4][1] and cells[5][0] == "check"


def test_both_added_the_notebook(shop):
    other = "nbs/pipelines/02_more.ipynb"
    for branch, source in (("feature", "x = 1"), ("main", "x = 2")):
        shop.git("switch", "-q", *(["-c"] if branch == "feature" else []), branch)
        shop.save([shop.cell("exp", "#| default_exp pipelines.more"), shop.cell(branch, source)], other)
        shop.git("add", "-A")
        shop.git("commit", "-qm", branch)
    shop.git("merge", "-qm", "merged", "feature")
    assert list(shop.cells(path=other)) == ["exp", "main", "feature"]


def test_a_linked_worktree(shop, tmp_path):
    shop.git("worktree", "add", "-q", "-b", "aside", str(tmp_path / "aside"))
    done = subprocess.run(shop.command("init"), cwd=tmp_path / "aside", env=shop.env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("already") == 4, done.stdout + done.stderr
    cells = [shop.cell(key) for key in IDS]
    (tmp_path / "aside" / NAME).write_text(json.dumps({"cells": with_outputs(cells), "metadata": {}, "nbformat": 4}))
    assert shop.git("diff", "--stat", cwd=tmp_path / "aside") == ""


@pytest.mark.parametrize("what", ["gone", "other"])
def test_git_goes_on_where_the_environment_is_gone(shop, what):
    config = (shop.root / ".git/config").read_text()
    python = {"gone": "/gone/bin/python", "other": shutil.which("false")}[what]
    (shop.root / ".git/config").write_text(config.replace(sys.executable, python))
    ours, theirs = ([shop.cell(key) for key in IDS] for _ in range(2))
    ours[3], theirs[4] = shop.cell("price", "x = 1"), shop.cell("check", "assert price(100, 0.5) == 150")
    shop.branches(with_outputs(ours), with_outputs(theirs))
    shop.save(with_outputs(ours))
    told = "pokeml is gone or broken: outputs of notebooks go into commits. Install it, then: pokeml init"
    for call in (["status", "--short"], ["log", "-p"]):  # that one line, and no word of the shell
        shown = shop.git(*call)
        assert shop.said == f"{shown}{told}\n"
    shop.git("restore", ".")
    assert '"assert price(100, 0.5) == 150"' in shop.git("diff", "HEAD", "feature")
    shop.git("merge", "-qm", "merged", "feature")  # as git does it
    assert "0.5" in shop.cells()["check"] and shop.git("status", "--porcelain") == ""
    told = shop.init()
    assert told.count(": replaced\n") == 3 and "Notebooks that have outputs in git: 1" in told


def test_one_process_cleans_all_notebooks(shop):
    for i in range(20):
        shop.save(with_outputs([shop.cell(key) for key in IDS]), f"nbs/{i}.ipynb")
    shop.env["GIT_TRACE"] = "1"
    shop.git("add", "-A")
    assert shop.said.count("pokeml.git_filter") <= 2  # git's shell, and what it starts
    del shop.env["GIT_TRACE"]
    assert '"execution_count": 7' not in shop.git("grep", "--cached", "-h", "execution_count", "nbs")


def test_the_notebooks_of_this_project_are_what_the_filter_makes_of_them():
    from pokeml.git_filter import cleaned
    from pokeml.in_step import all_notebooks
    from pokeml.project import find_project

    for path in all_notebooks(find_project(ROOT)):
        assert cleaned(path.read_bytes(), path.parent) == path.read_bytes(), path
