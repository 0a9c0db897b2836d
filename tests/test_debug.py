"""From a failed run into its source, and back."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pexpect
import pytest
from conftest import ROOT, Copy
from toy import Toy, ran

METRICS = "nbs/pipelines/04_metrics.ipynb"
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def export(copy: Copy) -> None:
    """Export the notebooks of a copy, as its user does."""
    command = Path(sys.executable).with_name("nbdev-export")
    subprocess.run([command], cwd=copy.root, env=copy.env, check=True, capture_output=True)


def prompt(copy: Copy, *lines: str, arguments: tuple[str, ...] = ()) -> str:
    """Type lines into `pokeml debug` through a pipe, and give what it says."""
    env = copy.env | {"IPYTHONDIR": str(copy.root / ".ipython")}
    done = copy.pokeml("debug", *arguments, env=env, typed="\n".join([*lines, ""]))
    assert done.returncode == 0, done.stdout + done.stderr
    return COLOUR.sub("", done.stdout)


def source_of(copy: Copy, notebook: str, of: str) -> tuple[str, str]:
    """Find the cell that holds a text: its id and source."""
    for cell in json.loads((copy.root / notebook).read_text("utf-8"))["cells"]:
        if of in (source := "".join(cell["source"])):
            return cell["id"], source
    raise AssertionError(of)


def debug_notebook(copy: Copy) -> Path:
    (path,) = (copy.root / "outputs" / "debug").glob("*.ipynb")
    return path


def execute(path: Path, copy: Copy, env: dict[str, str]) -> nbformat.NotebookNode:
    """Execute a notebook where it lies, as JupyterLab does, in a kernel that finds the copy's machinery."""
    from nbclient import NotebookClient

    nb = nbformat.read(path, as_version=4)
    client = NotebookClient(nb, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": path.parent}})
    client.execute(env=env)
    return nb


def failure(nb: nbformat.NotebookNode) -> tuple[str, nbformat.NotebookNode | None]:
    """Give the id of the cell that failed, and its error."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return cell.id, output
    return "", None


def edit(path: Path, old: str, new: str) -> None:
    """Edit the one cell that holds a text, and save the notebook as an editor does."""
    nb = nbformat.read(path, as_version=4)
    (cell,) = [c for c in nb.cells if old in c.source]
    cell.source = cell.source.replace(old, new)
    nbformat.write(nb, path)


@pytest.fixture(scope="module")
def failed(tmp_path_factory) -> Copy:
    """A copy in which a run has failed: a helper of the node `evaluate` has a misspelt name. Not to be changed."""
    copy = Copy(tmp_path_factory.mktemp("failed") / "project")
    copy.use_sample()
    shutil.copy(ROOT / "pyproject.toml", copy.root)
    copy.replace(METRICS, "labels=types, average=", "labels=kinds, average=")
    export(copy)
    done = copy.pokeml("run", "--params", "test_data_ratio=0.25")
    assert done.returncode == 1, done.stdout + done.stderr
    copy.said = done.stderr
    return copy


@pytest.fixture
def mine(failed, tmp_path) -> Copy:
    """The copy with the failed run, to change."""
    copy = Copy.__new__(Copy)
    copy.root = tmp_path / "project"
    shutil.copytree(failed.root, copy.root)
    copy.env = failed.env | {"PYTHONPATH": str(copy.root)}
    return copy


def test_a_failed_run_says_how_to_look_into_it(failed):
    assert "metrics, node evaluate, cell [" in failed.said
    assert failed.said.index("  Debug it: pokeml debug\n") < failed.said.index("  Fix it, then: pokeml run")


def test_the_prompt_has_stopped_at_the_failing_line(failed):
    cell, source = source_of(failed, METRICS, "def macro_f1")
    line = next(i for i, text in enumerate(source.splitlines(), 1) if "labels=kinds" in text)
    said = prompt(failed, "%debug", "p types[:2], len(truth)", "up", "p 'here', majority[0]", "q", "label_encoder")
    assert "failed in metrics, node evaluate:\nNameError: name 'kinds' is not defined" in said
    assert f"evaluate stands in {METRICS}, cell {source_of(failed, METRICS, 'def evaluate')[0]}." in said
    notebook = failed.root / METRICS
    assert f"{notebook}#{cell}:{line}, in macro_f1(truth, predicted, types)" in said  # the traceback
    assert re.search(rf"> {re.escape(str(notebook))}#{cell}\({line}\)\s*macro_f1\(\)", said)  # the debugger
    assert f"--> {line}" in said and re.search(r"\(\['\w+', '\w+'\], \d+\)", said)
    assert re.search(r"\('here', '\w+'\)", said) and "LabelEncoder()" in said
    assert "has changed since the run" not in said


def test_a_traceback_is_there_for_other_tools(failed):
    said = prompt(failed, "import sys", "print('kept', sys.last_value.name, sys.last_traceback is not None)")
    assert "kept kinds True" in said


def test_a_run_is_named_by_its_id_or_the_beginning_of_it(mine):
    (first,) = mine.records()
    assert mine.pokeml("run", "--engine", "inline", "--pipeline", "pre_processing").returncode == 0
    assert f"Run {first.parent.name} failed" in prompt(mine)  # the latest that failed
    assert f"Run {first.parent.name} failed" in prompt(mine, arguments=(first.parent.name[:-3],))
    done = mine.pokeml("debug", "latest")
    assert (done.returncode, done.stdout) == (2, "") and "has the status completed" in done.stderr
    done = mine.pokeml("debug", "1999")
    assert done.returncode == 2 and "Unknown run '1999'" in done.stderr


def test_parameters_are_those_of_the_run(sample):
    shutil.copy(ROOT / "pyproject.toml", sample.root)
    sample.write("conf/prod/parameters.yml", "remove_legendary: false\n")
    assert (
        sample.pokeml("run", "--env", "prod", "--engine", "inline", "--params", "generations=[1, 99]").returncode == 1
    )
    said = prompt(sample, "generations, remove_legendary, pokemon.shape[0]")
    rows = len((sample.root / "data/01_raw/pokemon.csv").read_text("utf-8").splitlines()) - 1
    assert f"([1, 99], False, {rows})" in said
    assert sample.pokeml("debug", "--notebook").returncode == 0
    sources = [c.source for c in nbformat.read(debug_notebook(sample), as_version=4).cells]
    assert "generations = [1, 99]\nremove_legendary = False" in sources


def test_a_run_without_notebooks_is_looked_into_as_well(sample):
    failed = sample.pokeml("run", "--engine", "inline", "--params", "generations=[1, 99]")
    assert failed.returncode == 1 and "Debug it: pokeml debug" in failed.stderr
    assert "ValueError: generations [99] are not in the table" in prompt(sample)
    assert sample.pokeml("debug", "--notebook").returncode == 0
    where, error = failure(execute(debug_notebook(sample), sample, sample.env))
    assert (where, error.ename) == ("call", "ValueError")


def test_inputs_that_are_not_kept_are_made_by_the_nodes_before(mine):
    catalog = "conf/base/pipelines/metrics/catalog.yml"
    text = (mine.root / catalog).read_text("utf-8")
    (mine.root / catalog).write_text(re.sub(r"^predictions:\n(?:  .*\n)*", "", text, flags=re.MULTILINE), "utf-8")
    assert "\npredictions:" not in "\n" + (mine.root / catalog).read_text("utf-8")
    others = "pre_processing,data_engineering,data_science,metrics"  # the predictor's needs it kept
    run = ("run", "--engine", "inline", "--pipeline", others, "--params", "test_data_ratio=0.25")
    assert mine.pokeml(*run).returncode == 1
    said = prompt(mine, "'rows', len(predictions)")
    assert "predictions is not kept; running predict_test." in said
    assert "NameError: name 'kinds' is not defined" in said and re.search(r"\('rows', \d+\)", said)
    done = mine.pokeml("debug", "--notebook")
    assert "predictions is not in the catalog; the notebook runs predict_test to make it." in done.stdout
    nb = execute(debug_notebook(mine), mine, mine.env)
    assert failure(nb)[1].evalue == "name 'kinds' is not defined"


def test_changed_inputs_are_told(mine):
    path = mine.root / "data/07_model_output/predictions.parquet"
    import pandas as pd

    table = pd.read_parquet(path)
    table.head(3).to_parquet(path)
    assert "predictions has changed since the run; this is what it is now." in prompt(mine)


def test_a_node_that_does_not_fail_any_more_is_told_and_the_prompt_opens(mine):
    mine.replace(METRICS, "labels=kinds", "labels=types")
    export(mine)
    said = prompt(mine, "'still', 'here'")
    assert "evaluate does not fail any more with this code and these inputs." in said
    assert "Traceback" not in said and "('still', 'here')" in said


def test_notebooks_and_module_out_of_step_are_refused(mine):
    mine.replace(METRICS, "labels=kinds", "labels=types")
    done = mine.pokeml("debug")
    assert done.returncode == 2 and "are out of step" in done.stderr and "nbdev-export" in done.stderr


def test_an_error_of_the_stage_notebook_is_refused_with_the_way_out(sample):
    stage = "nbs/stages/01_pre_processing.ipynb"
    nb = nbformat.read(sample.root / stage, as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell("1 / 0"))
    nbformat.write(nb, sample.root / stage)
    failed = sample.pokeml("run", "--pipeline", "pre_processing")
    assert failed.returncode == 1 and "Debug it" not in failed.stderr
    done = sample.pokeml("debug")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"failed in the stage notebook {stage}, not in a node" in done.stderr
    assert "Look at what it did in outputs/runs/" in done.stderr


def test_what_no_notebook_exports_is_taken_from_its_module(tmp_path):
    toy = Toy(tmp_path / "toy")
    toy.replace("toy/pipelines/second.py", "means = {kind", "means = 1 / 0 or {kind")
    toy.replace("toy/pipelines/second.py", "offset: float", "in_: float")  # a name that ends so keeps its end
    toy.replace("toy/pipelines/second.py", "+ offset for", "+ in_ for")
    assert toy.pokeml("run").returncode == 1
    said = prompt(toy, "%debug", "p in_, sorted(scaled)", "q")  # `scaled` is made again, in memory
    assert "scaled is not kept; running scale." in said and "ZeroDivisionError" in said
    assert re.search(r"second\.py\(\d+\)\s*total\(\)", said) and "(0.3, ['kind', 'size'])" in said
    assert toy.pokeml("debug", "--notebook").returncode == 0
    assert failure(execute(debug_notebook(toy), toy, toy.env))[1].ename == "ZeroDivisionError"
    assert "holds no cell that comes from a node notebook" in toy.pokeml("debug", "--apply").stderr


def test_the_whole_loop_from_a_failed_run_through_a_notebook_to_one_that_completes(mine):
    before = json.loads((mine.root / METRICS).read_text("utf-8"))
    others = {p: p.read_bytes() for p in (mine.root / "nbs").rglob("*.ipynb") if p.name != Path(METRICS).name}
    done = mine.pokeml("debug", "--notebook")
    assert done.returncode == 0 and done.stdout.startswith("outputs/debug/"), done.stderr
    path = debug_notebook(mine)
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    cell, source = source_of(mine, METRICS, "def macro_f1")

    # It says where it comes from, and the links lead there.
    (link,) = [t for t in re.findall(r"\]\((\S+)\)", nb.cells[0].source) if "#" in t]
    target, _, fragment = link.partition("#")
    node_cell, _ = source_of(mine, METRICS, "def evaluate")
    assert ((path.parent / target).resolve(), fragment) == ((mine.root / METRICS).resolve(), f"cell-id={node_cell}")
    (marked,) = [c for c in nb.cells if c.source == source]
    assert (marked.metadata.pokeml.notebook, marked.metadata.pokeml.cell) == (METRICS, cell)

    # It fails as the run did, wherever it lies in the project.
    where, error = failure(execute(path, mine, mine.env))
    assert where == "call" and error.evalue == "name 'kinds' is not defined"
    assert "labels=kinds" in COLOUR.sub("", "\n".join(error.traceback))

    # Its cell is mended, and the call is good.
    edit(path, "labels=kinds", "labels=types")
    assert failure(execute(path, mine, mine.env)) == ("", None)

    # A look at what would change writes nothing.
    dry = mine.pokeml("debug", "--apply", "--dry-run")
    assert dry.returncode == 0 and f"--- a/{METRICS}#{cell}" in dry.stdout and "Written" not in dry.stdout
    assert json.loads((mine.root / METRICS).read_text("utf-8")) == before

    # The edit goes back: that cell, that module, and nothing else.
    done = mine.pokeml("debug", "--apply")
    assert done.returncode == 0, done.stderr
    changed = [line for line in done.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert [line[0] for line in changed] == ["-", "+"] and "labels=types" in changed[1]
    assert f"Written and exported: {METRICS}. Go on: pokeml run" in done.stdout
    text = (mine.root / METRICS).read_text("utf-8")
    assert text == json.dumps(before, indent=1, ensure_ascii=False).replace("labels=kinds", "labels=types") + "\n"
    assert text == (ROOT / METRICS).read_text("utf-8")
    assert (mine.root / "pokeml/pipelines/metrics.py").read_text() == (ROOT / "pokeml/pipelines/metrics.py").read_text()
    assert {p: p.read_bytes() for p in others} == others
    again = mine.pokeml("debug", "--apply")
    assert again.returncode == 0 and again.stdout.startswith("Nothing to carry back")

    # The run goes on from the failed node.
    done = mine.pokeml("run", "--params", "test_data_ratio=0.25")
    assert done.returncode == 0, done.stderr
    record = json.loads(mine.records()[-1].read_text("utf-8"))
    assert not ran(record) & {"clean_data", "fit_best_model", "predict_test"}
    assert ran(record) >= {"evaluate", "plot_confusion"}
    assert record["status"] == "completed"


def test_an_edit_is_refused_when_the_source_has_moved_on(mine):
    assert mine.pokeml("debug", "--notebook").returncode == 0
    edit(debug_notebook(mine), "labels=kinds", "labels=types")
    mine.replace(METRICS, "labels=kinds", "labels=sorted(types)")
    before = {p: p.read_bytes() for p in [mine.root / METRICS, mine.root / "pokeml/pipelines/metrics.py"]}
    done = mine.pokeml("debug", "--apply")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{METRICS}, cell " in done.stderr and "has changed since it was taken" in done.stderr
    assert {p: p.read_bytes() for p in before} == before


def test_a_debug_notebook_with_edits_is_not_written_over(mine):
    assert mine.pokeml("debug", "--notebook").returncode == 0
    edit(debug_notebook(mine), "labels=kinds", "labels=types")
    before = debug_notebook(mine).read_bytes()
    done = mine.pokeml("debug", "--notebook")
    assert done.returncode == 0 and "has edits or cells of yours, and was left as it is" in done.stdout
    assert debug_notebook(mine).read_bytes() == before


def test_cells_that_were_added_are_kept_and_it_is_told_that_they_do_not_go_back(mine):
    assert mine.pokeml("debug", "--notebook").returncode == 0
    path = debug_notebook(mine)
    nb = nbformat.read(path, as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell("import json\n\ndef helper(x):\n    return json.dumps(x)"))
    nb.cells.append(nbformat.v4.new_markdown_cell("What I have found out."))
    nbformat.write(nb, path)
    before = path.read_bytes()
    done = mine.pokeml("debug", "--notebook")
    assert done.returncode == 0 and "was left as it is. Remove it to begin anew." in done.stdout
    edit(path, "labels=kinds", "labels=types")
    done = mine.pokeml("debug", "--apply")
    assert done.returncode == 0 and "Written and exported" in done.stdout
    assert "Not carried back: json, helper, in a cell that comes from no notebook." in done.stderr
    assert mine.pokeml("debug", "--notebook").returncode == 0  # all edits are carried back; the cells are not
    assert path.read_bytes() == before.replace(b"labels=kinds", b"labels=types")


def test_a_function_that_is_defined_anew_at_a_terminal_goes_back(mine):
    cell, _ = source_of(mine, METRICS, "def macro_f1")
    env = mine.env | {"IPYTHONDIR": str(mine.root / ".ipython"), "TERM": "xterm"}
    call = mine.command("debug")
    child = pexpect.spawn(call[0], call[1:], cwd=str(mine.root), env=env, encoding="utf-8", timeout=60)
    child.expect("NameError")
    child.expect(r"In \[")
    child.sendline("%debug")
    child.expect("ipdb>")
    child.sendline("p 'majority of', len(truth)")
    child.expect("'majority of', ")
    child.sendline("q")
    child.expect(r"In \[")
    child.send("def macro_f1(truth, predicted, types):\r")
    child.send("return float(f1_score(truth, predicted, labels=types, average='macro', zero_division=0))\r\r")
    child.expect(r"In \[")
    child.sendline("sorted(evaluate(predictions, statistics_predictions, y_train, label_encoder, 100, 1307))[0]")
    child.expect("accuracy")
    child.sendline("apply()")
    child.expect(f"a/{METRICS}#{cell}")
    child.expect(r"In \[")
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "labels=types, average='macro'" in source_of(mine, METRICS, "def macro_f1")[1]
    assert "labels=types, average='macro'" in (mine.root / "pokeml/pipelines/metrics.py").read_text("utf-8")


def test_a_terminal_gets_colours_in_the_diff(mine):
    assert mine.pokeml("debug", "--notebook").returncode == 0
    edit(debug_notebook(mine), "labels=kinds", "labels=types")
    call = mine.command("debug", "--apply", "--dry-run")
    said = pexpect.run(" ".join(call), cwd=str(mine.root), env=mine.env | {"TERM": "xterm"}, encoding="utf-8")
    assert "\x1b[32m+" in said and "\x1b[31m-" in said
    assert "\x1b[" not in mine.pokeml("debug", "--apply", "--dry-run").stdout


def test_without_jupyterlab_lab_says_what_to_install(failed, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['jupyterlab'] = None  # as if it were not there\n"
    )
    env = failed.env | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{failed.env['PYTHONPATH']}"}
    done = failed.pokeml("debug", "--lab", env=env, cold=True)
    assert done.returncode == 2 and "JupyterLab is not installed: pip install 'pokeml[lab]'" in done.stderr
    assert not (failed.root / "outputs" / "debug").exists()


def test_the_command_is_light():
    code = "import sys, pokeml.cli; print(sorted({'IPython', 'pandas', 'nbformat', 'pokeml.debug'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr
