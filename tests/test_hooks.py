"""Hooks: called in the same order whatever the engine, and never able to change what a pipeline makes."""

import json
import subprocess
import sys

import pytest
from toy import Toy, ran

RECORDER = '''
"""Writes down what it is told; the classes are as one would write them for Kedro."""
import os
from pokeml.hooks import hook_impl

PLACE = os.environ.get("TOLD", os.devnull)


def tell(*words):
    with open(PLACE, "a") as file:
        print(*words, file=file)


class Recorder:
    @hook_impl
    def after_catalog_created(self, catalog, conf_catalog, save_version, load_versions):
        tell("catalog", "clean" in catalog, "clean" in conf_catalog, len(save_version), load_versions)

    @hook_impl
    def before_pipeline_run(self, run_params, pipeline, catalog):
        tell("run", run_params["pipeline_names"], run_params["env"], len(pipeline.nodes), "clean" in catalog)

    @hook_impl
    def after_pipeline_run(self, run_params, run_result, pipeline, catalog):
        tell("ran", run_result.status, run_params["run_id"] == run_result.id)

    @hook_impl
    def on_pipeline_error(self, error, run_params, pipeline, catalog):
        tell("run failed", type(error).__name__, error.run.error["node"])

    @hook_impl
    def before_stage_run(self, stage, pipeline):
        tell("stage", stage, len(pipeline.nodes))

    @hook_impl
    def after_stage_run(self, stage, stage_result):
        tell("stage ended", stage, stage_result.status)

    @hook_impl
    def before_node_run(self, node, catalog, inputs, is_async, run_id):
        tell("node", node.name, sorted(inputs), is_async, len(run_id))
        inputs.clear()

    @hook_impl
    def after_node_run(self, node, catalog, inputs, outputs, is_async, session_id):
        tell("node ran", node.name, sorted(outputs), len(session_id))
        if node.name == "clean":
            outputs["clean"]["size"] = 0

    @hook_impl
    def on_node_error(self, error, node, catalog, inputs):
        tell("node failed", node.name, repr(error), sorted(inputs))

    @hook_impl
    def before_dataset_loaded(self, dataset_name, node):
        tell("load", dataset_name, node.name)

    @hook_impl
    def after_dataset_loaded(self, dataset_name, data, node):
        tell("loaded", dataset_name, type(data).__name__)
        if dataset_name == "raw":
            data["size"] = 0

    @hook_impl
    def before_dataset_saved(self, dataset_name, data, node):
        tell("save", dataset_name, type(data).__name__, node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name, data, node):
        tell("saved", dataset_name)


class Wrong:
    @hook_impl
    def before_nod_run(self, node):
        pass


class Curious:
    @hook_impl
    def after_catalog_created(self, conf_creds):
        pass


class Meddler:
    @hook_impl
    def before_node_run(self, inputs):
        return {"raw": None}


class FailsAtNode:
    @hook_impl
    def before_node_run(self, node):
        raise OSError("no network")


class FailsAtTheEnd:
    @hook_impl
    def after_pipeline_run(self):
        raise OSError("no network")


class FailsAtError:
    @hook_impl
    def on_node_error(self):
        raise OSError("no network")


class FailsAtStage:
    @hook_impl
    def before_stage_run(self):
        raise OSError("no network")
'''


@pytest.fixture
def hooked(tmp_path):
    """A function that makes a toy with one of these classes as its hooks."""

    def make(name: str, where: str = "project") -> Toy:
        toy = Toy(tmp_path / where / "project")
        toy.write("toy/hooks.py", RECORDER.lstrip())
        toy.write("settings.ini", f"[pokeml]\npackage = toy\nhooks = toy.hooks:{name}\n")
        toy.env["TOLD"] = str(tmp_path / where / "told.txt")
        return toy

    return make


def heard(toy: Toy) -> list[str]:
    return (toy.root.parent / "told.txt").read_text().splitlines()


CLEAN = """\
load raw clean
loaded raw DataFrame
node clean ['params:least', 'raw'] False 24
node ran clean ['clean'] 24
save clean DataFrame clean
saved clean
load clean count
loaded clean DataFrame
node count ['clean', 'params:options'] False 24
node ran count ['counts'] 24
save counts dict count
saved counts"""


def test_the_order_is_the_same_under_all_engines_and_hooks_change_nothing(hooked, tmp_path):
    bare = Toy(tmp_path / "bare" / "project")
    bare.run("--pipeline", "first", "--engine", "inline")
    for engine in ("inline", "pokeml", "papermill"):
        toy = hooked("Recorder", engine)
        toy.run("--pipeline", "first", "--engine", engine)
        catalog = "catalog True True 24 {}"
        run = ["run ['first'] local 2 True", "stage first 2", catalog]
        end = ["stage ended first completed", "ran completed True"]
        assert heard(toy) == [catalog, *run, *CLEAN.splitlines(), *end], engine
        assert toy.datasets() == bare.datasets()  # though these hooks write into what they are shown


