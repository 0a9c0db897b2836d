"""The predictor: rows as they come, a file that any program can load, the same answers as the pipeline's."""

import importlib
import inspect
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, Copy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

import pokeml
from pokeml.pipelines.pre_processing import STATS
from pokeml.predictor import TRUSTED, Predictor, dump_predictor, load_predictor

MODELS = "data/06_models"
KEYS = ["name", "prediction", "probability", "ranking", "warnings", "errors", "ignored"]


@pytest.fixture(scope="module")
def predictor(full: Copy) -> Predictor:
    """The predictor of a whole run."""
    return load_predictor(full.root / MODELS / "predictor.skops")


@pytest.fixture(scope="module")
def raw(full: Copy) -> pd.DataFrame:
    """The raw table, by pokedex_number."""
    return pd.read_csv(full.root / "data/01_raw/pokemon.csv").set_index("pokedex_number", drop=False)


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run Python with pokeml as it is here, in a folder that belongs to no project."""
    environment = {k: v for k, v in os.environ.items() if k != "POKEML_PROJECT"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["predictor", "statistics_predictor"])
def test_every_row_of_the_test_part_gets_the_answer_of_the_pipeline(full, raw, name):
    made = {"predictor": "predictions", "statistics_predictor": "statistics_predictions"}[name]
    predictions = pd.read_parquet(full.root / f"data/07_model_output/{made}.parquet")
    found = load_predictor(full.root / MODELS / f"{name}.skops")
    rows = raw.loc[predictions.index]
    before = rows.copy()
    table = found.predict(rows)
    pd.testing.assert_frame_equal(rows, before)
    assert table.index.equals(predictions.index) and len(table) == 201
    assert table["prediction"].tolist() == predictions["predicted_type"].tolist()
    np.testing.assert_allclose(table["probability"], predictions["probability"], rtol=0, atol=1e-12)
    probabilities = predictions[[f"p_{label}" for label in found.classes]].to_numpy()
    np.testing.assert_allclose(found.predict_proba(rows), probabilities, rtol=0, atol=1e-12)

    answers = found.predict(rows.to_dict("records"))  # one by one, and with what pandas makes of missing cells
    assert [answer["prediction"] for answer in answers] == table["prediction"].tolist()
    assert [answer["name"] for answer in answers] == rows["name"].tolist()
    one = found.predict(rows.iloc[0].to_dict())
    assert list(one) == KEYS and json.loads(json.dumps(one)) == one
    assert [answer["errors"] for answer in answers] == [[]] * 201
    assert {"type1", "type2", "generation"} <= set(one["ignored"])


def test_a_predictor_is_loaded_where_there_is_no_project(full, tmp_path, predictor):
    script = (
        "import sys, json, pokeml\n"
        "light = sorted({'numpy', 'pandas', 'sklearn', 'skops'} & set(sys.modules))\n"
        "import pokeml.predictor\n"
        "light += sorted({'numpy', 'pandas', 'sklearn', 'skops'} & set(sys.modules))\n"
        "found = pokeml.load_predictor(sys.argv[1])\n"
        "print(json.dumps([light, found.predict(found.example('pikachu')), found.card]))\n"
    )
    done = python("-W", "error", "-c", script, str(full.root / MODELS / "predictor.skops"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    light, answer, card = json.loads(done.stdout)
    assert light == [] and answer == predictor.predict(predictor.example("Pikachu"))
    assert answer["prediction"] == "electric" and answer["warnings"] == []
    run = json.loads(full.records()[0].read_text("utf-8"))
    assert card["run"] == run["id"] and card["versions"]["numpy"] == np.__version__
    assert card["scores"]["accuracy"] == run["metrics"]["classification_metrics"]["accuracy"]


def test_examples_say_which_part_they_were_in(predictor, full):
    examples = predictor.examples()
    assert examples["part"].value_counts().to_dict() == {"train": 466, "none": 358, "test": 201}
    assert predictor.example("Staryu")["percentage_male"] is None
    with pytest.raises(pokeml.PokemlError, match="no example 'Pikatchu'. Did you mean Pikachu?"):
        predictor.example("Pikatchu")


def test_the_list_of_what_is_trusted_is_complete_and_minimal(full):
    entry = yaml.safe_load((ROOT / "conf/base/pipelines/data_science/catalog.yml").read_text("utf-8"))
    models = entry["primary_type_classifier"]["trusted"]
    own = ["pokeml.predictor.Predictor", "pokeml.pipelines.predictor.read_rows"]
    own += ["pokeml.pipelines.data_engineering.make_features"]
    assert sorted(TRUSTED) == sorted([*own, *models])
    for trusted in TRUSTED:  # each names something that is there
        module, _, name = trusted.rpartition(".")
        assert hasattr(importlib.import_module(module), name), trusted
    for name in ("steps", "type_order"):  # and nothing that a candidate may be made of is forgotten
        module = importlib.import_module(f"pokeml.pipelines.models.{name}")
        classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
        bases = {base for cls in classes for base in cls.__bases__}
        leaves = {f"{c.__module__}.{c.__name__}" for c in classes if issubclass(c, BaseEstimator) and c not in bases}
        assert leaves <= set(models)


def changed(path: Path, target: Path, change) -> Path:
    """Copy a skops file with its schema changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "schema.json":
                schema = json.loads(data)
                change(schema)
                data = json.dumps(schema).encode()
            new.writestr(member, data)
    return target


