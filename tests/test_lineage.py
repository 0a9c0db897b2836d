"""Nothing runs twice, and nothing stale stays."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import processes_below, wait_for
from toy import STAGES, Toy, executed, ran, reasons

from pokeml.stage import NODE_MIME

FIRST, SECOND, THIRD = (f"toy/pipelines/{name}.py" for name in ("first", "second", "third"))
HELPERS, DEEP, SIDE = "toy/helpers.py", "toy/deep.py", "../lib/side.py"
CATALOG, PARAMETERS, PROD = "conf/base/catalog.yml", "conf/base/parameters.yml", "conf/prod/parameters.yml"
NB1, NB3 = "nbs/stages/01_first.ipynb", "nbs/stages/03_third.ipynb"
RAW, CLEAN = "data/raw.csv", "data/made/clean.parquet"

HOME = {node: stage for stage, nodes in STAGES.items() for node in nodes}
ALL = " ".join(HOME)
# `scaled` is not saved, so `scale` runs whenever the second stage is executed, and `total` only if it came from others.
FROM_CLEAN = "clean count scale total"
AFTER_CLEAN = "count scale total"

Change = Callable[[Toy], None]


@dataclass(frozen=True)
class Edit:
    """An edit: the nodes that run after it, the stages that are executed though no node of theirs changed, and why."""

    name: str
    change: Change
    runs: str = ""
    shows: str = ""
    why: str = ""
    arguments: Sequence[str] = ()


def swap(path: str, *pairs: str) -> Change:
    """Replace texts in a file; `pairs` are old, new, old, new, and so on."""

    def change(toy: Toy) -> None:
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            toy.replace(path, old, new)

    return change


def both(*changes: Change) -> Change:
    def change(toy: Toy) -> None:
        for one in changes:
            one(toy)

    return change


def nothing(toy: Toy) -> None:
    pass


def remove(path: str) -> Change:
    return lambda toy: (toy.root / path).unlink()


def move_function(toy: Toy) -> None:
    text = (toy.root / FIRST).read_text()
    head, clean, count, end = (text.split("\n\n\n")[i] for i in range(4))
    toy.write(FIRST, "\n\n\n".join([head, count, clean, end]))


def new_version(toy: Toy) -> None:
    folder = toy.root.parent / "lib" / "toolbox-1.0.dist-info"
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: toolbox\nVersion: 1.1\n")
    folder.rename(folder.with_name("toolbox-1.1.dist-info"))


def keep_time(change: Change, path: str) -> Change:
    """Change a file and set its time back."""

    def changed(toy: Toy) -> None:
        about = (toy.root / path).stat()
        change(toy)
        os.utime(toy.root / path, ns=(about.st_atime_ns, about.st_mtime_ns))

    return changed


def rewrite(path: str) -> Change:
    return lambda toy: shutil.copy(shutil.copy(toy.root / path, toy.root.parent / "beside"), toy.root / path)


def reduce_notebook(toy: Toy) -> None:
    book = json.loads((toy.root / NB1).read_text())
    for cell in book["cells"]:
        cell["metadata"]["collapsed"] = True
    book["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "old"}]
    toy.write(NB1, json.dumps(book))


def drop_third(toy: Toy) -> None:
    (toy.root / NB3).unlink()
    (toy.root / THIRD).unlink()
    toy.replace(PARAMETERS, "steps: [1, 2]\n", "")
    for name in ("report.txt", "middle.json", "mark.json"):
        (toy.root / "data/made" / name).unlink()


EDITS = [
    # Code that does the same
    Edit("nothing at all", nothing),
    Edit("comment", swap(FIRST, "# made once", "# made here")),
    Edit("docstring of a node", swap(FIRST, '"""Keep what is large enough."""', '"""Keep the large ones."""')),
    Edit("docstring of a helper", swap(HELPERS, '"""Says what is large enough."""', "")),
    Edit("reformatted", swap(FIRST, "node(clean, [", "node(\n        clean,\n        [")),
    Edit("function moved", move_function),
    Edit("unused function", swap(HELPERS, "return 2\n", "return 3\n")),
    Edit("unused constant", swap(DEEP, "def half", "OTHER = 1\n\n\ndef half")),
    Edit("new module that nobody imports", lambda toy: toy.write("toy/new.py", "X = 1\n") and None),
    # Code that may do something else: what it is used by runs, and goes on where the result differs
    Edit("local variable", swap(FIRST, "rule = ", "r = ", "rule.f", "r.f"), "clean", why="function clean changed"),
    Edit("default value", swap(FIRST, "digits: int = 1", "digits: int = 0"), FROM_CLEAN + " report", why="clean ch"),
    Edit("constant", swap(HELPERS, "SCALE = 10", "SCALE = 20"), "scale total report", why="its helper SCALE changed"),
    Edit("helper", swap(HELPERS, "return 2 *", "return 4 *"), "scale total report", why="its helper mean changed"),
    Edit(
        "helper's helper", swap(DEEP, "/ 2", "/ 4"), "scale total report", why="its helper half changed (toy/deep.py)"
    ),
    Edit("method", swap(HELPERS, "value >= s", "value > s"), "clean", why="its helper Rule changed"),
    Edit(
        "import from elsewhere",
        both(
            swap(
                HELPERS,
                "def mean(values):\n    return 2 * half(sum(values)) / len(values)\n",
                "from toy.new import mean\n",
            ),
            lambda toy: toy.write("toy/new.py", "def mean(values):\n    return sum(values) / len(values)\n") and None,
        ),
        "scale total",
        why="its helper",
    ),
    Edit("node's function is another of a library", swap(THIRD, "ics.mean", "ics.median"), "middle", why="function is"),
    Edit("node's function is another method", swap(THIRD, "Marks.low", "Marks.high"), "mark", why="its function is"),
    Edit("same size within a second", keep_time(swap(DEEP, "/ 2", "/ 4"), DEEP), "scale total report", why="half"),
    Edit(
        "function that is registered elsewhere",
        swap("toy/plugins.py", "return text", "return text + text"),
        "scale total label",
        why="label: what its module does on import changed (toy/plugins.py)",
    ),
    Edit("helper outside of the package", swap(SIDE, "'!'", "'?'"), "scale label", why="module side changed"),
    Edit("version of a library", new_version, "scale label", why="toolbox 1.0 → 1.1"),
    # The graph
    Edit(
        "node renamed",
        both(swap(FIRST, '"counts")', '"counts", name="tally")'), swap(NB1, "count", "tally")),
        "tally",
        why="first run",
    ),
    Edit(
        "node added",
        both(
            swap(FIRST, '"counts"),', '"counts"),\n node(len, "words", "size", name="size")'),
            swap(NB1, "1 + 1", "stage.run('size')"),
        ),
        "size",
        why="first run",
    ),
    Edit("pipeline removed", drop_third),
    Edit(
        "inputs swapped",
        swap(
            THIRD,
            "total: pd.DataFrame, steps: list",
            "steps: list, total: pd.DataFrame",
            '"total", "params:steps"',
            '"params:steps", "total"',
        ),
        "report",
        why="function report changed",
    ),
    Edit(
        "input renamed",
        both(swap(SECOND, '"words", "label"', '"motto", "label"'), swap(CATALOG, "words:", "motto:")),
        "scale label",
        why="its inputs or outputs are named anew",
    ),
    Edit("always_run", swap(SECOND, '"label"),', '"label", always_run=True),'), "scale label", why="always runs"),
    Edit(
        "always_run, not saved",
        swap(SECOND, '"scaled"),', '"scaled", always_run=True),'),
        "scale total",
        why="total: input scaled changed",
    ),
    # Parameters
    Edit(
        "parameter",
        swap(PARAMETERS, "least: 2.5", "least: 4.0"),
        FROM_CLEAN + " report",
        why="least 2.5 → 4.0 (conf/base/parameters.yml, line 1)",
    ),
    Edit("nested parameter", swap(PARAMETERS, "0.3", "0.4"), "scale total report", why="nested.offset 0.3 → 0.4"),
    Edit("unused part beside it", swap(PARAMETERS, "other: [1, 2]", "other: [1, 3]")),
    Edit("part of a mapping", swap(PARAMETERS, "note: unused", "note: new"), "count", why="options.note unused → new"),
    Edit("order in a mapping", swap(PARAMETERS, "a: x, b: y", "b: y, a: x"), "count report", why="options.kinds"),
    Edit("1 → 1.0 in a list", swap(PARAMETERS, "steps: [1, 2]", "steps: [1.0, 2]"), "report", why="steps [1, 2] → [1."),
    Edit("1 → true in a list", swap(PARAMETERS, "steps: [1, 2]", "steps: [true, 2]"), "report", why="steps"),
    Edit("helper value", swap(PARAMETERS, "_base: 3.0", "_base: 4.0"), "scale total report", why="factor 3.0 → 4.0"),
    Edit("comment in YAML", swap(PARAMETERS, "least:", "# here\nleast:")),
    Edit("order of parameters", swap(PARAMETERS, "least: 2.5\n", "", "steps:", "least: 2.5\nsteps:")),
    Edit("value written otherwise", swap(PARAMETERS, "0.3", "0.30", "least: 2.5", "least: 25e-1")),
    Edit(
        "parameter by hand",
        nothing,
        FROM_CLEAN + " report",
        why="least 2.5 → 4.0 (--params)",
        arguments=["--params", "least=4.0"],
    ),
    Edit("environment, same values", nothing, "scale", "first second third", "first run", ["--env", "prod"]),
    Edit(
        "environment, other values",
        swap(PROD, "2.5", "4.0"),
        FROM_CLEAN + " report",
        "third",
        "least 2.5 → 4.0 (conf/prod/parameters.yml, line 1)",
        ["--env", "prod"],
    ),
    # Catalog
    Edit("layer", swap(CATALOG, "layer: raw", "layer: first")),
    Edit("file of an output", swap(CATALOG, "made/total", "made/sum"), "scale total"),
    Edit(
        "save_args",
        swap(CATALOG, "total.csv", "total.csv, save_args: {float_format: '%.3f'}"),
        "scale total report",
        why="the catalog entry of its output total changed",
    ),
    Edit(
        "load_args of an input",
        swap(CATALOG, 'sep: ","', 'sep: ",", nrows: 5'),
        FROM_CLEAN + " report",
        why="the catalog entry of its input raw changed",
    ),
    Edit("load_args of what is shown", swap(CATALOG, "extra.csv", "extra.csv, load_args: {nrows: 0}"), "", "third"),
    # Data
    Edit("one cell", swap(RAW, "x,6.25", "x,6.75"), FROM_CLEAN + " report", why="input raw changed"),
    Edit("one cell, old time", keep_time(swap(RAW, "x,6.25", "x,6.75"), RAW), FROM_CLEAN + " report", why="input raw"),
    Edit("same bytes anew", rewrite(RAW)),
    Edit("touched", lambda toy: (toy.root / RAW).touch()),
    Edit("a row that is not kept", swap(RAW, "x,0.25", "x,0.5"), "clean", why="input raw changed"),
    Edit("data that is shown", swap("data/extra.csv", "1,2", "1,3"), "", "third", "extra, which it shows, changed"),
    Edit("output removed", remove("data/made/label.txt"), "scale label", why="output label is missing"),
    Edit("output edited", lambda toy: toy.write("data/made/label.txt", "mine") and None, "scale label", "", "by hand"),
    Edit("output in the middle removed", remove(CLEAN), "clean", why="output clean is missing"),
    # Stage notebooks
    Edit("report cell", swap(NB1, "1 + 1", "1 + 2"), "", "first", "its notebook changed (nbs/stages/01_first.ipynb)"),
    Edit("text cell", swap(NB1, "# first", "# First"), "", "first", "its notebook changed"),
    Edit("metadata and outputs only", reduce_notebook),
    Edit(
        "module that a report uses",
        swap("toy/shapes.py", "len(table)", "table.size"),
        "",
        "third",
        "toy.shapes changed",
    ),
    Edit("record removed", lambda toy: shutil.rmtree(toy.root / "outputs/runs"), "scale", "first second third", "gone"),
    # Forced
    Edit("--force", nothing, ALL, why="forced", arguments=["--force"]),
    Edit("--force NODE", nothing, "scale label", why="label: forced", arguments=["--force", "label"]),
]


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Toy:
    """A project in which everything ran once; not to be changed."""
    toy = Toy(tmp_path_factory.mktemp("once") / "project")
    assert ran(toy.run()) == set(HOME)
    return toy


@pytest.fixture
def toy(once: Toy, tmp_path) -> Toy:
    """A copy of it."""
    return Toy(tmp_path / "project", of=once)


def assert_not_stale(toy: Toy, *arguments: str) -> None:
    """See that making everything anew changes nothing; without notebooks, which give the same (test_inline.py)."""
    there = toy.datasets()
    toy.run("--force", "--engine", "inline", *(a for a in arguments if a not in ("--force", "label")))
    assert there == toy.datasets()


# Run with their notebooks. The others are run without, in a fifth of the time: both ask the same code what is stale.
WITH_NOTEBOOKS = [
    *("nothing at all", "default value", "import from elsewhere", "node renamed", "node added", "pipeline removed"),
    *("always_run", "always_run, not saved", "parameter", "one cell", "output edited", "output in the middle removed"),
    *("report cell", "text cell", "metadata and outputs only", "--force NODE"),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_edit(toy: Toy, edit: Edit):
    edit.change(toy)
    nodes = set(edit.runs.split())
    with_notebooks = edit.shows or edit.name in WITH_NOTEBOOKS
    record = toy.run(*edit.arguments, *([] if with_notebooks else ["--engine", "inline"]))
    if with_notebooks:
        shown = {*edit.shows.split(), *(HOME.get(node, "first") for node in nodes)}
        assert executed(record) == shown, reasons(record)
    assert ran(record) == nodes, reasons(record)
    assert edit.why in reasons(record)
    if nodes or edit.change is move_function:
        assert_not_stale(toy, *edit.arguments)


def random_edits(seed: int) -> list[Edit]:
    """Draw three edits that need nothing else."""
    return random.Random(seed).sample([e for e in EDITS if not e.arguments], 3)


@pytest.mark.parametrize("seed", range(2))
def test_edits_one_after_the_other(toy: Toy, seed: int):
    for edit in random_edits(seed):
        try:
            edit.change(toy)
        except (AssertionError, OSError):  # another edit has changed what this one replaces
            continue
        toy.run()
    assert_not_stale(toy)


def node_states(notebook: Path) -> dict[str, str]:
    """Read from an executed notebook what became of its nodes."""
    outputs = [o for c in json.loads(notebook.read_text("utf-8"))["cells"] for o in c.get("outputs", [])]
    nodes = [o["data"][NODE_MIME] for o in outputs if NODE_MIME in o.get("data", {})]
    return {n["name"]: n["status"] for n in nodes}


@pytest.mark.parametrize("engine", ["nbclient", "pokeml"])
def test_plain_papermill_loads_what_is_up_to_date(toy: Toy, engine: str):
    def papermill() -> dict[str, str]:
        out = toy.root / "executed.ipynb"
        toy.python("-m", "papermill", "--engine", engine, NB1, str(out)).check_returncode()
        return node_states(out)

    assert papermill() == {"clean": "unchanged", "count": "unchanged"}
    toy.replace(FIRST, '(clean["kind"] == kind).sum()', '2 * (clean["kind"] == kind).sum()')
    assert papermill() == {"clean": "unchanged", "count": "ran"}
    assert ran(toy.run()) == {"report"}  # the next stage reads the counts
    assert_not_stale(toy)


def test_a_process_that_lives_on_runs_what_was_edited_meanwhile(toy: Toy):
    code = f"""
