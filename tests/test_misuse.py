"""What is wrong is refused before anything runs: status 2, one message, no traceback, nothing written."""

import json
import shutil

import pytest

RAW = "data/01_raw/pokemon.csv"
NOTEBOOK = "nbs/stages/01_pre_processing.ipynb"
PARAMETERS = "conf/base/pipelines/data_engineering/parameters.yml"


def refused(copy, *arguments: str, **where) -> str:
    done = copy.pokeml("run", *arguments, **where)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert copy.written() == []
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pipeline", "data_sience"], "Unknown pipeline 'data_sience'. Did you mean data_science?"),
        (["--node", "clean_dat"], "Unknown node 'clean_dat'. Did you mean clean_data?"),
        (["--node=clean_data", "--pipeline=metrics"], "Node clean_data is in pipeline pre_processing"),
        (["--params", "test_data_ration=0.2"], "Unknown parameter 'test_data_ration' (--params). Did you mean"),
        (["--params", "primary_type_models.sk_learn_dt.clasifier=x"], "sk_learn_dt.classifier"),
        (["--params", "test_data_ratio=many"], "Parameter test_data_ratio is 'many', which node split_data"),
        (["--params", "generations=1"], "Parameter generations is 1, which node clean_data"),
        (["--params", "generations=[1, two]"], "Parameter generations.1 is 'two'"),
        (["--params", "test_data_ratio"], "--params takes name=value"),
        (["--env", "prd"], "Unknown environment 'prd'"),
        (["--node", ""], "--node was given an empty name"),
        (["--pipeline", ","], "--pipeline was given an empty name"),
    ],
)
def test_choice(copy, arguments, message):
    assert message in refused(copy, *arguments)


def test_option_unknown_to_the_command(copy):
    done = copy.pokeml("run", "--piepline", "metrics")
    assert done.returncode == 2 and "'--pipeline'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (PARAMETERS, "test_data_ratio: [0.3\n", f"{PARAMETERS}, line 2 is not valid YAML"),
        (PARAMETERS, "test_data_ration: 0.3\n", "no node takes the parameter 'test_data_ration'"),
        (
            PARAMETERS,
            "# nothing\n",
            "Node split_data takes the parameter test_data_ratio, which no parameters file sets",
        ),
        (PARAMETERS, "test_data_ratio: high\n", f"It is set in {PARAMETERS}, line 1"),
        ("conf/local/parameters.yml", "test_data_ratoi: 0.3\n", "conf/local/parameters.yml, line 1: no node takes"),
        (
            "conf/base/parameters_b.yml",
            "random_state: 2\n",
            "'random_state' is defined twice: in conf/base/parameters.yml",
        ),
        (
            "conf/local/catalog.yml",
            "model_input:\n  type: pandas.Parket\n",
            "unknown type 'pandas.Parket'. Did you mean",
        ),
        (
            "conf/local/catalog.yml",
            "x:\n  type: text.TextDataset\n  filepth: a\n",
            "conf/local/catalog.yml, line 3: dataset",
        ),
        ("conf/local/catalog.yml", "x: 3\n", "an entry is a mapping"),
        ("conf/local/catalog.yml", "1: 3\n", "conf/local/catalog.yml, line 1: a name is a text, but 1 is none"),
        ("conf/local/parameters.yml", "random_state: ${oc.env:HOME}\n", "line 1: random_state reads an environment"),
        (
            "settings.ini",
            "[pokeml]\npackage = pokeml\noutputz = out\n",
            "unknown setting 'outputz'. Did you mean outputs?",
        ),
        ("settings.ini", "[other]\n", "No pokeml project here"),
        ("settings.ini", "[pokeml]\npackage = pokeml\nenv = prdo\n", "Unknown environment 'prdo'"),
        ("outputs", "a file", "outputs/logs cannot be written"),
        (
            "conf/local/catalog.yml",
            "cleaning_report: {type: text.TextDataset, filepath: settings.ini}\n",
            "must be a file in data/",
        ),
        (RAW, "", f"({RAW}; conf/base/catalog.yml, line 3): the file is empty"),
    ],
)
def test_file(copy, file, text, message):
    if (copy.root / file).is_dir():
        shutil.rmtree(copy.root / file)
    copy.write(file, text)
    assert message in refused(copy)


