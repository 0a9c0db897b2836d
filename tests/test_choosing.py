"""What Kedro's users type to choose what runs, on a small project."""

import json
import subprocess
import sys

import pytest
from test_light import HEAVY, modules
from toy import Toy, ran, stage_notebook

THIRD = '''
"""Third: everything that a node can take and give."""
import pandas as pd
from pokeml.pipeline import Pipeline, node, pipeline


def report(counts: dict, total: pd.DataFrame, steps: list) -> str:
    return f"{counts} {steps} {list(total['mean'])}"


def spread(*values, scale: int = 1) -> dict:
    numbers, parameters = values
    return {"low": min(numbers) * scale, "names": sorted(parameters)}


def shift(numbers: list, by: int, /) -> list:
    return [n + by for n in numbers]


shifted = Pipeline([node(shift, ["numbers", "params:by"], "shifted", name="shift")])
pipeline = Pipeline([
    node(report, {"steps": "params:steps", "counts": "counts", "total": "total"}, "report", tags="text"),
    node(spread, ["numbers", "parameters"], {"low": "low", "names": "names"}, name="spread"),
    pipeline(shifted, namespace="up", inputs="numbers", outputs={"shifted": "higher"}, tags="copy"),
    pipeline(shifted, namespace="down", inputs="numbers", parameters={"by": "down.less"}, tags=["copy", "last"]),
])
'''
CLEAN = """
clean@table: {type: pandas.CSVDataset, filepath: data/made/clean.csv}
clean@text: {type: text.TextDataset, filepath: data/made/clean.csv}
"""
NODES = ["report", "spread", "up.shift", "down.shift"]
MORE_CATALOG = "".join(
    f"{name}: {{type: json.JSONDataset, filepath: data/made/{name}.json}}\n"
    for name in ("low", "names", "higher", "down.shifted")
)


def make(toy: Toy) -> Toy:
    """Let the third pipeline use what nodes can."""
    toy.write("toy/pipelines/third.py", THIRD.lstrip())
    toy.write("nbs/stages/03_third.ipynb", stage_notebook("third", [f'stage.run("{node}")' for node in NODES]))
    toy.write("conf/base/catalog_third.yml", MORE_CATALOG)
    toy.write("conf/base/parameters_third.yml", "up: {by: 10}\ndown: {less: -1}\n")
    for module, old in [("first", '"counts")'), ("second", '"label")')]:
        toy.replace(f"toy/pipelines/{module}.py", old, old.replace(")", ', tags="text")'))
    return toy


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Toy:
    """The project, in which everything ran once; not to be changed."""
    toy = make(Toy(tmp_path_factory.mktemp("choosing") / "project"))
    toy.run()
    return toy


@pytest.fixture
def toy(done, tmp_path) -> Toy:
    """A copy of it that may be changed."""
    return Toy(tmp_path / "project", of=done)


def planned(toy: Toy, *arguments: str) -> dict[str, list[str]]:
    """Name the nodes that would be looked at, by pipeline."""
    told = toy.pokeml("run", "--dry-run", "--json", *arguments)
    assert told.returncode == 0, told.stderr
    return {s["name"]: [n["name"] for n in s["nodes"]] for s in json.loads(told.stdout)["stages"]}


def refused(toy: Toy, *arguments: str) -> str:
    """Give the message of a run that was refused, and see that nothing was written."""
    before = toy.records()
    told = toy.pokeml("run", *arguments)
    assert told.returncode == 2 and toy.records() == before, told.stdout
    assert "Traceback" not in told.stderr
    return told.stderr


def test_a_node_may_take_and_give_anything_that_kedro_knows(done):
    made = {name: json.loads(text) for name, text in done.datasets().items() if name.endswith("json")}
    assert made["low.json"] == 1 and made["higher.json"] == [11, 12, 16] and made["down.shifted.json"] == [0, 1, 5]
    assert {"least", "nested", "up", "down"} <= set(made["names.json"]) and "_base" not in made["names.json"]


