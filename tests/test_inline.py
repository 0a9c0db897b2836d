"""Two ways to run, one truth: the engine without notebooks beside those with them."""

import json
import subprocess
import sys
import textwrap

import pytest
from conftest import interrupt, wait_for
from toy import STAGES, Toy, executed, ran, stage_notebook

ENGINES = ("inline", "pokeml", "papermill")


@pytest.fixture
def toy(tmp_path) -> Toy:
    """A toy in which nothing has run."""
    return Toy(tmp_path / "project")


def program(toy: Toy, code: str) -> subprocess.CompletedProcess:
    """Run a Python program in the toy."""
    return toy.python("-c", textwrap.dedent(code), timeout=120)


def before(toy: Toy, pipeline: str, text: str, statement: str) -> None:
    """Put a statement before the line of a node that begins with `text`."""
    toy.replace(f"toy/pipelines/{pipeline}.py", text, f"{statement}; {text}")


def told(record: dict) -> list[dict]:
    """Give what the nodes' records say, but for times."""
    return [{k: v for k, v in n.items() if k != "duration"} for s in record["stages"] for n in s["nodes"]]


def test_inline_makes_and_records_what_the_notebooks_do(tmp_path):
    toys = {engine: Toy(tmp_path / engine / "project") for engine in ENGINES}
    for toy in toys.values():
        before(toy, "third", 'return {"mark": min', "import warnings; warnings.warn('low')")
    records = {engine: toy.run("--engine", engine) for engine, toy in toys.items()}
    assert toys["inline"].datasets() == toys["pokeml"].datasets() == toys["papermill"].datasets()
    assert len(toys["inline"].datasets()) == 7
    assert told(records["inline"]) == told(records["pokeml"]) == told(records["papermill"])
    assert "UserWarning: low" in json.dumps(told(records["inline"]))
    assert {s["engine"] for s in records["inline"]["stages"]} == {"inline"}
    assert [s["executed"] for s in records["inline"]["stages"]] == [None] * 3
    assert not list(toys["inline"].root.glob("outputs/runs/*/*.ipynb"))
    for key in ("parameters", "versions", "env", "metrics"):
        assert records["inline"][key] == records["pokeml"][key]


def test_what_one_engine_made_is_up_to_date_for_the_other(toy):
    assert ran(toy.run("--engine", "inline")) == {n for nodes in STAGES.values() for n in nodes}
    assert ran(toy.run("--engine", "inline")) == set()
    plan = toy.pokeml("run", "--engine", "inline", "--dry-run").stdout
    assert plan.splitlines() == [f"{name}: nothing to do" for name in STAGES]
    notebooks = toy.run()
    assert executed(notebooks) == set(STAGES)  # a notebook is only made by executing it
    assert ran(notebooks) == {"scale"}  # whose output is not kept, so it is made again to be shown
    assert ran(toy.run("--engine", "inline")) == set()
    toy.replace("conf/base/parameters.yml", "least: 2.5", "least: 4.5")
    assert "clean" in ran(toy.run())
    assert ran(toy.run("--engine", "inline")) == set()


def test_a_failure_leads_to_the_cell_that_the_line_comes_from(sample):
    done = sample.pokeml("--debug", "run", "--engine", "inline", "--params", "generations=[1,99]")
    assert done.returncode == 1
    record = json.loads(sample.records()[-1].read_text("utf-8"))
    error = record["error"]
    assert (error["node"], error["kind"], error["cell"], error["notebook"]) == ("clean_data", "ValueError", None, None)
    place = error["place"]
    assert (place["file"], place["notebook"]) == (
        "pokeml/pipelines/pre_processing.py",
        "nbs/pipelines/01_pre_processing.ipynb",
    )
    cells = json.loads((sample.root / place["notebook"]).read_text("utf-8"))["cells"]
    line = (sample.root / place["file"]).read_text("utf-8").splitlines()[place["line"] - 1]
    cell = next(c for c in cells if c["id"] == place["cell"])
    assert line in "".join(cell["source"]).splitlines()
    for part in (
        f"It stopped at {place['file']}, line {place['line']} ({place['notebook']}, cell {place['cell']}).",
        "generations is set in --params",
        "Fix it, then: pokeml run --engine inline --params 'generations=[1, 99]'",
    ):
        assert part in done.stderr, part
    frames = [text for text in done.stderr.splitlines() if text.startswith("  File ")]
    assert frames and all("pre_processing.py" in frame for frame in frames)  # with --debug; none of the machinery's
    assert "Executed notebook" not in done.stderr
    sample.pokeml("run", "--params", "generations=[1,99]")  # the same with notebooks
    assert json.loads(sample.records()[-1].read_text("utf-8"))["error"]["place"] == place


