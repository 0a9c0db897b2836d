"""From a scratch notebook to a node that runs, and back; in the project that the page "A project of your own" makes."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Copy

PAGE = ROOT / "nbs" / "docs" / "how_to" / "01_own_project.ipynb"
PIPELINE, STAGE = "nbs/pipelines/02_forecasting.ipynb", "nbs/stages/02_forecasting.ipynb"
FUNCTION = '''def find_worst_days(
    forecasts: pd.DataFrame, number_of_days: int, digits: int = 1
) -> pd.DataFrame:
    """Give the days on which the forecast was most wrong, the worst first."""
    error = np.abs(forecasts["forecast"] - forecasts["sold"]).round(digits)
    worst_days = forecasts.assign(error=error).nlargest(number_of_days, "error")
    return worst_days'''


def bake(folder: Path) -> Copy:
    """Make the page's project in a folder."""
    for part in ("nbs/pipelines", "nbs/stages"):
        (folder / part).mkdir(parents=True)
    names: dict = {}
    before = os.getcwd()
    os.chdir(folder)
    try:
        for cell in json.loads(PAGE.read_text("utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and source.startswith("%%writefile "):
                place, _, text = source.removeprefix("%%writefile ").partition("\n")
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                Path(place).write_text(f"{text}\n", "utf-8")
            elif cell["cell_type"] == "code" and "write_notebook(" in source:
                exec(source, names)
    finally:
        os.chdir(before)
    made = Copy.__new__(Copy)
    made.root = folder
    made.env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": ""}
    for name in ("POKEML_PROJECT", "IN_TEST"):
        made.env.pop(name, None)
    made.python(str(Path(sys.executable).with_name("nbdev-export"))).check_returncode()
    made.write("conf/base/parameters.yml", "window: 3\nnumber_of_days: 2\n")
    scratch(
        made, "import numpy as np\nimport pandas as pd", "days = 1\n%time days", FUNCTION, "find_worst_days(None, 2)"
    )
    return made


def scratch(project: Copy, *sources: str) -> None:
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for i, source in enumerate(sources)
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    project.write("nbs/explore/idea.ipynb", json.dumps(content))


@pytest.fixture(scope="module")
def bakery(tmp_path_factory) -> Copy:
    return bake(tmp_path_factory.mktemp("scaffold") / "bakery")


def files(project: Copy) -> dict[str, str]:
    folders = [project.root / name for name in ("nbs", "conf", "bakery", "tests")]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(project.root)): path.read_text("utf-8") for path in found}


def cells(project: Copy, path: str) -> list[tuple[str, str]]:
    return [(c["id"], "".join(c["source"])) for c in json.loads((project.root / path).read_text("utf-8"))["cells"]]


NEW = ("node", "new", "find_worst_days", "--pipeline", "forecasting", "--from", "nbs/explore/idea.ipynb")


@pytest.mark.parametrize(
    ("arguments", "source", "told"),
    [
        (
            (),
            f"{FUNCTION}\nfind_worst_days(catalog)",
            "does something (line 8), and a module would do it at each import",
        ),
        (("--outputs", "forecasts"), FUNCTION, "Node forecast_sales writes forecasts."),
        (("--inputs", "forecasts,params:days"), FUNCTION, "There is no parameter 'days' for number_of_days."),
        (("--pipeline", "forecastin"), FUNCTION, "Unknown pipeline 'forecastin'. Did you mean forecasting?"),
        (("--type", "json.JSNDataset"), FUNCTION, "--type json.JSNDataset: worst_days has an unknown type"),
        ((), FUNCTION.replace("find_worst", "find_best"), "defines no function find_worst_days."),
    ],
)
def test_what_is_not_clear_is_refused_before_anything_is_written(bakery, arguments, source, told):
    scratch(bakery, "import numpy as np\nimport pandas as pd", "days = 1\n%time days", source)
    before = files(bakery)
    done = bakery.pokeml(*NEW, *arguments, "--yes")
    assert (done.returncode, done.stdout) == (2, "") and told in done.stderr and "Traceback" not in done.stderr
    assert files(bakery) == before


def test_hidden_state_is_listed_with_its_place(bakery):
    scratch(
        bakery, "import numpy as np\nimport pandas as pd", "days = 1", FUNCTION.replace("(number_of_days, ", "(days, ")
    )
    done = bakery.pokeml(*NEW, "--yes")
    assert "bakery.pipelines.forecasting defines: days (nbs/explore/idea.ipynb, cell c1)." in done.stderr