def test_a_dataset_that_is_written_and_read_by_other_entries_is_one_in_the_graph(toy):
    toy.replace(
        "conf/base/catalog.yml", "clean: {type: pandas.ParquetDataset, filepath: data/made/clean.parquet}", CLEAN
    )
    toy.replace("toy/pipelines/first.py", '"clean")', '"clean@table")')
    toy.replace("toy/pipelines/first.py", '"clean", "params:options"', '"clean@table", "params:options"')
    toy.replace("toy/pipelines/second.py", '["clean",', '["clean@table",')
    toy.replace("toy/pipelines/second.py", '(label, "words"', '(label, "clean@text"')
    assert planned(toy, "--to-nodes", "label") == {"first": ["clean"], "second": ["label"]}
    toy.run()
    assert planned(toy, "--from-inputs", "clean")["second"] == ["scale", "total", "label"]
    assert (toy.root / "data/made/label.txt").read_text().startswith("KIND,SIZE")
    assert ran(toy.run("--params", "least=5.5")) >= {"clean", "label"}
    assert ran(toy.run("--params", "least=5.5")) == set()
    toy.replace("conf/base/catalog.yml", "clean@text:", "clean@txt:")
    assert "Node label names clean@text, which has no entry in the catalog. Did you mean clean@t" in refused(toy)


def test_all_parameters_as_an_input_make_the_node_run_again_when_one_changes(toy):
    assert ran(toy.run("--node", "spread", "--params", "up.by=11")) == {"spread"}


def test_pipelines(done):
    assert planned(done, "--pipeline=first") == {"first": ["clean", "count"]}
    assert list(planned(done, "-p", "first", "--pipelines", "second,third")) == ["first", "second", "third"]
    assert planned(done, "--pipeline", "__default__") == planned(done)


def test_short_name_of_a_pipeline(done):
    assert planned(done, "-p", "f") == planned(done, "-p", "fir") == planned(done, "-p", "first")
    assert "Unknown pipeline 'frist'. Did you mean first?" in refused(done, "-p", "frist")


def test_nodes(done):
    assert planned(done, "--node=clean") == planned(done, "-n", "clean") == {"first": ["clean"]}
    assert planned(done, "--nodes", "clean,count", "--node", "up.shift") == {
        "first": ["clean", "count"],
        "third": ["up.shift"],
    }
    assert "Unknown node 'shift'. Did you mean down.shift or up.shift?" in refused(done, "-n", "shift")


def test_tags(done):
    texts = {"first": ["count"], "second": ["label"], "third": ["report"]}
    assert planned(done, "--tags", "text") == planned(done, "--tag=text") == planned(done, "-t", "text") == texts
    assert planned(done, "-t", "last,text") == texts | {"third": ["report", "down.shift"]}
    assert "Unknown tag 'txt'. Did you mean text?" in refused(done, "-t", "txt")


def test_namespaces(done):
    assert planned(done, "-ns", "up") == planned(done, "--namespaces=up") == {"third": ["up.shift"]}
    assert planned(done, "--namespace", "up,down") == {"third": ["up.shift", "down.shift"]}
    assert "Unknown namespace 'upp'. Did you mean up?" in refused(done, "-ns", "upp")


def test_from_nodes_to_nodes(done):
    assert planned(done, "--from-nodes", "scale") == {"second": ["scale", "total"], "third": ["report"]}
    assert planned(done, "--to-nodes", "total") == {"first": ["clean"], "second": ["scale", "total"]}
    assert planned(done, "--from-nodes", "clean", "--to-nodes", "total") == planned(done, "--to-nodes", "total")