@pytest.mark.parametrize(
    "raises, kind, message",
    [
        ("class Odd(BaseException): pass\n    raise Odd('base')", "Odd", "base"),
        ("raise ValueError('lone \\ud800')", "ValueError", "lone \\ud800"),
        (
            "class Odd(Exception):\n        def __str__(self): raise RuntimeError\n    raise Odd()",
            "Odd",
            "(its message cannot be had: RuntimeError)",
        ),
    ],
)
def test_an_odd_exception_is_a_failure_of_its_node(toy, raises, kind, message):
    toy.replace("toy/pipelines/second.py", "return clean.assign", f"{raises}\n    return clean.assign")
    done = toy.pokeml("run", "--engine", "inline", "--pipeline", "first,second")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    record = toy.record()
    assert (record["status"], record["error"]["node"]) == ("failed", "scale")
    assert (record["error"]["kind"], record["error"]["message"]) == (kind, message)


def test_processes_of_a_node_end_without_a_traceback(toy):
    work = "import multiprocessing\n    with multiprocessing.get_context('fork').Pool(2) as pool: pool.map(abs, [1])"
    toy.replace("toy/pipelines/second.py", "return clean.assign", f"{work}\n    return clean.assign")
    done = toy.pokeml("run", "--engine", "inline", "--pipeline", "first,second")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_breakpoint_in_a_node_stops_in_the_calling_process(toy):
    place = toy.root / "toy/pipelines/first.py"
    line = next(i for i, text in enumerate(place.read_text().splitlines(), 1) if "rule = Rule(least)" in text)
    command = [sys.executable, "-m", "pdb", "-m", "pokeml", "run", "--engine", "inline"]
    said = f"b {place}:{line}\nc\np 'least is', least\nimport threading\np threading.current_thread().name\nq\n"
    done = subprocess.run(command, cwd=toy.root, env=toy.env, input=said, capture_output=True, text=True, timeout=120)
    assert "('least is', 2.5)" in done.stdout and "'MainThread'" in done.stdout, done.stdout + done.stderr
    assert toy.record()["status"] == "interrupted"


def test_a_tracer_sees_the_nodes_in_its_own_thread(toy):
    done = program(
        toy,
        """
        import sys, threading, pokeml
        seen = set()
        def trace(frame, event, argument):
            if frame.f_code.co_filename.endswith("first.py"):
                seen.add((frame.f_code.co_name, threading.current_thread() is threading.main_thread()))
            return trace
        sys.settrace(trace)
        pokeml.run("first")
        sys.settrace(None)
        print(sorted(seen)[-2:])
        """,
    )
    assert "('clean', True), ('count', True)" in done.stdout, done.stdout + done.stderr


def test_ctrl_c_ends_a_node_and_the_record_says_so(toy):
    wait = "import pathlib, time; pathlib.Path('waiting').touch(); time.sleep(600)"
    before(toy, "second", "return clean.assign(", wait)
    process = toy.start("run", "--engine", "inline")
    wait_for(lambda: (toy.root / "waiting").exists())
    interrupt(process)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert "Continue with: pokeml run --engine inline" in stderr
    record = toy.record()
    assert [s["status"] for s in record["stages"]] == ["completed", "interrupted", "waiting"]
    assert (record["status"], record["error"]["node"]) == ("interrupted", "scale")


def test_an_edited_node_is_picked_up_at_the_next_run_in_one_process(toy):
    done = program(
        toy,
        """
        import pathlib, pokeml
        print(pokeml.run("first").outputs["counts"])
        helpers = pathlib.Path("toy/helpers.py")
        helpers.write_text(helpers.read_text().replace("value >= self.least", "value > 100"))
        print(pokeml.run("first").outputs["counts"])
        """,
    )
    assert done.stdout.splitlines() == ["{'a': 2, 'b': 2}", "{'a': 0, 'b': 0}"], done.stdout + done.stderr


def test_nothing_leaks_from_a_node_to_the_next(toy):
    before(toy, "second", "means = {kind", 'scaled["size"] = 0')
    before(
        toy, "first", "return {name: int", 'options["kinds"] = {"none": "z"}; clean.drop(columns="size", inplace=True)'
    )
    code = """
        import pokeml
        run = pokeml.run(["first", "second"], keep=["scaled"])
        print(run.outputs["scaled"]["size"].min() > 0, list(run.outputs["clean"]), run.outputs["counts"])
        print(pokeml.run(["first", "second"], force=True, params={"least": 1.5}).parameters["options"]["kinds"])
    """
    done = program(toy, code)
    assert done.stdout == "True ['kind', 'size'] {'none': 2}\n{'a': 'x', 'b': 'y'}\n", done.stdout + done.stderr


def test_what_a_node_prints_is_not_among_the_json(toy):
    before(toy, "first", "rule = Rule(least)", "print('hello')")
    done = toy.pokeml("run", "--engine", "inline", "--json")
    assert json.loads(done.stdout)["status"] == "completed" and "hello" in done.stderr


