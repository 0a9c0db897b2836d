"""The shape of the project: notebooks are the source, clean, and what they export is what is committed."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from conftest import NOTEBOOKS as NOTEBOOK_TESTS
from conftest import ROOT, start, too_long

from pokeml.in_step import all_notebooks
from pokeml.project import find_project
from pokeml.viz import render

NOTEBOOKS = list(all_notebooks(find_project(ROOT)))


@pytest.fixture(scope="module")
def made_anew(tmp_path_factory) -> Path:
    """The package exported from nothing, and the notebooks cleaned, in a copy."""
    root = tmp_path_factory.mktemp("anew")
    shutil.copytree(ROOT / "nbs", root / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "explore"))
    shutil.copy(ROOT / "pyproject.toml", root)
    environment = os.environ | {"PYTHONPATH": str(root)}
    environment.pop("IN_TEST", None)
    for command in ("nbdev-clean", "nbdev-export"):
        done = start([sys.executable, str(Path(sys.executable).with_name(command))], root, environment)
        assert done.returncode == 0, done.stderr
    return root


def test_export_leaves_no_difference(made_anew):
    def package(root: Path) -> dict[str, str]:
        return {str(p.relative_to(root)): p.read_text("utf-8") for p in (root / "pokeml").rglob("*.py")}

    assert package(made_anew) == package(ROOT), "run nbdev-export, and commit what it changes"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_is_committed_clean(path, made_anew):
    clean = made_anew / path.relative_to(ROOT)
    assert path.read_text("utf-8") == clean.read_text("utf-8"), "run nbdev-clean"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert all("id" in c for c in cells) and len({c["id"] for c in cells}) == len(cells)
    code = [c for c in cells if c["cell_type"] == "code"]
    assert not any(c["outputs"] or c["execution_count"] for c in code)
    assert not [c["id"] for c in cells if "".join(c["source"]).startswith(("## Merge conflict in", "<<<<<<< "))]


def test_papermill_explains_the_parameters_of_every_stage():
    from papermill.cli import papermill

    stages = sorted((ROOT / "nbs" / "stages").glob("*.ipynb"))
    assert stages
    for path in stages:
        told = CliRunner().invoke(papermill, ["--help-notebook", str(path)]).output
        for name in ("env: str", "nodes: list", "params: dict"):
            assert name in told and "Unknown" not in told, path.name


def test_every_test_file_says_in_a_line_what_it_protects():
    for path in (ROOT / "tests").glob("*.py"):
        line = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
        assert line.endswith("."), path.name


def test_a_file_that_takes_too_much_of_the_whole_is_named():
    took = {"tests/test_a.py::test_one": 10, "tests/test_a.py::test_two[x::y]": 10, "tests/test_b.py::test_one": 10}
    took |= {f"{NOTEBOOK_TESTS}::test_notebook[{name}]": 10 for name in "abcdef"}
    assert too_long(took | {f"{NOTEBOOK_TESTS}::test_notebook[g]": 10}) == {"tests/test_a.py": 0.2}
    assert too_long({test: 1 for test in took} | {f"{NOTEBOOK_TESTS}::test_notebook[g]": 11}) == {
        f"{NOTEBOOK_TESTS}::test_notebook[g]": 0.55
    }


def test_top_level_is_as_agreed():
    fixed = {"nbs", "pokeml", "conf", "data", "outputs", "settings.ini", "pyproject.toml", "README.md"}
    beside = {"Makefile", "tests", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "bench"}
    there = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if there.returncode != 0:
        pytest.skip("not a git checkout")
    names = {name.partition("/")[0] for name in there.stdout.splitlines()}
    assert {n for n in names if not n.startswith(".")} - beside == fixed


def test_layers_of_data_are_there_in_a_clone():
    layers = ["01_raw", "02_intermediate", "03_primary", "04_feature", "05_model_input", "06_models"]
    layers += ["07_model_output", "08_reporting"]
    assert all((ROOT / "data" / layer / ".gitkeep").is_file() for layer in layers[1:])
    assert (ROOT / "data" / "01_raw" / "pokemon.csv").is_file()


def test_readme_of_the_configuration_names_what_there_is():
    told = re.findall(r"^\| `([\w./<>]+)` \|", (ROOT / "conf" / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(told) > 5
    for path in told:
        assert list((ROOT / "conf").glob(path.replace("<pipeline>", "*"))), path
    files = [p.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf" / "base").rglob("*.yml")]
    assert {re.sub(r"pipelines/\w+/", "pipelines/<pipeline>/", name) for name in files} <= set(told)


def test_pages_name_tests_that_there_are():
    told = [t for path in NOTEBOOKS for t in re.findall(r"`(test_\w+\.py)::(test_\w+)", path.read_text("utf-8"))]
    assert len(told) > 40
    for file, name in told:
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}::{name}"


def test_notebooks_stand_in_the_order_of_the_layers():
    exported = [
        re.findall(r"#\| default_exp (\w+)", p.read_text("utf-8")) for p in sorted((ROOT / "nbs").glob("*.ipynb"))
    ]
    modules = [names[0] for names in exported if names]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    layers = [layer.removeprefix("pokeml.") for layer in reversed(contract["layers"])]
    assert modules == [*layers, "__init__"]


def test_commands_of_the_readme_are_commands_of_the_makefile():
    make = (ROOT / "Makefile").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    for target in ("run", "test"):
        assert f"\n{target}:" in make and f"make {target}" in readme[:2000]


def test_readme_shows_the_pipeline_as_it_is():
    shown = re.search(r"!\[.*\]\((nbs/docs/images/pipeline\.svg)\)", (ROOT / "README.md").read_text("utf-8"))[1]
    picture = render(find_project(ROOT), "svg", ROOT / shown)
    assert (ROOT / shown).read_bytes() == picture, f"write it anew: pokeml viz -o {shown} --run none"


def test_the_peers_of_the_bench_do_what_the_pipelines_do():
    from bench.follow import Work, kedro_catalog, kedro_registry, script

    work = Work(ROOT)
    text, registry, catalog = script(work), kedro_registry(work), yaml.safe_load(kedro_catalog(work))
    compile(text, "script.py", "exec")
    compile(registry, "pipeline_registry.py", "exec")
    assert len(work.nodes) > 7 and all(f"name={node.name!r}" in registry for node in work.nodes)
    for name in {name for node in work.nodes for name in (*node.datasets, *node.outputs)} & set(work.entries):
        place = catalog[name].get("filepath") or catalog[name]["path"]
        assert place in text, f"{name} is neither read nor written in the script"


def test_nodes_and_machinery_need_neither_nbdev_nor_jupyterlab():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert not [d for d in project["dependencies"] if d.startswith(("nbdev", "jupyterlab", "fastcore"))]
    script = "import sys, pokeml.cli, pokeml.runs, pokeml.engine, pokeml.pipelines.metrics; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split()
    assert "pokeml.engine" in loaded
    assert not [m for m in loaded if m.partition(".")[0] in ("nbdev", "fastcore", "execnb", "jupyterlab")]
