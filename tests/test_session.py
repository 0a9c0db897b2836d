"""A notebook's session in real kernels: `%load_ext pokeml`, live runs, edited functions, completion."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from toy import Toy

LOAD = "%load_ext pokeml"
ASK = """\
from IPython.core.completer import provisionalcompleter

def ask(line):
    with provisionalcompleter():
        return [c.text for c in get_ipython().Completer.completions(line, len(line))]

"""

SPY = """\
from pokeml.catalog import Catalog
loaded, load = [], Catalog.load
Catalog.load = lambda self, name: loaded.append(name) or load(self, name)
"""
KINDS = """\
from enum import Enum
from functools import cache

class Color(Enum):
    RED = 1

@cache
def says():
    return "old"

def is_red(color):
    import toy
    return color is toy.Color.RED
"""


def execute(toy: Toy, cells: list[str], folder: str = "nbs/explore") -> list[nbformat.NotebookNode]:
    """Execute a scratch notebook as `jupyter nbconvert --execute` does, errors included, and give its cells."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    path = toy.write(f"{folder}/scratch.ipynb", nbformat.writes(nb))
    call = ["-m", "nbconvert", "--to", "notebook", "--execute", "--allow-errors", "--inplace", str(path)]
    done = toy.python(*call, timeout=120)
    assert done.returncode == 0, done.stderr
    return nbformat.read(path, 4).cells