def test_what_needs_a_notebook_or_processes_is_refused(toy):
    for options, message in [
        (["--jobs", "2"], "runs one node after another"),
        (["--timeout", "5"], "--timeout ends a cell of a notebook, and the engine inline has none"),
    ]:
        done = toy.pokeml("run", "--engine", "inline", *options)
        assert done.returncode == 2 and message in done.stderr
    assert not toy.records()


FOURTH = """
from pokeml.pipeline import Pipeline, node

def size(words: str) -> dict:
    return {"n": len(words)}

pipeline = Pipeline([node(size, "words", "size")])
"""
FAILS = ("toy/pipelines/second.py", "return clean.assign(", "raise KeyError('no scale'); return clean.assign(")


def test_inline_keeps_going_node_by_node(toy):
    toy.run("--engine", "inline")
    toy.replace(*FAILS)
    before(toy, "third", 'return {"mark": min', 'raise ValueError("no mark")')
    report = toy.datasets()["report.txt"]
    done = toy.pokeml("run", "--engine", "inline", "--keep-going", "--force")
    record = toy.record()
    state = {n["name"]: n["status"] for s in record["stages"] for n in s["nodes"]}
    assert state == {
        "clean": "ran",
        "count": "ran",
        "scale": "failed",
        "total": "skipped",
        "label": "ran",
        "report": "skipped",  # though there is an old `total`
        "middle": "ran",
        "mark": "failed",
    }
    assert toy.datasets()["report.txt"] == report
    assert (done.returncode, record["status"]) == (1, "failed")
    assert [(e["node"], e["kind"]) for e in record["errors"]] == [("scale", "KeyError"), ("mark", "ValueError")]
    for part in ("no scale", "no mark", "report: it needs total, and node scale failed"):
        assert part in done.stderr, part


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_notebooks_keep_going_stage_by_stage(toy, jobs):
    toy.replace(*FAILS)
    toy.write("toy/pipelines/fourth.py", FOURTH)
    toy.write("conf/base/pipelines/fourth/catalog.yml", "size: {type: json.JSONDataset, filepath: data/size.json}\n")
    toy.write("nbs/stages/04_fourth.ipynb", stage_notebook("fourth", ["stage.run('size')"]))
    done = toy.pokeml("run", "--keep-going", "--jobs", jobs)
    record = toy.record()
    state = {s["name"]: s["status"] for s in record["stages"]}
    assert state == {"first": "completed", "second": "failed", "third": "skipped", "fourth": "completed"}
    assert done.returncode == 1 and "third was skipped: it reads what stage second was to make" in done.stderr
    if jobs == "1":
        toy.replace(FAILS[0], FAILS[2], FAILS[1])
        assert executed(toy.run()) == {"second", "third"}


def test_verify_gives_values_to_the_catalog_as_well(toy):
    toy.write("conf/local/catalog.yml", "raw: {type: pandas.CSVDataset, filepath: 'data/${runtime_params:src}.csv'}\n")
    refused = toy.pokeml("verify", "--pipeline", "first")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    there = toy.written()
    done = toy.pokeml("verify", "--pipeline", "first", "--params", "src=raw,least=4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 datasets, none of them different (pokeml and inline)" in done.stdout
    assert toy.written() == there  # it worked in copies


def test_verify_names_the_dataset_and_the_columns_that_differ(toy):
    before(
        toy, "second", 'return pd.DataFrame({"kind"', "import os; means = {kind: len(os.getcwd()) for kind in means}"
    )
    in_kernel = "from IPython import get_ipython; words += ' in a kernel' * (get_ipython() is not None)"
    before(toy, "second", 'return WAYS["same"]', in_kernel)
    first = toy.root / "nbs/stages/01_first.ipynb"  # it shows what no node reads, and a dataset of another pipeline
    first.write_text(first.read_text("utf-8").replace('"1 + 1"', "\"stage.load('extra'), stage.load('mark')\""))
    toy.write("data/made/mark.json", "{}")
    done = toy.pokeml("verify", "--pipeline", "first,second", "--params", "least=1.5")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line[:1] in "✓✗" and line}
    assert lines["total"].startswith("✗") and lines["total"].endswith("columns that differ: mean")
    assert lines["label"].startswith("✗") and "the values differ" in lines["label"]
    assert lines["clean"].startswith("✓") and "report" not in lines
    assert "4 datasets, 2 of them different" in done.stdout
    assert list(toy.datasets()) == ["mark.json"]


def test_a_function_without_return_leaves_no_null(tmp_path):
    toy = Toy(tmp_path / "project")
    toy.replace("toy/pipelines/first.py", "    return {name: int", "    _ = {name: int")
    done = toy.pokeml("run", "--engine", "inline", "--pipeline", "first")
    assert done.returncode == 1 and "Node count returned None, and must return counts." in done.stderr
    assert not (toy.root / "data/made/counts.json").exists()