def test_raw_file_missing(copy):
    (copy.root / RAW).unlink()
    assert f"Dataset pokemon_database ({RAW}; conf/base/catalog.yml, line 3): the file is missing" in refused(copy)


def test_raw_file_without_rows(copy):
    header = (copy.root / RAW).read_text("utf-8").splitlines()[0]
    copy.write(RAW, header + "\n")
    assert "has a header and no rows" in refused(copy)


def test_raw_file_with_a_misspelt_column(copy):
    copy.replace(RAW, "percentage_male", "percent_male")
    message = refused(copy)
    assert "no column 'percentage_male'. Did you mean percent_male?" in message and "Its columns: abilities" in message


def test_dataset_that_another_stage_needs_is_not_kept(copy):
    catalog = "conf/base/pipelines/pre_processing/catalog.yml"
    copy.replace(catalog, "pokemon_clean:", "pokemon_cleaned:")
    message = refused(copy)
    assert "reads pokemon_clean, which pre_processing makes but the catalog does not keep" in message
    assert catalog in message


def test_dataset_that_is_not_there_yet(copy):
    message = refused(copy, "--pipeline", "data_science")
    assert "is not there yet" in message and "First: pokeml run" in message


def edit_pipeline(copy, module: str, old: str, new: str) -> None:
    """Change the module and its notebook alike, as an export would."""
    copy.replace(f"pokeml/pipelines/{module[3:]}.py", old, new)
    copy.replace(f"nbs/pipelines/{module}.ipynb", json.dumps(old)[1:-1], json.dumps(new)[1:-1])


def test_two_nodes_write_one_dataset(copy):
    edit_pipeline(copy, "04_metrics", '"confusion_matrix"', '"classification_metrics"')
    assert "Two nodes write classification_metrics: " in refused(copy)


def test_nodes_go_round_in_a_circle(copy):
    edit_pipeline(copy, "02_data_engineering", '"pokemon_clean"', '"X_train"')
    assert "The nodes go round in a circle" in refused(copy)


def test_module_that_cannot_be_imported(copy):
    edit_pipeline(copy, "04_metrics", "import pandas as pd", "import pandsa as pd")
    message = refused(copy)
    assert "No module named 'pandsa'" in message and "pokeml/pipelines/metrics.py, line " in message


def test_stage_notebook_without_tag(copy):
    copy.replace(NOTEBOOK, '"parameters"', '"parameter"')
    assert f"{NOTEBOOK} has no cells tagged `parameters`" in refused(copy)


def test_stage_notebook_that_does_not_parse(copy):
    copy.write(NOTEBOOK, '{"cells": [')
    assert f"{NOTEBOOK} is not a notebook that can be read" in refused(copy)


def test_stage_notebook_that_forgets_a_node(copy):
    copy.replace(NOTEBOOK, 'stage.run(\\"report_cleaning\\")', "{}")
    assert f"{NOTEBOOK} runs no node report_cleaning" in refused(copy)


def test_stage_notebook_for_a_kernel_that_is_not_there(copy):
    copy.replace(NOTEBOOK, '"name": "python3"', '"name": "python2"')
    assert f"{NOTEBOOK} wants the kernel 'python2'" in refused(copy)


def test_stage_notebook_missing(copy):
    (copy.root / NOTEBOOK).unlink()
    assert "Pipeline pre_processing needs one notebook nbs/stages/NN_pre_processing.ipynb" in refused(copy)


def test_notebook_changed_and_not_exported(copy):
    copy.replace("nbs/pipelines/01_pre_processing.ipynb", "def clean_data(", "def clean_data_(")
    message = refused(copy)
    assert "pokeml.pipelines.pre_processing are out of step" in message and "nbdev-export" in message


def test_module_edited_by_hand(copy):
    copy.replace("pokeml/pipelines/metrics.py", "accuracy", "acuracy")
    assert "pokeml.pipelines.metrics are out of step" in refused(copy)


def test_module_whose_notebook_is_gone(copy):
    (copy.root / "nbs/pipelines/04_metrics.ipynb").unlink()
    assert "pokeml/pipelines/metrics.py was exported from a notebook that is gone" in refused(copy)


def test_outside_any_project(copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    done = copy.pokeml("run", cwd="../elsewhere")
    assert done.returncode == 2 and "No pokeml project here" in done.stderr and "POKEML_PROJECT" in done.stderr
