"""Every kind of dataset as input and output of nodes, in real runs."""

import json
import sqlite3
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pytest
from toy import Toy, ran, reasons, stage_notebook

NODES = '''
"""Nodes that read and write what is no plain file."""
import pandas as pd
import polars as pl
from pokeml.pipeline import Pipeline, node


def split(raw: pd.DataFrame) -> dict:
    return {kind: (lambda part=part: part) for kind, part in raw.groupby("kind")}


def join(parts: dict) -> dict:
    return {kind: float(load()["size"].sum()) for kind, load in parts.items()}


def sell(raw: pd.DataFrame, least: float) -> pd.DataFrame:
    return raw[raw["size"] > least]


def hold(raw: pd.DataFrame) -> list:
    return [(len(raw), iter("ab"))]  # an iterator cannot be copied back to its beginning


def score(sums: dict, dear: pd.DataFrame, dearer: pd.DataFrame, held: list) -> dict:
    assert next(held[0][1]) == "a"
    return {"sum": sum(sums.values()), "dear": len(dear), "dearer": len(dearer), "rows": held[0][0]}


def shout(words: str) -> str:
    return words.strip()


def spread(raw: pd.DataFrame) -> pd.DataFrame:
    return raw


def gather(table: pl.DataFrame) -> dict:
    return {"columns": table.columns, "rows": table.height}


pipeline = Pipeline([
    node(split, "raw", "parts"),
    node(join, "parts", "sums"),
    node(sell, ["raw", "params:least"], "sold"),
    node(sell, ["raw", "params:nested.offset"], "stock", name="stock"),
    node(hold, "raw", "held"),
    node(score, ["sums", "dear", "stock", "held"], "score"),
    node(shout, "words", "loud"),
    node(spread, "raw", "wide@pandas"),
    node(gather, "wide@polars", "about_text"),
])
'''
OWN = '''
"""A dataset of the project's own, written for Kedro: it can only be saved."""
from pathlib import Path


class Printer:
    def __init__(self, filepath: str, mark: str):
        self.path, self.mark = Path(filepath), mark

    def load(self):
        raise NotImplementedError

    def save(self, value: str) -> None:
        self.path.write_text(value.upper() + self.mark)
'''
CATALOG = """
parts:
  type: partitions.PartitionedDataset
  path: data/made/parts
  dataset: pandas.CSVDataset
  filename_suffix: .csv
  overwrite: true
sums: {type: json.JSONDataset, filepath: data/made/sums.json}
sold: {type: pandas.SQLTableDataset, table_name: sold, credentials: shop}
dear: {type: pandas.SQLQueryDataset, sql: SELECT * FROM prices WHERE price > 5, credentials: prices}
stock: {type: pandas.SQLTableDataset, table_name: stock, credentials: duck}
held: {type: MemoryDataset, copy_mode: assign}
score: {type: metrics.MetricsDataset, filepath: data/made/score.json, versioned: true}
loud: {type: toy.own.Printer, filepath: data/made/loud.txt, mark: "!"}
"wide@pandas": {type: pandas.ParquetDataset, filepath: data/made/wide.parquet}
"wide@polars": {type: polars.EagerPolarsDataset, file_format: parquet, filepath: data/made/wide.parquet}
"{name}_text": {type: json.JSONDataset, filepath: "data/made/{name}.json"}
"""
CREDENTIALS = """
shop: {con: "sqlite:///data/made/shop.db"}
prices: {con: "sqlite:///data/prices.db"}
duck: {con: "duckdb:///data/made/shop.duckdb"}
"""
NOT_KEPT = {"hold"}  # runs whenever its notebook is executed
ALL = ["split", "join", "sell", "stock", "hold", "score", "shout", "spread", "gather"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Toy:
    """The small project with a pipeline of these kinds, run once; not to be changed."""
    toy = Toy(tmp_path_factory.mktemp("kinds") / "project")
    for name in ("first", "second", "third"):
        next(toy.root.glob(f"nbs/stages/*_{name}.ipynb")).unlink()
        (toy.root / "toy" / "pipelines" / f"{name}.py").unlink()
    toy.write("toy/pipelines/kinds.py", NODES.lstrip())
    toy.write("toy/own.py", OWN.lstrip())
    toy.write("conf/base/pipelines/kinds/catalog.yml", CATALOG)
    toy.write("conf/base/parameters.yml", "least: 2.5\nnested: {offset: 0.3}\n")
    toy.write("conf/local/credentials.yml", CREDENTIALS)
    toy.write("nbs/stages/01_kinds.ipynb", stage_notebook("kinds", [f'stage.run("{name}")' for name in ALL]))
    prices(toy, 4, 6, 8)
    toy.first = toy.run()
    return toy


@pytest.fixture
def toy(done, tmp_path) -> Toy:
    """A copy of it."""
    return Toy(tmp_path / "project", done)


def prices(toy: Toy, *values: int) -> None:
    """Put prices into a real SQLite file, as somebody else would."""
    with sqlite3.connect(toy.root / "data" / "prices.db") as db:
        db.execute("DROP TABLE IF EXISTS prices")
        db.execute("CREATE TABLE prices (price INT)")
        db.executemany("INSERT INTO prices VALUES (?)", [(v,) for v in values])
    db.close()


def versions(toy: Toy) -> list[str]:
    return sorted(p.name for p in (toy.root / "data/made/score.json").iterdir())


def test_all_kinds_in_a_run(done):
    assert ran(done.first) == set(ALL)
    made = done.root / "data" / "made"
    assert sorted(p.name for p in (made / "parts").iterdir()) == ["x.csv", "y.csv", "z.csv"]
    with sqlite3.connect(made / "shop.db") as db:
        assert db.execute("SELECT count(*) FROM sold").fetchone() == (6,)
    with duckdb.connect(str(made / "shop.duckdb"), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM stock").fetchone() == (8,)
    assert (made / "loud.txt").read_text() == "SOME WORDS!"
    assert json.loads((made / "about.json").read_text()) == {"columns": ["kind", "size"], "rows": 9}
    assert not [w for s in done.first["stages"] for n in s["nodes"] for w in n["warnings"]]


def test_a_version_is_the_runs_id(done):
    run = done.first["id"]
    assert versions(done) == [run]
    path = done.root / "data/made/score.json" / run / "score.json"
    assert json.loads(path.read_text()) == {"sum": 38.25, "dear": 2, "dearer": 8, "rows": 9}
    assert done.first["metrics"]["score"]["dear"] == 2
    outputs = {o["name"]: o for n in done.first["stages"][0]["nodes"] for o in n["outputs"]}
    assert outputs["score"]["version"] == run and outputs["score"]["path"] == "data/made/score.json"


def test_a_second_run_has_nothing_to_do(toy):
    record = toy.run()
    assert not ran(record) and [s["status"] for s in record["stages"]] == ["unchanged"], reasons(record)
    assert versions(toy) == [toy_first(toy)]


def toy_first(toy: Toy) -> str:
    return json.loads(toy.records()[0].read_text("utf-8"))["id"]


def test_what_a_query_finds_decides(toy):
    prices(toy, 1, 6, 8)  # another file, the same answer
    assert not ran(toy.run())
    prices(toy, 6, 7, 8)
    record = toy.run()
    assert ran(record) - NOT_KEPT == {"score"}, reasons(record)
    assert "input dear changed" in reasons(record)
    assert versions(toy) == [toy_first(toy), record["id"]]


def test_an_output_that_was_changed_is_made_anew(toy):
    made = toy.root / "data" / "made"
    (made / "parts" / "x.csv").write_text("kind,size\nx,1\n")
    drop(made / "shop.db")
    (made / "shop.duckdb").unlink()
    (made / "loud.txt").write_text("?")
    record = toy.run()
    assert ran(record) - NOT_KEPT == {"split", "sell", "stock", "shout"}, reasons(record)
    for because in (
        "split: output parts was changed by hand",
        "sell: output sold is missing",
        "stock: output stock is missing",
        "shout: output loud was changed by hand",
    ):
        assert because in reasons(record)
    (made / "parts" / "y.csv").unlink()
    record = toy.run()
    assert ran(record) - NOT_KEPT == {"split"} and "split: output parts was changed by hand" in reasons(record)


def drop(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE sold")
    db.close()


def test_an_older_version_is_loaded_and_a_missing_one_refused(toy):
    first = toy_first(toy)
    prices(toy, 6, 7, 8)
    toy.run()
    refused = toy.pokeml("run", "--load-versions", "score:2020-01-01T00.00.00.000Z")
    assert refused.returncode != 0 and f", {first}." in refused.stderr and "Traceback" not in refused.stderr
    record = toy.run("--load-versions", f"score:{first}")
    assert not ran(record) - NOT_KEPT, reasons(record)  # what the node made last is as good as before
    assert record["metrics"]["score"]["dear"] == 3 and len(versions(toy)) == 2
    shown = {o["name"]: o for n in record["stages"][0]["nodes"] for o in n["outputs"]}["score"]
    assert shown["version"] == first


def test_the_class_of_the_projects_own_kind_counts(toy):
    toy.replace("toy/own.py", "value.upper()", "value.title()")
    record = toy.run()
    assert ran(record) - NOT_KEPT == {"shout"}, reasons(record)
    assert "how a toy.own.Printer is read and written changed" in reasons(record)
    assert (toy.root / "data/made/loud.txt").read_text() == "Some Words!"


def test_a_password_is_nowhere(toy):
    toy.write("conf/local/credentials.yml", CREDENTIALS.replace("sqlite:///data/made/shop.db", "nodb://me:hush@far/x"))
    done = toy.pokeml("run", "--force")
    assert done.returncode != 0 and "hush" not in done.stdout + done.stderr
    assert not [p for p in (toy.root / "outputs").rglob("*") if p.is_file() and b"hush" in p.read_bytes()]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *about):
        """Say nothing."""


def test_a_file_on_another_machine(toy, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    (there / "raw.csv").write_bytes((toy.root / "data" / "raw.csv").read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=there)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/raw.csv"
        toy.write("conf/local/catalog.yml", f"raw: {{type: pandas.CSVDataset, filepath: '{address}'}}\n")
        assert "split" in ran(toy.run())
        assert not ran(toy.run())
        with (there / "raw.csv").open("a") as file:
            file.write("x,100\n")
        assert "split: input raw changed" in reasons(toy.run())
        server.shutdown()
    assert json.loads((toy.root / "data/made/sums.json").read_text())["x"] > 100