@pytest.mark.parametrize("engine", ["inline", "pokeml"])
def test_errors_reach_the_hooks(hooked, engine):
    toy = hooked("Recorder")
    toy.replace("toy/pipelines/first.py", "rule = Rule(least)", "raise KeyError('no rule')")
    assert toy.pokeml("run", "--engine", engine).returncode == 1
    assert heard(toy)[-3:] == [
        "node failed clean KeyError('no rule') ['params:least', 'raw']",
        "stage ended first failed",
        "run failed RunFailed clean",
    ]


def test_a_node_that_is_up_to_date_and_an_edited_hook_run_nothing(hooked):
    toy = hooked("Recorder")
    toy.run("--engine", "inline")
    (toy.root.parent / "told.txt").unlink()
    toy.replace("toy/hooks.py", 'tell("ran"', 'tell("all ran"')
    assert ran(toy.run("--engine", "inline")) == set()
    assert [line.split()[0] for line in heard(toy)] == ["catalog", "run", "all"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Wrong", "Hook before_nod_run of toy.hooks:Wrong (toy/hooks.py, line"),
        ("Curious", "takes 'conf_creds', which it is not told"),
        ("Wrung", "The hooks toy.hooks:Wrung (settings.ini) cannot be imported: AttributeError"),
        ("tell", "toy.hooks:tell has no hooks. Mark them with @hook_impl"),
    ],
)
def test_what_could_never_be_called_is_refused_at_the_start(hooked, name, message):
    toy = hooked(name)
    done = toy.pokeml("run")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not toy.records() and not toy.datasets()


@pytest.mark.parametrize("engine", ["inline", "pokeml"])
@pytest.mark.parametrize(
    ("name", "hook", "stage"),
    [
        ("FailsAtNode", "before_node_run", "first"),
        ("FailsAtStage", "before_stage_run", "first"),
        ("FailsAtTheEnd", "after_pipeline_run", None),
    ],
)
def test_a_hook_that_fails_is_named_and_the_run_says_so(hooked, engine, name, hook, stage):
    toy = hooked(name)
    done = toy.pokeml("run", "--pipeline", "first", "--engine", engine)
    source = RECORDER.lstrip().splitlines()
    begin = source.index(f"class {name}:")
    line = next(i for i, text in enumerate(source, 1) if i > begin and "no network" in text)
    message = f"Hook {hook} of toy.hooks:{name} (toy/hooks.py, line {line}) failed: OSError: no network"
    assert done.returncode == 1 and message in done.stderr, done.stderr
    error = toy.record()["error"]
    assert (toy.record()["status"], error["stage"], error["kind"]) == ("failed", stage, "HookError")


@pytest.mark.parametrize("engine", ["inline", "pokeml"])
def test_a_hook_that_fails_at_an_error_hides_nothing(hooked, engine):
    toy = hooked("FailsAtError")
    toy.replace("toy/pipelines/first.py", "rule = Rule(least)", "raise KeyError('no rule')")
    done = toy.pokeml("run", "--engine", engine)
    assert "KeyError: 'no rule'" in done.stderr
    (node,) = toy.record()["stages"][0]["nodes"]
    assert "Hook on_node_error of toy.hooks:FailsAtError" in node["warnings"][0]


def test_a_hook_cannot_replace_the_inputs_of_a_node(hooked):
    toy = hooked("Meddler")
    done = toy.pokeml("run", "--engine", "inline")
    assert done.returncode == 1 and "returned {'raw': None}. A hook cannot replace the inputs of a node" in done.stderr
    assert not toy.datasets()


def test_an_installed_package_brings_hooks_by_its_entry_point(tmp_path):
    toy = Toy(tmp_path / "project")
    toy.write("../lib/watching.py", RECORDER.lstrip())
    toy.write("../lib/watching-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: watching\nVersion: 1.0\n")
    toy.write("../lib/watching-1.0.dist-info/entry_points.txt", "[pokeml.hooks]\nrecorder = watching:Recorder\n")
    toy.env["TOLD"] = str(tmp_path / "told.txt")
    toy.run("--pipeline", "first")
    assert "node ran clean ['clean'] 24" in heard(toy)


def test_without_hooks_pluggy_is_not_imported(tmp_path):
    toy = Toy(tmp_path / "project")
    code = "import sys, pokeml; run = pokeml.run(); print(run.status, 'pluggy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=toy.root, env=toy.env, capture_output=True, text=True)
    assert done.stdout == "completed False\n", done.stderr
    assert json.loads(toy.records()[-1].read_text())["status"] == "completed"