def test_from_a_scratch_notebook_to_a_node_that_runs_and_back(bakery):
    scratch(bakery, "import numpy as np\nimport pandas as pd", "days = 1\n%time days", FUNCTION)
    before = files(bakery)
    old = {path: cells(bakery, path) for path in (PIPELINE, STAGE)}

    shown = bakery.pokeml(*NEW)  # nobody can be asked here
    assert shown.returncode == 1 and "say --yes" in shown.stderr
    assert "+import numpy as np" in shown.stdout and '+worst_days = stage.run("find_worst_days")' in shown.stdout
    assert files(bakery) == before

    done = bakery.pokeml(*NEW, "--yes")
    assert done.returncode == 0 and done.stdout.startswith(shown.stdout.splitlines()[0]), done.stderr
    for path, had in old.items():  # nothing but the wiring and the imports has another text, and no cell another id
        now = dict(cells(bakery, path))
        assert [i for i, source in had if now[i] != source] == ([] if path == STAGE else [had[2][0], had[-1][0]])
        assert [i for i, _ in cells(bakery, path) if i in dict(had)] == [i for i, _ in had]
    new = [source for path in old for i, source in cells(bakery, path) if dict(old[path]).get(i) != source]
    scratch(bakery, *(source for source in new if not source.startswith("## ") and "Pipeline([" not in source))
    first = ["--config", 'lint.isort.known-first-party=["pokeml"]']  # as the page has it
    for words in (["format", "--check", "--line-length", "88"], ["check", "--isolated", "--select", "I", *first]):
        call = [Path(sys.executable).with_name("ruff"), *words, "nbs/explore/idea.ipynb"]
        told = subprocess.run(call, cwd=bakery.root, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout
    assert bakery.pokeml("stage", "check", "forecasting").returncode == 0

    ran = bakery.pokeml("run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    record = json.loads(bakery.records()[-1].read_text("utf-8"))
    assert "find_worst_days" in [n["name"] for s in record["stages"] for n in s["nodes"] if n["status"] == "ran"]
    assert (bakery.root / "data/07_model_output/worst_days.parquet").is_file()

    gone = bakery.pokeml("node", "delete", "find_worst_days", "--yes")
    assert gone.returncode == 0
    for told in (
        "a check that uses find_worst_days",
        "the dataset worst_days",
        "its data",
        "the parameter number_of_days",
    ):
        assert told in gone.stderr
    found = bakery.pokeml("stage", "check")
    assert found.returncode == 1 and "reads the dataset worst_days" in found.stdout
    entry = "\n\nworst_days:\n  type: pandas.ParquetDataset\n  filepath: data/07_model_output/worst_days.parquet"
    bakery.replace("conf/base/catalog.yml", entry, "")
    found = bakery.pokeml("stage", "check")
    assert "data/07_model_output/worst_days.parquet: no dataset lies there. Remove it." in found.stdout.splitlines()
    refused = bakery.pokeml("node", "delete", "forecast_sales", "--yes")
    assert refused.returncode == 2 and "Node score_forecasts reads forecasts" in refused.stderr


def test_a_new_pipeline_runs_and_takes_a_node(bakery):
    project = bakery
    project.write("tests/test_other.py", "")
    done = project.pokeml("pipeline", "new", "reporting", "--yes")
    assert done.returncode == 0, done.stderr
    made = ["nbs/pipelines/03_reporting.ipynb", "nbs/stages/03_reporting.ipynb", "tests/test_stage_reporting.py"]
    made += [f"conf/base/pipelines/reporting/{name}.yml" for name in ("catalog", "parameters")]
    assert set(made) <= files(project).keys()
    source = "import pandas as pd\n\n\ndef pick_worst(forecasts: pd.DataFrame, number_of_days: int) -> pd.DataFrame:\n"
    source += '    """Pick."""\n    worst = forecasts.head(number_of_days)\n    return worst\n'
    done = project.pokeml("node", "new", "pick_worst", "-p", "reporting", "--from", "-", "--yes", typed=source)
    assert done.returncode == 0, done.stderr
    ran = project.pokeml("run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (project.root / "data/07_model_output/worst.parquet").is_file()
    assert "filepath: data/07_model_output/worst.parquet" in files(project)["conf/base/pipelines/reporting/catalog.yml"]
    runpy.run_path(str(project.root / "tests/test_stage_reporting.py"))["test_stage_reporting"]()