def text_of(cell: nbformat.NotebookNode) -> str:
    """All that a cell has put out, as text and HTML."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", "") + "\n".join(output.get("traceback", [])))
        parts += [str(value) for value in output.get("data", {}).values()]
    return "\n".join(parts)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Toy, dict[str, str]]:
    """A scratch notebook that was executed, with what each of its cells has put out."""
    toy = Toy(tmp_path_factory.mktemp("session") / "project")
    toy.write("toy/kinds.py", KINDS)
    toy.write("toy/__init__.py", "from toy.kinds import Color\n")
    edit = (
        "from pathlib import Path\nfile = Path('../../toy/pipelines/third.py')\n"
        "text = file.read_text()\nmine = [1]\n"
        "file.write_text(text.replace('min(numbers)', 'min(numbers) + 40'))"
    )
    cells = {
        "load": LOAD,
        "missing": "catalog.load('clean')",
        "raw": "catalog.raw.shape",
        "run": "done = run('first')",
        "done": "done",
        "outputs": "done.outputs['clean'].shape, catalog.clean.shape",
        "import": "from toy.pipelines.third import Marks\nMarks.low([3, 1])",
        "third": "third = run(to_outputs='mark'); third.outputs['mark']",
        "edit": edit,
        "reload": "%reload_pokeml",
        "edited": "Marks.low([3, 1]), mine",
        "again": "again = run(to_outputs='mark'); again.outputs['mark']",
        "inline": "run(to_outputs='mark', force=True, engine='inline').outputs['mark']",
        "break": "file.write_text(text.replace('min(numbers)', '1 / 0'))",
        "failed": "run(to_outputs='mark')",
        "stale": "catalog.load('mark')",
        "why": "%why mark",
        "mend": "file.write_text(text); run(to_outputs='mark').outputs['mark']",
        "complete": ASK + "ask('catalog.load(\"cl'), ask('run(to_nodes=\"sc'), ask('catalog.cl'), ask('catalog[\"cl')",
        "kinds": "import toy.helpers; from toy.kinds import *\nmine = Color.RED\nis_red(mine), says()",
        "kinds_edit": "kinds = Path('../../toy/kinds.py'); kinds.write_text(kinds.read_text().replace('old', 'new'))",
        "kinds_reload": "%reload_pokeml",
        "kinds_again": "is_red(Color.RED), is_red(mine), says(), toy.helpers.SCALE, toy.kinds.Color is Color",
        "looking": SPY + "names = ask('catalog.'); 'clean' in names, 'load' in names, loaded",
    }
    out = execute(toy, list(cells.values()))
    return toy, {name: text_of(cell) for name, cell in zip(cells, out, strict=True)}


def test_it_is_loaded_without_a_word(done):
    assert done[1]["load"] == ""


def test_what_is_missing_says_how_it_is_made(done):
    told = done[1]["missing"]
    assert "is not there yet: node clean of pipeline first makes it" in told and 'run(to_outputs="clean")' in told
    assert "Traceback" not in told
    assert "(9, 2)" in done[1]["raw"]


def test_a_run_shows_a_table_and_gives_the_run(done):
    toy, told = done
    shown = told["run"]
    assert "<table>" in shown and "completed after" in shown and shown.count("pokeml-run") == 1  # changed in its place
    way = f"../../{json.loads(toy.records()[0].read_text())['stages'][0]['executed']}"
    assert f"href='{way}'" in shown and (toy.root / "nbs" / "explore" / way).resolve().is_file()
    assert "clean" in told["done"] and told["outputs"].count("(6, 2)") == 2


def test_edited_functions_are_taken_over_without_a_restart(done):
    told = done[1]
    assert "{'mark': 1}" in told["import"] and "{'mark': 1}" in told["third"]
    assert "Loaded again: toy.pipelines.third." in told["reload"]
    assert "({'mark': 41}, [1])" in told["edited"]  # the same class, the user's variable
    assert "{'mark': 41}" in told["again"] and "{'mark': 41}" in told["inline"]


def test_enums_cached_functions_and_circular_imports_are_taken_over(done):
    told = done[1]
    assert "(True, 'old')" in told["kinds"] and "Loaded again: toy.kinds, toy" in told["kinds_reload"]
    assert "(True, True, 'new', 10, True)" in told["kinds_again"]


def test_completion_loads_nothing(done):
    assert "(True, True, [])" in done[1]["looking"]


def test_an_error_shows_the_line_and_links_the_cell(done):
    toy, told = done
    failed = told["failed"]
    assert "third, node mark: ZeroDivisionError" in failed and "return {&quot;mark&quot;: 1 / 0}" in failed
    assert "#cell-id=" in failed and "03_third.ipynb" in failed
    assert "RunFailed: Run" in failed and "Traceback" not in failed
    assert "is not up to date" in told["stale"] and "function Marks changed" in told["why"]
    assert "{'mark': 1}" in told["mend"]


def test_names_are_completed(done):
    assert done[1]["complete"].strip() == "(['clean'], ['scale'], ['clean'], ['clean'])"


def test_it_works_in_plain_ipython_from_any_folder(done):
    toy = done[0]
    heavy = "import sys; sorted({'pandas', 'sklearn', 'papermill'} & set(sys.modules)), 'heavy'"
    typed = f"{LOAD}\n{heavy}\ncatalog\nparams\nrun('first').status\n"
    typed += "%runs 1\n%viz first\n%why clean\n%diff\n%load_node count\n"
    call = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    env = toy.env | {"IPYTHONDIR": str(toy.root.parent / "ipython")}
    folder = toy.root / "nbs" / "stages"
    told = subprocess.run(call, cwd=folder, env=env, input=typed, capture_output=True, text=True, timeout=120)
    out = told.stdout + told.stderr
    assert "([], 'heavy')" in out  # nothing is imported before it is needed
    assert "clean: pandas.ParquetDataset" in out and "least = 2.5   conf/base/parameters.yml, line 1" in out
    assert "'completed'" in out and "first: clean, count" in out
    assert "clean is made by clean, pipeline first, from raw, params:least." in out and "It is up to date." in out
    assert "Traceback" not in out and "Error" not in out


def test_where_there_is_no_project_it_says_so(tmp_path):
    call = [
        sys.executable,
        "-m",
        "IPython",
        "--simple-prompt",
        "--no-banner",
        "-c",
        "get_ipython().run_line_magic('load_ext', 'pokeml')",
    ]
    env = Toy(tmp_path / "a" / "project").env | {"IPYTHONDIR": str(tmp_path / "ipython")}
    told = subprocess.run(call, cwd=Path("/"), env=env, capture_output=True, text=True, timeout=60)
    out = told.stdout + told.stderr
    assert "No pokeml project here" in out and "Traceback" not in out