def test_what_is_planted_in_a_file_is_refused_by_its_name(full, tmp_path):
    path, marker = full.root / MODELS / "predictor.skops", tmp_path / "ran"

    def function(schema: dict) -> None:
        schema["content"]["content"]["make"] |= {"__class__": "system", "__module__": "os"}

    def estimator(schema: dict) -> None:
        schema["content"]["content"]["model"] |= {"__class__": "Popen", "__module__": "subprocess"}

    for change, name in ((function, "os.system"), (estimator, "subprocess.Popen")):
        bad = changed(path, tmp_path / "bad.skops", change)
        with pytest.raises(pokeml.PokemlError, match=rf"bad.skops holds what nobody vouched for: {name}\. If"):
            load_predictor(bad)
    (tmp_path / "planted.py").write_text(f"open({str(marker)!r}, 'w')\ndef make(*_): ...\n")

    def module(schema: dict) -> None:
        schema["content"]["content"]["make"] |= {"__class__": "make", "__module__": "planted"}

    bad = changed(path, tmp_path / "bad.skops", module)
    done = python("-c", "import sys, pokeml; pokeml.load_predictor(sys.argv[1])", str(bad), cwd=tmp_path)
    assert "nobody vouched for: planted.make" in done.stderr and not marker.exists()


def test_damaged_and_foreign_files_are_refused(full, tmp_path):
    path, bad = full.root / MODELS / "predictor.skops", tmp_path / "bad.skops"
    data = path.read_bytes()
    for start in (0, 10, len(data) // 2, len(data) - 10):
        bad.write_bytes(data[:start])
        with pytest.raises(pokeml.PokemlError, match="bad.skops is no predictor's file, or is damaged"):
            load_predictor(bad)
    random = np.random.default_rng(0)
    for _ in range(30):  # a flipped byte is noticed, or changes nothing
        broken = bytearray(data)
        broken[random.integers(len(data))] ^= 255
        bad.write_bytes(broken)
        try:
            load_predictor(bad).predict({})
        except pokeml.PokemlError as error:
            assert "bad.skops" in str(error)
    with pytest.raises(pokeml.PokemlError, match="holds no predictor but a sklearn.pipeline.Pipeline"):
        load_predictor(full.root / MODELS / "primary_type_classifier.skops")
    with pytest.raises(pokeml.PokemlError, match="cannot be read: Is a directory"):
        load_predictor(tmp_path)

    def newer(schema: dict) -> None:
        schema["content"]["content"]["format"]["content"] = "2"

    with pytest.raises(pokeml.PokemlError, match="has format 2, and this version of pokeml reads 1"):
        load_predictor(changed(path, bad, newer))


def test_another_version_of_a_library_is_told(predictor, tmp_path):
    card = json.loads(json.dumps(predictor.card))
    card["versions"] |= {"scikit-learn": "1.0.2"}
    older = Predictor(predictor.columns, predictor.classes, predictor.model, predictor.read, predictor.make, card=card)
    (tmp_path / "old.skops").write_bytes(dump_predictor(older))
    with pytest.warns(UserWarning, match="made with scikit-learn 1.0.2, and this is 1.") as caught:
        load_predictor(tmp_path / "old.skops")
    assert len(caught) == 1


def test_rows_as_they_come(predictor, raw):
    good = predictor.example("Pikachu")
    wanted = predictor.predict(good)["ranking"]
    spellings = {
        "text": {key: None if value is None else str(value) for key, value in good.items()},
        "numpy": {key: np.float32(value) if isinstance(value, int) else value for key, value in good.items()},
        "list": good | {"abilities": ["Static", "Lightning Rod"]},
        "spelt otherwise": good | {"abilities": "['static', 'Lightning-Rod']"},
        "with its total": good | {"base_total": sum(good[stat] for stat in STATS)},
        "with more": good | {"japanese_name": "Pikachuピカチュウ", "capture_rate": "190", 3: None},
    }
    for name, row in spellings.items():
        answer = predictor.predict(row)
        assert answer["ranking"] == wanted and answer["errors"] == [], name
    assert predictor.predict(spellings["with its total"])["warnings"] == []
    assert predictor.predict(spellings["with more"])["ignored"] == ["japanese_name", "capture_rate", "3"]

    for change, message in {
        ("hp", True): "must be a whole number, got True",
        ("hp", 35.5): "must be a whole number, got 35.5",
        ("hp", float("inf")): "must be a whole number, got inf",
        ("hp", 1000): "must be 1 to 255, got 1000",
        ("hp", "many"): "must be a whole number, got 'many'",
        ("hp", pd.NA): "is missing",
        ("hp", float("nan")): "is missing",
        ("against_fire", 3): "must be one of 0, 0.25, 0.5, 1, 2, 4, got 3",
        ("abilities", "Static"): "must be a list such as",
        ("height_m", -1): "must be 0 to 10000, got -1",
        ("weight_kg", "1e999"): "must be a number, got '1e999'",
    }.items():
        answer = predictor.predict(good | dict([change]))
        assert answer["prediction"] is None and answer["ranking"] == []
        assert [error["column"] for error in answer["errors"]] == [change[0]]
        assert message in answer["errors"][0]["message"]
    for change, message in {
        ("weight_kg", 9000): "is 9000; in training it was 0.1 to",
        ("weight_kg", None): "is missing: the median of the training part is taken",
        ("base_total", 300): "is 300, but the six stats sum to 320",
        ("abilities", "['Moonwalk']"): "'Moonwalk': not seen in training, and left out",
        ("against_fire", 4): "are not those of any one or two types",
    }.items():
        answer = predictor.predict(good | dict([change]))
        assert answer["prediction"] and message in answer["warnings"][0]["message"]


def test_tables_of_all_kinds_get_the_same_answers(predictor, raw):
    rows = raw.loc[[25, 120, 6, 800]].set_index(pd.Index(list("abcd")))
    wanted = predictor.predict(rows)
    kinds = {
        "text": rows.astype(object).where(rows.notna(), None).map(lambda v: v if v is None else str(v)),
        "nullable": rows.convert_dtypes(),
        "pyarrow": rows.convert_dtypes(dtype_backend="pyarrow"),
        "object": rows.astype(object),
        "category": rows.astype({"abilities": "category"}),
        "other order": rows[sorted(rows, reverse=True)],
    }
    for name, table in kinds.items():
        before = table.copy()
        pd.testing.assert_frame_equal(predictor.predict(table), wanted, obj=name)
        pd.testing.assert_frame_equal(table, before)
    assert wanted.index.tolist() == list("abcd") and "type1" in wanted.attrs["ignored"]
    twice = predictor.predict(pd.concat([rows, rows[["hp"]]], axis=1))
    assert twice["prediction"].isna().all() and set(twice["errors"]) == {"hp is there 2 times; keep one"}
    flags = predictor.predict(rows.assign(hp=True))
    assert set(flags["errors"]) == {"hp must be a whole number, got True"}
    assert predictor.predict(rows.head(0)).empty and predictor.predict([]) == []
    stacked = pd.concat([rows] * 2500)  # an index that is not unique, and more than one block
    assert predictor.predict(stacked)["prediction"].tolist() == wanted["prediction"].tolist() * 2500


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(changes={"hp": 10**400, "abilities": "[" * 5000}, spare=True)
@example(changes={"abilities": ["a", 3], "name": ["x"], "weight_kg": "９"}, spare=True)
@example(changes={"abilities": [], "hp": [35], "attack": {"a": 1}, "against_bug": -0.0}, spare=True)
@given(
    changes=st.dictionaries(
        st.sampled_from(["hp", "base_total", "weight_kg", "percentage_male", "against_fire", "abilities", "name"])
        | st.text(max_size=4),
        json_like,
        max_size=5,
    ),
    spare=st.booleans(),
)
def test_any_mapping_gets_an_answer_or_errors(predictor, changes, spare):
    row = (predictor.example("Pikachu") if spare else {}) | changes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = predictor.predict(row)
        [same] = predictor.predict([row])
    assert list(answer) == KEYS and repr(same) == repr(answer)
    assert (answer["prediction"] is None) == bool(answer["errors"]) == (answer["ranking"] == [])
    if answer["prediction"]:
        assert answer["prediction"] in predictor.classes and 0 < answer["probability"] <= 1
    json.dumps(answer, allow_nan=False)
