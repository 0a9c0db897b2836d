"""`import pokeml`: what a program gets, as often as it likes, from any folder, thread or notebook."""

import re
import subprocess
import sys
import textwrap

import nbformat
import pytest
from nbclient import NotebookClient
from toy import Toy

import pokeml


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Toy:
    """A toy in which everything has run; the tests below leave it as it is."""
    toy = Toy(tmp_path_factory.mktemp("api") / "project")
    toy.run("--engine", "inline")
    return toy


def program(toy: Toy, code: str, cwd=".", cold=False, **env: str) -> str:
    """Run a Python program and give what it prints."""
    ended = toy.python("-c", textwrap.dedent(code), cwd=cwd, env=toy.env | env, cold=cold)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_import_is_light_and_names_are_there_when_asked_for(done):
    out = program(
        done,
        """
        import sys
        before = set(sys.modules)
        import pokeml
        print(sorted(m for m in set(sys.modules) - before if m.startswith("pokeml") or "pandas" in m))
        from pokeml import Pipeline, PokemlError, Run, RunFailed, Stage, hook_impl, load_catalog, node, run
        print(Stage.__module__, Run.__name__, callable(run), set(pokeml.__all__) <= set(dir(pokeml)))
        """,
        cold=True,
    )
    assert out == "['pokeml']\npokeml.stage Run True True\n"
    assert pokeml.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = pokeml.rnu


def test_a_program_runs_as_often_as_it_likes(tmp_path):
    out = program(
        Toy(tmp_path / "project"),
        """
        import pokeml
        for least in (2.5, 4.5, 4.5):
            run = pokeml.run("first", params={"least": least}, label=f"least {least}")
            print(len(run.outputs["clean"]), run.outputs["counts"], run.label, run.stages[0].status)
        print(pokeml.run(from_nodes="scale", to_nodes=["total"]).stages[0].nodes[0]["status"])
        print(repr(pokeml.run(["second", "third"], engine="pokeml").outputs["label"]))
        assert "<table>" in run._repr_html_() and "clean" in repr(run.outputs)
        """,
    )
    first = "6 {'a': 2, 'b': 2} least 2.5 completed\n4 {'a': 1, 'b': 1} least 4.5 completed\n"
    assert out == first + "4 {'a': 1, 'b': 1} least 4.5 unchanged\nran\n'SOME WORDS\\n!'\n"


def test_outputs_are_those_of_the_run_and_no_others(tmp_path):
    out = program(
        Toy(tmp_path / "project"),
        """
        import pokeml
        old = pokeml.run(keep="scaled")
        new = pokeml.run(params={"least": 4.5})
        print(len(old.outputs["scaled"]), "scaled" in new.outputs, sorted(new.outputs))
        for run, name in [(old, "clean"), (new, "scaled"), (new, "claen")]:
            try:
                print(run.outputs[name])
            except (KeyError, pokeml.PokemlError) as error:
                print(type(error).__name__, error)
        """,
    )
    lines = out.splitlines()
    assert lines[0] == "6 False ['clean', 'counts', 'label', 'mark', 'middle', 'report', 'total']"
    assert (
        lines[1].startswith("PokemlError Dataset clean (data/made/clean.parquet") and "written again since" in lines[1]
    )
    assert "scaled is not in the catalog, so it is not kept. Ask for it: run(…, keep=['scaled'])" in lines[2]
    assert "has not made 'claen'. Did you mean clean?" in lines[3]


def test_a_failure_is_raised_from_the_exception_of_the_node(tmp_path):
    toy = Toy(tmp_path / "project")
    toy.replace("toy/pipelines/second.py", "return clean.assign(", "raise KeyError('no scale'); return clean.assign(")
    out = program(
        toy,
        """
        import pokeml
        for engine in ("inline", "pokeml"):
            try:
                pokeml.run(engine=engine)
            except pokeml.RunFailed as error:
                print(repr(error.__cause__), error.run.status, error.run.error["node"], str(error).split(". ")[0][-6:])
                print("It stopped at toy/pipelines/second.py, line" in str(error))
        print(pokeml.run(check=False).status, pokeml.run(check=False, keep_going=True).errors[0]["kind"])
        """,
    )
    first = "KeyError('no scale') failed scale failed\nTrue\nNone failed scale failed\nTrue\n"
    assert out == first + "failed KeyError\n"


