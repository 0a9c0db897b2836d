"""Make what is timed: copies of the project, the peers, a large table, projects of many stages."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

from . import follow

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / ".bench"
PEERS = ROOT / "bench" / "peers"
RAW = "data/01_raw/pokemon.csv"


def _copy(sources: Iterable[str], target: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "local")  # a developer's own settings stay out
    for source in sources:
        (target / source).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
        copy(ROOT / source, target / source, **({"ignore": skip} if copy is shutil.copytree else {}))


def _compile(folder: Path) -> None:
    """Write the bytecode, which the copies of `folder` keep: neither side is timed while it compiles."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)


def _commit(folder: Path) -> None:
    """Make a git repository of a project, as users have it: a run records the commit, and that takes time."""
    about = ("user.name=bench", "user.email=bench@localhost", "commit.gpgsign=false")
    git = ["git", "-C", str(folder), *(word for setting in about for word in ("-c", setting))]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
        subprocess.run([*git, *command], check=True)


def raw_files() -> list[str]:
    """Name the raw data that belong to the project; what a developer has put there beside them stays out."""
    git = ["git", "-C", str(ROOT), "ls-files", str(Path(RAW).parent)]
    return subprocess.run(git, check=True, capture_output=True, text=True).stdout.split()


def make_project(target: Path) -> Path:
    """Copy the project, without what runs have made, and put the peers' scripts at its root."""
    _copy(["nbs", "pokeml", "conf", *raw_files(), "settings.ini", ".gitignore"], target)
    for name in (
        "papermill.sh",
        "empty_stage.py",
        "predict_rows.py",
        "load_skops.py",
        "service.py",
        "load.py",
        "load_ext.py",
    ):
        shutil.copy2(PEERS / name, target)
    write_script(target)
    _compile(target / "pokeml")
    _commit(target)
    return target


def write_script(project: Path, stages: Iterable[str] = ()) -> None:
    """Write the plain script of a project, which ends after the stages that are named."""
    (project / "script.py").write_text(follow.script(follow.Work(project, stages)), "utf-8")


def make_kedro_project(target: Path) -> Path:
    """Make a Kedro project of the package, the raw table, the parameters, the catalog and the pipelines of this one."""
    shutil.copytree(PEERS / "kedro", target, ignore=shutil.ignore_patterns("__pycache__"))
    work = follow.Work(ROOT)
    (target / "src" / "peer" / "pipeline_registry.py").write_text(follow.kedro_registry(work), "utf-8")
    (target / "conf" / "base").mkdir()
    (target / "conf" / "base" / "catalog.yml").write_text(follow.kedro_catalog(work), "utf-8")
    _copy(["pokeml", *raw_files()], target)
    for path in (ROOT / "conf" / "base").rglob("parameters.yml"):
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    _compile(target)
    return target


def kedro_environment() -> Path:
    """Install Kedro into an environment of its own, once; give the environment's folder."""
    folder, made = BENCH / "kedro", BENCH / "kedro" / "made-of"
    requirements, lock = PEERS / "kedro" / "requirements.txt", ROOT / ".ci" / "lock.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + lock.read_bytes() + sys.version.encode()).hexdigest()
    if made.is_file() and made.read_text() == wanted:
        return folder
    print("Installing Kedro into .bench/kedro (once, about a minute)", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", lock, "-r", requirements], check=True)
    subprocess.run([*pip, "--no-deps", "-e", ROOT], check=True)  # a predictor tells its version; PYTHONPATH comes first
    made.write_text(wanted)
    return folder


def enlarge(project: Path, rows: int) -> Path:
    """Repeat the raw table of a project up to a number of rows, each with a number and a name of its own."""
    with open(project / RAW, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns, species = reader.fieldnames, list(reader)
    with open(project / RAW, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for i in range(rows):
            one = species[i % len(species)]
            writer.writerow(one | {"pokedex_number": i + 1, "name": f"{one['name']} {i // len(species)}"})
    return project


FUNCTION = '''def {name}(made: dict, step: int) -> dict:
    """Pass a number on, one step further."""
    return {{"number": made["number"] + step}}'''
PARAMETERS = 'env: str = ""\nnodes: list = []\nparams: dict = {}'
STAGE = 'from pokeml.stage import Stage\n\nstage = Stage("{stage}", env=env, nodes=nodes, params=params)'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _write_notebook(path: Path, sources: Iterable[str]) -> None:
    cells = [
        {"cell_type": "code", "id": f"cell{i}", "metadata": {}, "source": s, "execution_count": None, "outputs": []}
        for i, s in enumerate(sources)
    ]
    for cell in cells:
        cell["metadata"] |= {"tags": ["parameters"]} if cell["source"] == PARAMETERS else {}
    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    book = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    _write(path, json.dumps(book, indent=1) + "\n")


def _write_stage(project: Path, stage: str, before: str, names: list[str]) -> None:
    """Write all that a stage is made of: node notebook, module, stage notebook, catalog, parameter."""
    wires = [
        f'        node({name}, inputs=["{source}", "params:{stage}_step"], outputs="{name}_made"),'
        for name, source in zip(names, [before, *(f"{n}_made" for n in names)], strict=False)
    ]
    imports = "from pokeml.pipeline import Pipeline, node"
    functions = [FUNCTION.format(name=name) for name in names]
    exported = [imports, *functions, "\n".join(["pipeline = Pipeline(", "    [", *wires, "    ]", ")"])]
    notebook = f"nbs/pipelines/{stage}.ipynb"
    _write_notebook(project / notebook, [f"#| default_exp pipelines.{stage}", *(f"#| export\n{s}" for s in exported)])
    cells = [f"# %% ../../{notebook} #cell{i}\n{source}\n" for i, source in enumerate(exported, 1)]
    head = f"# AUTOGENERATED! DO NOT EDIT! File to edit: ../../{notebook}.\n"  # as nbdev-export writes it, but faster
    _write(project / "steps" / "pipelines" / f"{stage}.py", "\n".join([head, *cells]))
    runs = [f'stage.run("{name}")' for name in names]
    _write_notebook(project / "nbs" / "stages" / f"{stage}.ipynb", [PARAMETERS, STAGE.format(stage=stage), *runs])
    entries = [f"{n}_made:\n  type: json.JSONDataset\n  filepath: data/02_intermediate/{n}.json\n" for n in names]
    _write(project / "conf" / "base" / "pipelines" / stage / "catalog.yml", "\n".join(entries))
    _write(project / "conf" / "base" / "pipelines" / stage / "parameters.yml", f"{stage}_step: 1\n")


def make_chain(target: Path, stages: int, nodes: int = 5) -> Path:
    """Make a project of many small stages, each of which goes on from the one before."""
    _copy(["pokeml", ".gitignore"], target)
    _write(target / "settings.ini", "[pokeml]\npackage = steps\n")
    _write(target / "steps" / "__init__.py", "")
    _write(target / "steps" / "pipelines" / "__init__.py", "")
    _write(target / "data" / "01_raw" / "start.json", '{"number": 0}')
    start = "start:\n  type: json.JSONDataset\n  filepath: data/01_raw/start.json\n"
    _write(target / "conf" / "base" / "catalog.yml", start)
    before = "start"
    for i in range(1, stages + 1):
        names = [f"count_{i:03}_{k}" for k in range(1, nodes + 1)]
        _write_stage(target, f"stage_{i:03}", before, names)
        before = f"{names[-1]}_made"
    shutil.copy2(PEERS / "plan.py", target)
    _compile(target / "pokeml")
    _compile(target / "steps")
    _commit(target)
    return target
