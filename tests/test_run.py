"""A whole run, from the raw table to scores."""

import hashlib
import json

import nbformat
import pandas as pd
import pytest
import xxhash
from conftest import Copy
from pydantic import TypeAdapter

from pokeml.location import LocalFolder
from pokeml.record import Run
from pokeml.store import Store

STAGES = ["pre_processing", "data_engineering", "data_science", "metrics", "predictor"]


def hashes(copy: Copy) -> dict[str, str]:
    return {
        name: hashlib.sha256((copy.root / name).read_bytes()).hexdigest()
        for name in copy.written()
        if name.startswith("data/")
    }


def record(copy: Copy) -> dict:
    return json.loads(copy.records()[-1].read_text("utf-8"))


def test_full_table_runs_through_all_stages(full):
    run = record(full)
    assert run["status"] == "completed"
    assert [s["name"] for s in run["stages"]] == STAGES
    assert all(n["status"] == "ran" for s in run["stages"] for n in s["nodes"])
    clean = run["stages"][0]["nodes"][0]
    assert (clean["inputs"][0]["rows"], clean["outputs"][0]["rows"]) == (1025, 667)  # generations 1 to 6, not legendary
    scores = run["metrics"]["classification_metrics"]
    assert scores["accuracy"] > 0.85 > 3 * scores["baseline_accuracy"]
    without = scores["without_against"]  # nobody is to take the leak for skill
    assert scores["accuracy"] > scores["accuracy_without_against"] == without["accuracy"] > scores["baseline_accuracy"]
    for world in (scores, without):
        found = world | world["other_scores"]
        assert all(ends["low"] <= found[name] <= ends["high"] for name, ends in world["intervals"].items())
    plots = {path.stem for path in (full.root / "data/08_reporting/validation_plots").iterdir()}
    assert len(plots) == 18 and plots >= set(scores["per_type"])
    assert f"accuracy {scores['accuracy']:.3f}" in full.stdout
    assert f"outputs/runs/{run['id']}" in full.stdout


def test_record_follows_its_schema_and_names_no_folder_of_the_machine(full):
    path = full.records()[-1]
    TypeAdapter(Run).validate_json(path.read_text("utf-8"), strict=True)
    for file in path.parent.rglob("*.*"):
        assert str(full.root).encode() not in file.read_bytes(), file.name


def test_record_names_the_bytes_that_went_in_and_came_out(full):
    for stage in record(full)["stages"]:
        for dataset in [d for n in stage["nodes"] for d in (*n["inputs"], *n["outputs"])]:
            file = full.root / dataset["path"]
            if file.is_dir():
                hashed = LocalFolder(file, "").fingerprint(Store(None))
            else:
                hashed = xxhash.xxh3_128_hexdigest(file.read_bytes())
            assert hashed == dataset["xxh3_128"], dataset["name"]


def test_executed_notebooks_are_whole_and_without_error(full):
    executed = sorted(full.records()[-1].parent.glob("*.ipynb"))
    assert [p.name[3:-6] for p in executed] == STAGES
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], path.name
        assert any("image/png" in o.get("data", {}) for o in outputs), f"{path.name} shows no picture"


def test_a_second_run_without_notebooks_gives_the_same_bytes(full, tmp_path):
    again = Copy(tmp_path / "again")
    assert again.pokeml("run", "-q", "--engine", "inline").returncode == 0
    theirs, ours = hashes(full), hashes(again)
    for name in ("predictor", "statistics_predictor"):  # say which run made them; `pokeml verify` compares them
        assert theirs.pop(f"data/06_models/{name}.skops") != ours.pop(f"data/06_models/{name}.skops")
    assert ours == theirs


def test_sample_in_kaggles_form_survives_to_the_end(sample):
    raw = pd.read_csv(sample.root / "data/01_raw/pokemon.csv")
    assert "japanese_name" in raw and raw["height_m"].isna().any() and raw["percentage_male"].isna().any()
    everything = ["--params", "generations=[1,2,3,4,5,6,7]", "--params", "remove_legendary=false"]
    done = sample.pokeml("run", "--engine", "inline", *everything)
    assert done.returncode == 0, done.stderr
    clean = pd.read_parquet(sample.root / "data/02_intermediate/pokemon_clean.parquet")
    assert len(clean) == len(raw)
    assert {"Flabébé", "Farfetch'd"} <= set(clean["name"])
    train, test = (pd.read_parquet(sample.root / f"data/05_model_input/X_{part}.parquet") for part in ("train", "test"))
    assert sorted([*train.index, *test.index]) == sorted(raw["pokedex_number"])


def test_values_given_for_one_run_reach_the_nodes_and_the_record(sample):
    some = ["-p", "pre_processing,data_engineering", "--engine", "inline"]
    done = sample.pokeml("run", *some, "--params", "test_data_ratio=0.5")
    assert done.returncode == 0, done.stderr
    run = record(sample)
    assert run["params"] == {"test_data_ratio": 0.5} and run["parameters"]["test_data_ratio"] == 0.5
    rows = {d["name"]: d["rows"] for d in run["stages"][1]["nodes"][1]["outputs"]}
    assert abs(rows["X_train"] - rows["X_test"]) <= 1


