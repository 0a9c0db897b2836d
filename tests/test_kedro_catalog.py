"""One catalog serves Kedro and pokeml: a catalog as in Kedro's public starter spaceflights, with a few rows of our own.

What either has written, the other loads, and both load the same: every kind, versions, patterns, credentials. Kedro's
`polars.CSVDataset` is left out, for it asks polars 2 for an option that this no longer has.
"""

import os
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.express as px
import polars as pl
import pytest
import yaml
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression

from pokeml.catalog import Catalog, load_catalog
from pokeml.config import load_config
from pokeml.dataset import Dataset, MissingLibrary
from pokeml.project import PokemlError, find_project

os.environ |= {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"}

CATALOG = """\
_csv: &csv
  type: pandas.CSVDataset
companies:
  <<: *csv
  filepath: data/01_raw/companies.csv
reviews:
  type: pandas.CSVDataset
  filepath: data/01_raw/reviews.csv
  load_args: {index_col: id}
  save_args: {index: true}
shuttles:
  type: pandas.ExcelDataset
  filepath: data/01_raw/shuttles.xlsx
  load_args: {engine: openpyxl}
"preprocessed_{name}":
  type: pandas.ParquetDataset
  filepath: data/02_intermediate/preprocessed_{name}.parquet
model_input_table@pandas:
  type: pandas.ParquetDataset
  filepath: data/03_primary/model_input_table.parquet
model_input_table@polars:
  type: polars.EagerPolarsDataset
  file_format: parquet
  filepath: data/03_primary/model_input_table.parquet
regressor:
  type: pickle.PickleDataset
  filepath: data/06_models/regressor.pickle
  versioned: true
  metadata:
    kedro-viz: {layer: models}
    pokeml: {trusted: true}
joblib_regressor:
  type: pickle.PickleDataset
  backend: joblib
  filepath: data/06_models/regressor.joblib
  metadata: {pokeml: {trusted: true}}
metrics:
  type: json.JSONDataset
  filepath: data/08_reporting/metrics.json
  versioned: true
passengers:
  type: plotly.PlotlyDataset
  filepath: data/08_reporting/passengers.json
  plotly_args:
    type: bar
    fig: {x: shuttle_type, y: price, orientation: v}
    layout: {title: Price by type}
figure:
  type: plotly.JSONDataset
  filepath: data/08_reporting/figure.json
notes:
  type: text.TextDataset
  filepath: data/08_reporting/notes.txt
settings:
  type: yaml.YAMLDataset
  filepath: data/08_reporting/settings.yml
table_json:
  type: pandas.JSONDataset
  filepath: data/08_reporting/table.json
feather:
  type: pandas.FeatherDataset
  filepath: data/08_reporting/table.feather
sheets:
  type: pandas.ExcelDataset
  filepath: data/08_reporting/sheets.xlsx
  load_args: {sheet_name: null}
months:
  type: partitions.PartitionedDataset
  path: data/02_intermediate/months
  dataset: pandas.CSVDataset
  filename_suffix: .csv
sold:
  type: pandas.SQLTableDataset
  table_name: sold
  credentials: shop
  save_args: {if_exists: replace}
cached:
  type: CachedDataset
  dataset: {type: json.JSONDataset, filepath: data/08_reporting/cached.json}
mail:
  type: email.EmailMessageDataset
  filepath: data/08_reporting/mail.eml
generic:
  type: pandas.GenericDataset
  file_format: csv
  filepath: data/08_reporting/generic.csv
  save_args: {index: false}
svm:
  type: svmlight.SVMLightDataset
  filepath: data/08_reporting/rows.svm
  versioned: true
"{default}":
  type: pickle.PickleDataset
  filepath: data/tmp/{default}.pickle
  metadata: {pokeml: {trusted: true}}
"""
CREDENTIALS = "shop: {con: 'sqlite:///data/shop.db'}\n"

companies = pd.DataFrame(
    {"id": [35029, 30292], "company_rating": ["100%", None], "company_location": ["Niue", "São Tomé"]}
)
shuttles = pd.DataFrame({"id": [63561, 36260], "shuttle_type": ["Type V5", "Type F5"], "price": [1325.0, 1780.5]})
reviews = pd.DataFrame({"review_scores_rating": [97.0, np.nan]}, index=pd.Index([77096, 38821], name="id"))
model = LinearRegression().fit([[0.0], [1.0]], [0.5, 2.5])
mail = EmailMessage()
mail["Subject"] = "Departure"
mail.set_content("Gate 5\n")
VALUES = {
    "companies": companies,
    "reviews": reviews,
    "shuttles": shuttles,
    "preprocessed_companies": companies.assign(company_rating=[1.0, np.nan]),
    "model_input_table@pandas": shuttles.merge(companies, how="left"),
    "regressor": model,
    "joblib_regressor": model,
    "metrics": {"r2_score": 0.46, "mae": 298.0},
    "passengers": shuttles,
    "figure": px.line(shuttles, x="id", y="price"),
    "notes": "Nidoran♀\n",
    "settings": {"test_size": 0.2, "features": ["engines", "é"]},
    "table_json": shuttles,
    "feather": shuttles,
    "sheets": {"one": shuttles, "two": companies},
    "months": {"2026/01": shuttles, "2026/02": companies},
    "sold": shuttles,
    "cached": {"a": [1, 2]},
    "mail": mail,
    "generic": shuttles,
    "svm": (np.array([[0.0, 1.5], [2.0, 0.0]]), np.array([1.0, -1.0])),
    "anything_else": {1, 2},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with this catalog; Kedro takes paths from the current folder."""
    for path, text in {
        "settings.ini": "[pokeml]\npackage = spaceflights\n",
        "conf/base/catalog.yml": CATALOG,
        "conf/local/credentials.yml": CREDENTIALS,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return find_project(tmp_path)


def kedros(**versions):
    """Open the catalog with Kedro."""
    from kedro.io import DataCatalog
    from kedro_datasets.pandas import SQLTableDataset

    SQLTableDataset.engines.clear()  # it goes on with the file of the test before
    entries = {name: entry for name, entry in yaml.safe_load(CATALOG).items() if not name.startswith("_")}
    return DataCatalog.from_config(entries, yaml.safe_load(CREDENTIALS), **versions)


def ours(project, **versions) -> Catalog:
    """Open the catalog with pokeml."""
    return Catalog(load_config(project, "catalog"), project, yaml.safe_load(CREDENTIALS), **versions)


def as_plain(value):
    """Make a value comparable: tables as they are, the rest as text, numbers or mappings."""
    if isinstance(value, pl.DataFrame):
        return value.to_pandas()
    if isinstance(value, LinearRegression):
        return [*value.coef_, value.intercept_]
    if isinstance(value, dict):
        return {name: as_plain(inner() if callable(inner) else inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [as_plain(inner.toarray() if hasattr(inner, "toarray") else inner) for inner in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, EmailMessage):
        return value.as_string()
    return value.to_plotly_json()["layout"].get("title") if hasattr(value, "to_plotly_json") else value


def assert_same(one, other):
    """See that two values are the same, types and all."""
    one, other = as_plain(one), as_plain(other)
    assert type(one) is type(other)
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    else:
        assert one == other


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("writer", ["kedro", "pokeml"])
def test_what_one_writes_the_other_loads(project, name, writer):
    version = "2026-01-02T03.04.05.678Z"
    kedro, pokeml = kedros(save_version=version), ours(project, version=version)
    {"kedro": kedro, "pokeml": pokeml}[writer].save(name, VALUES[name])
    assert pokeml[name].exists()
    loaded = pokeml.load(name)
    assert_same(loaded, kedros().load(name))
    if name not in ("passengers", "figure"):
        assert_same(loaded, VALUES[name])


def test_both_write_the_same_files(project):
    version = "2026-01-02T03.04.05.678Z"
    kedro, pokeml = kedros(save_version=version), ours(project, version=version)

    def files() -> set[Path]:
        return {p.relative_to(project.root) for p in project.data.rglob("*") if p.is_file()}

    for name, value in VALUES.items():
        kedro.save(name, value)
    theirs = files()
    for path in theirs:
        path.unlink()
    for name, value in VALUES.items():
        pokeml.save(name, value)
    assert files() == theirs
    assert Path(f"data/06_models/regressor.pickle/{version}/regressor.pickle") in theirs


def test_versions_are_kedros(project):
    first, second = "2026-01-01T00.00.00.000Z", "2026-02-01T00.00.00.000Z"
    kedros(save_version=first).save("metrics", {"r2_score": 1.0})
    ours(project, version=second).save("metrics", {"r2_score": 2.0})
    assert kedros().load("metrics") == ours(project).load("metrics") == {"r2_score": 2.0}
    asked = {"load_versions": {"metrics": first}}
    assert kedros(**asked).load("metrics") == ours(project, **asked).load("metrics") == {"r2_score": 1.0}
    assert ours(project)["metrics"].versions() == [second, first]
    ours(project).save("metrics", {"r2_score": 3.0})  # without a run
    assert kedros().load("metrics") == {"r2_score": 3.0}
    with pytest.raises(PokemlError, match=rf"no version '2020'\. There are: .*{second}, {first}"):
        ours(project, load_versions={"metrics": "2020"})
    assert ours(project)["metrics"].prune(keep=1) == [second, first]
    assert kedros().load("metrics") == {"r2_score": 3.0}


def test_patterns_match_as_in_kedro():
    from kedro.io import CatalogConfigResolver

    from pokeml.catalog import _by_precedence, _match

    patterns = ["{default}", "{space}.{name}", "{name}_csv", "{space}.{name}_csv", "a_{x}_{x}", "{a}_{b}_{c}"]
    entries = {p: {"type": "MemoryDataset"} for p in patterns}
    resolver = CatalogConfigResolver(entries)
    names = ["x", "x_csv", "fr.x_csv", "fr.x", "a_b_b", "a_b_c", "a.b.c", "_csv", ".x", "x_csv_", "é_csv", "a_b_c_csv"]
    for name in names:
        found = next((p for p in _by_precedence(patterns) if _match(p, name) is not None), None)
        theirs = resolver.match_dataset_pattern(name) or resolver.match_user_catch_all_pattern(name)
        assert found == theirs, name


def test_an_article_spelling_loads(project):
    text = CATALOG.replace("pandas.CSVDataset", "pandas.CSVDataSet").replace("PickleDataset", "PickleDataSet")
    (project.conf / "base" / "catalog.yml").write_text(text, "utf-8")
    catalog = load_catalog(start=project.root)
    catalog.save("companies", companies)
    catalog.save("regressor", model)
    pd.testing.assert_frame_equal(catalog.load("companies"), companies)
    assert catalog["regressor"].layer == "models"


@pytest.mark.parametrize("kind", ["matplotlib.MatplotlibWriter", "matplotlib.MatplotlibDataset"])
def test_a_figure_that_kedro_wrote_can_be_looked_at(project, kind):
    entry = {"type": kind, "filepath": "data/08_reporting/plot.png"}
    figure = Figure()
    figure.subplots().plot([1, 2])
    from kedro.io import DataCatalog

    DataCatalog.from_config({"plot": entry | {"type": "matplotlib.MatplotlibDataset"}}).save("plot", figure)
    (project.conf / "base" / "catalog.yml").write_text(yaml.safe_dump({"plot": entry}))
    catalog = load_catalog(start=project.root)
    assert catalog.load("plot").data.startswith(b"\x89PNG")
    catalog.save("plot", figure)
    assert catalog["plot"].exists()


def test_kedros_own_class_by_its_import_path(project):
    entry = {"type": "kedro_datasets.pandas.CSVDataset", "filepath": "data/c.csv"}
    (project.conf / "base" / "catalog.yml").write_text(yaml.safe_dump({"c": entry}))
    catalog = load_catalog(start=project.root)
    catalog.save("c", companies)
    pd.testing.assert_frame_equal(catalog.load("c"), companies)
    assert catalog["c"].target == "kedro_datasets.pandas.CSVDataset"
    assert os.listdir(project.data) == ["c.csv"]


def test_a_kind_whose_library_is_missing_names_the_extra(project):
    entry = {"type": "networkx.GMLDataset", "filepath": "data/g.gml"}
    (project.conf / "base" / "catalog.yml").write_text(yaml.safe_dump({"g": entry}))
    (project.data / "g.gml").write_text("graph []")
    with pytest.raises(MissingLibrary, match=r"kedro-datasets\[networkx-gmldataset\]"):
        load_catalog(start=project.root).load("g")


def test_the_everyday_kinds_import_nothing_of_kedro(project):
    everyday = [name for name in VALUES if name not in ("mail", "generic", "svm")]
    kedro = kedros()
    for name in everyday:
        kedro.save(name, VALUES[name])
    script = (
        "import sys; from pokeml.catalog import load_catalog; catalog = load_catalog()\n"
        "heavy = {'pandas', 'fsspec', 'sqlalchemy', 'polars', 'kedro', 'pandera'} & set(sys.modules)\n"
        f"for name in {everyday}:\n"
        "    value = catalog.load(name)\n"
        "    name == 'passengers' or catalog.save(name, value)\n"
        "print(heavy, {m for m in sys.modules if m.partition('.')[0] in ('kedro', 'kedro_datasets')})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set() set()", done.stdout + done.stderr


def test_a_password_is_in_no_message(project):
    secret = "postgresql://ash:pikachu@localhost:1/shop"
    (project.conf / "local" / "credentials.yml").write_text(f"shop: {{con: '{secret}'}}")
    catalog = load_catalog(start=project.root)
    sold = catalog["sold"]
    for call in (sold.load, lambda: sold.save(shuttles), sold.exists):
        with pytest.raises(PokemlError) as caught:
            call()
        assert "pikachu" not in str(caught.value) and "localhost" not in str(caught.value)
    assert "pikachu" not in f"{sold!r}{sold}{sold.entry()}{catalog!r}{catalog._repr_html_()}"
    assert isinstance(sold, Dataset)