from pathlib import Path
from pokeml.stage import Stage
assert Stage("second").run("label") == "A WORD!"
path = Path("{SECOND}")
path.write_text(path.read_text().replace("+ side.mark()", "+ '?'"))
assert Stage("second").run("label") == "A WORD?"
import side
path.write_text(path.read_text().replace("+ '?'", "+ side.mark()"))
Stage("second")
Path(side.__file__).write_text("def mark():\\n    return '.'\\n")
try:
    Stage("second")
except Exception as error:
    assert str(error) == "side has changed since this process imported it. Restart the kernel.", error
else:
    raise AssertionError("the node would run with the old module")
"""
    toy.write("data/words.txt", "a word")
    done = toy.python("-c", code)
    assert done.returncode == 0, done.stderr
    assert ran(toy.run()) == {"scale", "label"}  # what was refused there
    assert_not_stale(toy)


def test_a_broken_store_is_named(toy: Toy):
    store = toy.root / "outputs" / ".pokeml.db"
    store.write_text("no database" * 100)
    done = toy.pokeml("run")
    assert done.returncode == 2 and ".pokeml.db cannot be read" in done.stderr and "Traceback" not in done.stderr
    store.unlink()
    assert ran(toy.run()) == set(HOME)


def test_reading_what_is_no_input_is_warned_of(toy: Toy):
    nothing = "    try:\n        open('nowhere.csv')\n    except OSError:\n        pass\n"
    toy.replace(SECOND, "    end = ", f"{nothing}    open('../../data/extra.csv').read()\n    end = ")
    [label] = [n for s in toy.run()["stages"] for n in s["nodes"] if n["name"] == "label"]
    assert len(label["warnings"]) == 1 and label["warnings"][0].startswith("data/extra.csv was read, but is no input")
    assert "data/extra.csv was read" in (toy.records()[-1].parent / "02_second.ipynb").read_text("utf-8")


def test_killed_at_any_moment_a_run_goes_on(toy: Toy):
    for seed in range(3):
        process = toy.start("run", "--force")
        time.sleep(random.Random(seed).uniform(0.2, 1.5))
        process.kill()
        process.communicate()
    toy.replace(PARAMETERS, "least: 2.5", "least: 4.0")
    wait_for(lambda: not processes_below(toy.root))
    toy.run()
    assert_not_stale(toy)


def test_stages_run_side_by_side_and_give_the_same(toy: Toy):
    toy.replace(THIRD, '"counts", "total"', '"numbers", "numbers"')  # so that it needs neither of the others
    toy.replace(THIRD, "counts: dict, total: pd.DataFrame, steps", "counts: list, total: list, steps")
    toy.replace(THIRD, " {list(total.columns)} {list(total['mean'])}", "")
    for stage in ("01_first", "03_third"):  # each waits for the other to begin
        other = {"01_first": "03_third", "03_third": "01_first"}[stage]
        wait = f"import time\\nopen('{stage}', 'w').close()\\nimport os\\n"
        wait += f"while not os.path.exists('{other}'):\\n    time.sleep(0.01)\\n"
        toy.replace(f"nbs/stages/{stage}.ipynb", "from pokeml.stage", f"{wait}from pokeml.stage")
    record = toy.run("--jobs", "2", "--force", "--timeout", "60")
    assert {s["status"] for s in record["stages"]} == {"completed"}
    assert_not_stale(toy)