def test_environment_is_laid_over_base(sample):
    sample.write("conf/half/parameters.yml", "test_data_ratio: 0.5\n")
    some = ["-p", "pre_processing,data_engineering", "--engine", "inline"]
    assert sample.pokeml("run", *some, "--env", "half").returncode == 0
    assert record(sample)["env"] == "half" and record(sample)["parameters"]["test_data_ratio"] == 0.5


def test_one_node_runs_alone_and_the_cells_without_data_are_left_out(sample):
    assert sample.pokeml("run", "--pipeline=pre_processing").returncode == 0
    done = sample.pokeml("run", "--node=create_model_input")
    assert done.returncode == 0, done.stderr
    assert [n["name"] for n in record(sample)["stages"][0]["nodes"]] == ["create_model_input"]
    assert not (sample.root / "data/05_model_input/X_train.parquet").exists()
    executed = nbformat.read(sample.records()[-1].parent / "02_data_engineering.ipynb", as_version=4)
    text = "".join(o.get("text", "") for c in executed.cells for o in c.get("outputs", []))
    assert "Left out: node split_data was not selected" in text


def test_one_node_runs_alone_and_the_others_are_loaded(sample_done):
    before = hashes(sample_done)
    assert sample_done.pokeml("run", "--node", "split_data,evaluate", "--force").returncode == 0
    states = {n["name"]: n["status"] for s in record(sample_done)["stages"] for n in s["nodes"]}
    assert {"create_model_input", "predict_test", "plot_confusion", "plot_validation"} < set(states)
    assert {name for name, status in states.items() if status == "ran"} == {"split_data", "evaluate"}
    assert set(states.values()) == {"ran", "loaded"}
    assert hashes(sample_done) == before


def test_one_node_with_other_parameters_after_a_whole_run(sample):
    assert sample.pokeml("run", "-p", "pre_processing").returncode == 0
    done = sample.pokeml("run", "--node=clean_data", "--params", "generations=[1,2]")
    assert done.returncode == 0, done.stderr
    executed = (sample.records()[-1].parent / "01_pre_processing.ipynb").read_text("utf-8")
    assert "Left out: it compares what ran now with what node report_cleaning made before." in executed


def test_a_score_that_was_not_computed_is_not_claimed(sample_done):
    assert sample_done.pokeml("run", "--node", "plot_confusion", "--force").returncode == 0
    assert record(sample_done)["metrics"] == {}


def test_runs_are_listed_and_shown(full):
    listed = full.pokeml("runs", "list", cwd="nbs/stages").stdout
    assert listed.startswith("✓ ") and listed.count("\n") == 1 and "accuracy" in listed
    shown = full.pokeml("runs", "show", "latest", cwd="conf").stdout
    assert "pokemon_database 1,025 ×" in shown and "test_data_ratio = 0.3" in shown


def test_info_names_versions_root_and_pipelines(full):
    told = full.pokeml("info", cwd="data").stdout
    assert f"root {full.root}" in told and "fit_best_model: X_train, y_train" in told


@pytest.mark.parametrize("folder", ["nbs/stages", "/"])
def test_plain_papermill_runs_a_stage_from_any_folder(sample, folder):
    if folder == "/":  # outside the project, it has to be named
        sample.env["POKEML_PROJECT"] = str(sample.root)
    notebook = sample.root / "nbs/stages/01_pre_processing.ipynb"
    out = sample.root / "executed.ipynb"
    call = ["-m", "papermill", str(notebook), str(out), "-y", "{params: {generations: [1, 2]}}"]
    done = sample.python(*call, cwd=folder)
    assert done.returncode == 0, done.stderr
    clean = pd.read_parquet(sample.root / "data/02_intermediate/pokemon_clean.parquet")
    assert set(clean["generation"]) == {1, 2}
    assert sample.written() == ["data/02_intermediate/pokemon_clean.parquet", "data/08_reporting/cleaning_report.json"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "{params: {generatons: [1]}}",
            "Unknown parameter 'generatons' (params of this run). Did you mean generations?",
        ),
        ("{generations: [1]}", "papermill was given 'generations', which a stage does not take."),
        ("{params: {generations: one}}", "Parameter generations is 'one', which node clean_data does not take"),
    ],
)
def test_plain_papermill_refuses_what_a_stage_does_not_take(sample, given, told):
    notebook = sample.root / "nbs/stages/01_pre_processing.ipynb"
    out = sample.root / "executed.ipynb"
    done = sample.python("-m", "papermill", str(notebook), str(out), "-y", given)
    assert done.returncode == 1
    assert told in done.stderr
    assert sample.written() == []