def test_from_inputs_to_outputs(done):
    assert planned(done, "--from-inputs", "total") == {"third": ["report"]}
    assert "scaled, which second makes but the catalog does not keep. Select node scale" in refused(
        done, "--from-inputs", "scaled"
    )
    assert planned(done, "--from-inputs", "params:factor", "--to-outputs", "total") == {"second": ["scale", "total"]}
    assert planned(done, "--to-outputs", "counts") == {"first": ["clean", "count"]}
    assert "Unknown dataset 'scald'. Did you mean scaled?" in refused(done, "--from-inputs", "scald")


def test_several_options_mean_what_they_have_in_common(done):
    assert planned(done, "-p", "third", "-t", "text,copy", "--from-inputs", "numbers") == {
        "third": ["up.shift", "down.shift"]
    }
    message = refused(done, "--tags", "copy", "--to-nodes", "total")
    assert "--to-nodes total leaves no node of what --tags copy selected." in message
    message = refused(done, "--pipeline", "second", "--node", "clean")
    assert "Node clean is in pipeline first, which was not chosen (second)." in message


def test_a_slice_cuts_stages_and_only_that_runs(toy):
    record = toy.run("--from-nodes", "count", "--force")
    assert ran(record) == {"count", "report"}
    assert record["selection"] == {"from_nodes": ["count"]}
    assert [s["name"] for s in record["stages"]] == ["first", "third"]


def test_only_missing_outputs(toy):
    for name in ("label.txt", "total.csv"):
        (toy.root / "data/made" / name).unlink()
    toy.replace("conf/base/parameters.yml", "least: 2.5", "least: 3.5")  # which it does not look at
    assert planned(toy, "--only-missing-outputs") == {"second": ["scale", "total", "label"]}
    told = toy.pokeml("run", "--only-missing-outputs", "--dry-run").stdout
    assert "left out 6 nodes (" in told and "nothing else was looked at" in told
    assert ran(toy.run("--only-missing-outputs")) == {"scale", "total", "label"}  # scaled is not kept, and needed


def test_only_missing_outputs_where_none_is_missing(toy):
    assert planned(toy, "--only-missing-outputs") == {}
    told = toy.pokeml("run", "--only-missing-outputs")
    assert told.returncode == 0 and "left out 9 nodes" in told.stdout
    assert (toy.record()["status"], toy.record()["stages"]) == ("completed", [])


def test_env(toy):
    toy.write("conf/prod/parameters.yml", "least: 4.5\n")
    assert ran(toy.run("--env=prod", "-n", "clean")) == {"clean"}
    assert toy.record()["env"] == "prod" and toy.record()["parameters"]["least"] == 4.5
    assert "Unknown environment 'prdo'. Did you mean prod?" in refused(toy, "-e", "prdo")


@pytest.mark.parametrize(
    "typed",
    [
        "least:3.5,nested.offset:0.5",
        "least=3.5,nested.offset=0.5",
        "@more.yml",
        "nested={offset: 0.5, other: [1, 2]},least=3.5",
    ],
)
def test_params(done, typed):
    done.write("more.yml", "least: 3.5\nnested:\n  offset: 0.5\n")
    told = json.loads(done.pokeml("run", "--dry-run", "--json", "--params", typed).stdout)
    nodes = {n["name"]: n["why"] for s in told["stages"] for n in s["nodes"]}
    assert nodes["clean"] == ["least 2.5 → 3.5 (--params)"]
    assert any("nested.offset 0.3 → 0.5" in why for why in nodes["total"])


def test_config_file(toy):
    toy.write("run.yml", "run:\n  pipeline: first\n  tags: [text]\n  env: prod\n  params:\n    options: {note: new}\n")
    assert planned(toy, "--config", "run.yml") == {"first": ["count"]}
    assert planned(toy, "-c", "run.yml", "--tags", "copy", "-p", "third") == {"third": ["up.shift", "down.shift"]}
    toy.write("flat.yml", "node: [clean, count]\nforce: true\nlabel: from a file\nparams: {least: 1.5}\n")
    record = toy.run("-c", "flat.yml", "--params", "options.note=typed")
    assert ran(record) == {"clean", "count"} and record["label"] == "from a file"
    assert record["params"] == {"least": 1.5, "options.note": "typed"}
    again = toy.pokeml("runs", "show").stdout
    assert "from a file" in again