@pytest.mark.parametrize("way", ["start", "environment"])
def test_a_program_in_another_folder(done, tmp_path, way):
    code = "import pokeml; run = pokeml.run({}engine={!r}, force=['mark']); print(run.status, run.outputs['mark'])"
    for engine in ("inline", "pokeml"):
        start = f"start={str(done.root)!r}, " if way == "start" else ""
        env = {"POKEML_PROJECT": str(done.root) if way == "environment" else str(tmp_path)}
        assert program(done, code.format(start, engine), tmp_path, **env) == "completed {'mark': 1}\n"


def test_threads_and_a_running_event_loop(done):
    cells = [
        "import pokeml, asyncio, threading",
        "[pokeml.run(engine=e, force=['mark']).status for e in ('inline', 'pokeml', 'papermill')]",
        "got = []\nthread = threading.Thread(target=lambda: got.append(pokeml.run(force=['mark']).outputs['mark']))",
        "thread.start(); thread.join(); got",
        "await asyncio.to_thread(lambda: pokeml.run(force=['mark']).status)",
        "pokeml.run('first')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(done.root)}})
    client.execute(env=done.env)
    shown = [cell.outputs[-1].data if cell.outputs else {} for cell in notebook.cells]
    assert shown[1]["text/plain"] == "['completed', 'completed', 'completed']"
    assert (shown[3]["text/plain"], shown[4]["text/plain"]) == ("[{'mark': 1}]", "'completed'")
    assert "<b>Run " in shown[5]["text/html"] and "unchanged" in shown[5]["text/html"]
    assert not [o for cell in notebook.cells for o in cell.outputs if o.output_type == "stream"]  # silent by default


def test_progress_is_shown_where_it_is_asked_for(done):
    out = program(done, "import pokeml; pokeml.run(progress=True); pokeml.run(progress=lambda run: print(run.status))")
    assert re.search(r"↺ first +nothing to do", out) and out.endswith("running\ncompleted\n")


def test_two_projects_in_one_process(done, tmp_path):
    other = Toy(tmp_path / "other" / "project", of=done)
    code = """
        import pokeml, sys
        print(pokeml.run(start=sys.argv[1]).status)
        try:
            pokeml.run(start=sys.argv[2])
        except pokeml.PokemlError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(done.root), str(other.root)]
    out = subprocess.run(command, cwd=tmp_path, env=done.env, capture_output=True, text=True).stdout
    assert out.startswith("completed\nThis process has the package 'toy' from another project, ")


def test_a_run_does_not_end_a_warm_notebook_of_another_thread(done, tmp_path):
    path = tmp_path / "slow.ipynb"
    cell = nbformat.v4.new_code_cell("import time, pathlib\npathlib.Path('begun').touch(); time.sleep(4); 'slept'")
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), path)
    out = program(
        done,
        """
        import pathlib, sys, threading, time, papermill, pokeml
        got = []
        def slow():
            ended = papermill.execute_notebook("slow.ipynb", "out.ipynb", engine_name="pokeml", progress_bar=False)
            got.append(ended.cells[-1].outputs[-1]["data"]["text/plain"])
        thread = threading.Thread(target=slow)
        thread.start()
        while not pathlib.Path("begun").exists():
            time.sleep(0.05)
        print(pokeml.run(engine="pokeml", force=["mark"]).status, got)
        thread.join()
        print(got)
        """,
        tmp_path,
        POKEML_PROJECT=str(done.root),
    )
    assert out == "completed []\n[\"'slept'\"]\n"


def test_python_m_pokeml_is_the_command(done):
    ended = subprocess.run(done.command("run", "--help"), cwd=done.root, env=done.env, capture_output=True, text=True)
    assert ended.stdout.startswith("Usage: pokeml run") and "inline" in ended.stdout


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"params": "least=3"}, "params is 'least=3'; give a mapping from name to value"),
        ({"load_versions": ["raw"]}, "load_versions is ['raw']; give a mapping"),
        ({"engine": "pokeml", "jobs": 0}, "jobs is 0; it says how many stages run side by side"),
        ({"engine": "pokeml", "jobs": "2"}, "jobs is '2'; it says"),
        ({"engine": "pokeml", "timeout": -1}, "timeout is -1; it says how many seconds"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_before_anything_is_written(tmp_path, asked, message):
    toy = Toy(tmp_path / "toy")
    code = f"import pokeml\ntry:\n    pokeml.run(**{asked!r})\nexcept pokeml.PokemlError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], cwd=toy.root, env=toy.env, capture_output=True, text=True)
    assert done.stdout.startswith(message), done.stdout + done.stderr
    assert not toy.records()
