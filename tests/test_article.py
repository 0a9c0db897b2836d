"""The commands and the configuration of the article that this project answers work as they are printed there."""

import json

import pytest

# The entries and values of the article's project, in its spelling.
CATALOG = """
pokemon_database:
  type: pandas.CSVDataSet
  filepath: data/01_raw/pokemon.csv

model_input:
  type: pandas.CSVDataSet
  filepath: data/02_intermediate/model_input.csv
  load_args: {index_col: pokedex_number}   # ours: predictions are paired by it
  save_args: {index: true}

label_encoder:
  type: pickle.PickleDataSet
  filepath: data/05_model_input/label_encoder.pickle
  trusted: true   # ours: loading it runs code from it
"""
PARAMETERS = """
test_data_ratio: 0.3

# Models
primary_type_models:
  sk_learn_dt:
    classifier: sklearn.tree.DecisionTreeClassifier
    params: {
      'max_depth': [10, 50, 100, 200],
      'min_samples_leaf': [5, 15, 25, 30]
      }
"""


def nodes_of(project):
    stages = json.loads(project.records()[-1].read_text("utf-8"))["stages"]
    return {n["name"]: n["status"] for s in stages for n in s["nodes"]}


@pytest.fixture
def article(copy):
    copy.use_sample()
    copy.write("conf/local/catalog.yml", CATALOG)
    copy.write("conf/local/parameters.yml", PARAMETERS)
    return copy


def test_the_articles_catalog_and_parameters_as_printed(article):
    done = article.pokeml("run", "--engine", "inline")
    assert done.returncode == 0, done.stderr
    assert (article.root / "data/02_intermediate/model_input.csv").is_file()
    assert (article.root / "data/05_model_input/label_encoder.pickle").is_file()
    assert set(nodes_of(article).values()) == {"ran"}


def test_the_articles_commands_as_printed(article):
    assert article.pokeml("run", "--node=clean_data").returncode == 0
    assert [n for n, status in nodes_of(article).items() if status == "ran"] == ["clean_data"]
    done = article.pokeml("run", "--pipeline=data_engineering")
    assert done.returncode == 0, done.stderr
    assert set(nodes_of(article)) == {"create_model_input", "split_data"}