def test_config_file_with_a_mistake(done):
    for text, message in [
        ("run:\n  pipelin: first\n", "run.yml, line 2: unknown option 'pipelin'. Did you mean pipeline?"),
        ("tags: text\nnode: 3\n", "run.yml, line 2: node must be a text or a list of texts; it is 3."),
        ("dry_run: maybe\n", "run.yml, line 1: dry_run must be true or false; it is 'maybe'."),
        ("params: 3\n", "run.yml, line 1: params must be a text or a list of texts; it is 3."),
        ("tags: [\n", "run.yml"),
    ]:
        done.write("run.yml", text)
        assert message in refused(done, "-c", "run.yml")


@pytest.mark.parametrize("engine", ["pokeml", "papermill", "inline"])
def test_conf_source(toy, engine):
    (toy.root / "conf").rename(toy.root.parent / "elsewhere")
    other = toy.root.parent / "elsewhere" / "base"
    (other / "parameters.yml").write_text((other / "parameters.yml").read_text().replace("least: 2.5", "least: 6.5"))
    record = toy.run("--conf-source", "../elsewhere", "-n", "clean", "--engine", engine)
    assert ran(record) == {"clean"} and record["parameters"] == {"least": 6.5}
    (other / "logging.yml").write_text("version: 3\n")
    assert "elsewhere/base/logging.yml" in refused(toy, "--conf-source", "../elsewhere", "-n", "clean", "--force")
    assert "is no folder" in refused(toy, "--conf-source", "settings.ini")
    assert "is no folder" in refused(toy, "--conf-source", "nowhere")


def test_load_version(toy):
    toy.replace("conf/base/catalog.yml", "made/counts.json}", "counts/counts.json, versioned: true}")
    old, new = toy.run("--to-nodes", "report"), toy.run("--to-nodes", "report", "--params", "options.kinds.b=q")
    assert "'b': 0" in (toy.root / "data/made/report.txt").read_text() and old["id"] < new["id"]
    record = toy.run("--node", "report", "--load-version", f"counts:{old['id']}")
    assert ran(record) == {"report"} and record["load_versions"] == {"counts": old["id"]}
    assert "'b': 2" in (toy.root / "data/made/report.txt").read_text()
    assert "--load-versions takes name:version, but got 'clean'" in refused(toy, "-lv", "clean")
    assert "nknown dataset 'claen'. Did you mean clean?" in refused(toy, "-lv", "claen:x")
    assert "counts" in refused(toy, "--load-versions", "counts:2020-01-01T08.00.00.000Z", "-n", "report")


def test_label(toy):
    record = toy.run("--label", "one more time", "-p", "first")
    assert record["label"] == "one more time"
    assert "one more time " in toy.pokeml("runs", "list").stdout.splitlines()[0]


def test_json_is_all_that_is_printed(toy):
    told = toy.pokeml("run", "--node", "clean", "--force", "--json")
    assert json.loads(told.stdout) == toy.record() and told.stderr == ""
    assert json.loads(toy.pokeml("runs", "show", "--json").stdout) == toy.record()
    listed = json.loads(toy.pokeml("runs", "list", "--json").stdout)
    assert len(listed) == 2 and listed[0] == toy.record()
    info = json.loads(toy.pokeml("info", "--json").stdout)
    assert [n["name"] for n in info["pipelines"]["third"]] == NODES
    up = info["pipelines"]["third"][2]
    assert (up["tags"], up["namespace"], up["inputs"]) == (["copy"], "up", ["numbers", "params:up.by"])
    toy.write("data/numbers.json", "[]")
    failed = toy.pokeml("run", "--node", "spread", "--json")
    assert failed.returncode == 1 and json.loads(failed.stdout)["error"]["node"] == "spread"


def test_the_way_on_gives_the_whole_command_again(toy):
    toy.write("data/numbers.json", "[]")
    failed = toy.pokeml("run", "--to-nodes", "spread", "--env", "prod", "--params", "up.by=12", "--label", "a try")
    assert failed.returncode == 1
    way = "pokeml run --to-nodes spread --env prod --params up.by=12 --label 'a try'"
    assert way in failed.stderr


def test_records_of_the_first_format_are_read(toy):
    record = toy.record()
    del record["selection"], record["label"], record["load_versions"], record["conf_source"]
    toy.records()[-1].write_text(json.dumps(record | {"pipelines": ["first"], "nodes": [], "schema": 1}))
    assert json.loads(toy.pokeml("runs", "show", "--json").stdout)["selection"] == {"pipelines": ["first"]}


def test_keep_going_is_part_of_the_way_on(toy):
    toy.replace("toy/pipelines/first.py", "rule = Rule(least)", "rule = Rule(least / 0)")
    failed = toy.pokeml("run", "--keep-going", "--engine", "inline", "--force")
    way = failed.stderr.splitlines()[-1]
    assert failed.returncode == 1 and "pokeml run" in way and "--keep-going" in way
    states = {n["name"]: n["status"] for s in toy.record()["stages"] for n in s["nodes"]}
    assert states["clean"] == "failed" and states["down.shift"] == states["spread"] == "ran"
    assert "ran" not in (states.get("count"), states.get("report"))


def test_what_only_kedro_has_is_explained(done):
    for option in (["--runner", "ParallelRunner"], ["-r", "ThreadRunner"], ["--async"], ["--parallel"]):
        assert f"{option[0] if option[0] != '-r' else '--runner'} is Kedro's." in refused(done, *option)
    assert "--timeout takes a number of seconds above 0, but got nan" in refused(done, "--timeout", "nan")


@pytest.mark.parametrize(
    "line, wanted",
    [
        ("pokeml run -p f", {"first"}),
        ("pokeml run --node up", {"up.shift"}),
        ("pokeml run --to-nodes clean,co", {"clean,count"}),
        ("pokeml run --tags l", {"last"}),
        ("pokeml run -ns d", {"down"}),
        ("pokeml run --from-inputs params:u", {"params:up.by"}),
        ("pokeml run --to-outputs down", {"down.shifted"}),
        ("pokeml run --env p", {"prod"}),
    ],
)
def test_completion_knows_the_names_and_imports_nothing(done, line, wanted):
    words = {"_POKEML_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    told = subprocess.run(
        [sys.executable, "-c", "from pokeml.cli import main; main(prog_name='pokeml')"],
        cwd=done.root,
        env=done.env | words,
        capture_output=True,
        text=True,
    )
    assert {text.partition(",")[2] for text in told.stdout.splitlines()} == wanted, told.stderr
    assert not HEAVY & modules(done, **words)


@pytest.mark.parametrize(
    "old, new, told",
    [
        (
            "pipeline = Pipeline([",
            "def create_pipeline():\n  return Pipeline([",
            "with `pipeline = create_pipeline()`.",
        ),
        ("from pokeml.pipeline", "from kedro.pipeline", "The `pipeline` of toy.pipelines.first is Kedro's. Import Pip"),
        ("pipeline = Pipeline(", "others = Pipeline(", "with `pipeline = Pipeline([node(…)])`."),
    ],
)
def test_a_pipeline_as_kedro_has_it_is_told_how_to_become_one_of_pokeml(tmp_path, old, new, told):
    toy = Toy(tmp_path / "project")
    toy.replace("toy/pipelines/first.py", old, new)
    done = toy.pokeml("run", "--dry-run")
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
