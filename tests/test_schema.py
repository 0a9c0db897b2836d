"""What a table must look like is said in the catalog, and looked at whenever it is loaded or saved."""

import json
import re

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from test_light import HEAVY, modules
from toy import CATALOG as ENTRIES
from toy import Toy, ran, reasons

from pokeml.schema import SchemaError, read_schema

CATALOG = "conf/base/catalog.yml"
EXAMPLE = """\
pokemon_database:
  type: pandas.CSVDataset
  filepath: data/01_raw/pokemon.csv
  schema:
    columns:
      pokedex_number: {dtype: int, unique: true, ge: 1}
      name: str
      abilities: str
      type1: {dtype: str, str_matches: "^[a-z]+$"}
      type2: {dtype: str, nullable: true}
      generation: {dtype: int, ge: 1, le: 9}
      hp: {dtype: int, ge: 1, le: 255}
      attack: {dtype: int, ge: 1, le: 255}
      height_m: {dtype: number, gt: 0, nullable: true}
      percentage_male: {dtype: number, ge: 0, le: 100, nullable: true}
      is_legendary: {isin: [0, 1]}
      against_.*: {regex: true, isin: [0, 0.25, 0.5, 1, 2, 4]}
    unique: [name]
"""


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path / "project")


def entries(dataset: str, schema: str) -> str:
    """Give the catalog of the small project, with a schema in the entry of one dataset."""
    return re.sub(rf"^({dataset}: .*)}}$", lambda entry: f"{entry[1]}, schema: {schema}}}", ENTRIES, flags=re.MULTILINE)


def declare(toy: Toy, dataset: str, schema: str) -> None:
    """Give the entry of a dataset of the small project a schema."""
    toy.write(CATALOG, entries(dataset, schema))


def shown(toy: Toy) -> list[dict]:
    """Give all that the newest executed notebooks show."""
    folder = toy.records()[-1].parent
    cells = [c for path in sorted(folder.glob("*.ipynb")) for c in json.loads(path.read_text("utf-8"))["cells"]]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_the_example_is_as_a_full_schema_says():
    entry = yaml.safe_load(EXAMPLE)["pokemon_database"]
    table = pd.read_csv(ROOT / entry["filepath"])
    schema = read_schema(entry["schema"], "pokemon_database", str)
    schema.check(table, "it")
    with pytest.raises(SchemaError, match=r"hp +le: 255 +1 of 1,025 rows +241: 256"):
        schema.check(table.assign(hp=table["hp"] + (table["hp"] == 255)), "it")


@pytest.mark.parametrize("engine", ["pokeml", "papermill"])
def test_violations_are_a_table_in_the_executed_notebook_and_end_the_run(toy, engine):
    declare(toy, "raw", "{columns: {size: {dtype: float, le: 3}}}")
    done = toy.pokeml("run", "--pipeline", "first", "--engine", engine)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"Dataset raw (data/raw.csv; {CATALOG}, line 1) is not as" in done.stderr
    assert "size  le: 3  6 of 9 rows  3: 3.25, 4: 4.25, 5: 5.25, …" in done.stderr
    tables = [o["data"]["text/html"] for o in shown(toy) if "<table>" in str(o.get("data", {}).get("text/html"))]
    assert sum("6 of 9 rows" in "".join(table) for table in tables) == 1
    assert toy.datasets() == {}


def test_an_output_that_is_not_as_declared_is_not_saved(toy):
    declare(toy, "clean", "{columns: {size: {dtype: float, ge: 3}, kind: {isin: [x, y]}}}")
    done = toy.pokeml("run")
    assert done.returncode == 1
    assert "kind  isin: ['x', 'y']  2 of 6 rows  2: 'z', 5: 'z'" in done.stderr
    assert toy.datasets() == {}


def test_what_stays_in_memory_is_looked_at_too(toy):
    entry = "scaled: {type: MemoryDataset, schema: {columns: {size: {dtype: float, le: 300}}}}\n"
    toy.write(CATALOG, (toy.root / CATALOG).read_text("utf-8") + entry)
    toy.run()
    toy.replace(CATALOG, "le: 300", "le: 200")  # another entry: what is made from it is made again
    done = toy.pokeml("run")
    assert done.returncode == 1 and "size  le: 200  2 of 6 rows" in done.stderr, done.stderr


def test_another_schema_of_an_input_or_an_output_runs_the_node_again(toy):
    toy.run()
    declare(toy, "raw", "{columns: {size: float}}")
    record = toy.run()
    assert ran(record) == {"clean"} and "the catalog entry of its input raw changed" in reasons(record)
    assert ran(toy.run()) == set()
    declare(toy, "counts", "{columns: [a]}")  # of what is no table
    done = toy.pokeml("run")
    assert done.returncode == 1 and "a schema is for a DataFrame, and this is a dict" in done.stderr


def test_a_schema_of_pandera_by_its_import_path(toy):
    model = """
import pandera.pandas as pa

LEAST = 0


class Raw(pa.DataFrameModel):
    size: float = pa.Field(ge=LEAST)
    kind: str
"""
    toy.write("toy/tables.py", model)
    declare(toy, "raw", "toy.tables.Raw")
    toy.run()
    assert ran(toy.run()) == set()
    toy.replace("toy/tables.py", "LEAST = 0", "LEAST = 5")  # its code counts
    done = toy.pokeml("run")
    assert done.returncode == 1
    assert "size  greater_than_or_equal_to(5)  5 of 9 rows  0: 0.25, 1: 1.25, 2: 2.25, …" in done.stderr


def test_kedros_validator_is_a_schema(toy):
    toy.write("toy/tables.py", 'import pandera.pandas as pa\n\nRaw = pa.DataFrameSchema({"size": pa.Column(int)})\n')
    toy.replace(CATALOG, "layer: raw}", "layer: raw, validator: toy.tables.Raw}")
    done = toy.pokeml("run")
    assert done.returncode == 1 and "size  dtype('int64')    float64" in done.stderr, done.stderr


MISTAKES = {
    "{column: [size]}": "has an unknown key 'column'. Did you mean columns?",
    "{columns: {size: {gee: 1}}}": "column size has an unknown check 'gee'. Did you mean ge?",
    "{columns: {size: flot}}": "column size: unknown dtype 'flot'. Did you mean float?",
    "{columns: {kind: {str_matches: '['}}}": "is no regular expression",
    "{columns: [siz]}": "no column 'siz'. Did you mean size?",
    "{columns: {siz: float}}": "no column 'siz'. Did you mean size?",
    "toy.tables.Raw": "toy.tables:Raw is not there to be read",
}
ONE_BY_ONE = """\
import json, sys
from pathlib import Path
from click.testing import CliRunner
from pokeml.cli import main
told = []
for catalog in json.load(sys.stdin):
    Path("conf/base/catalog.yml").write_text(catalog)
    done = CliRunner().invoke(main, ["run"])
    told.append([done.exit_code, done.stderr])
print(json.dumps(told))
"""


def test_a_mistake_in_a_schema_is_told_before_anything_runs(toy):
    done = toy.python("-c", ONE_BY_ONE, typed=json.dumps([entries("raw", schema) for schema in MISTAKES]))
    assert done.returncode == 0, done.stderr
    for (status, told), message in zip(json.loads(done.stdout), MISTAKES.values(), strict=True):
        assert status == 2 and told.count("\n") == 1 and message in told, told
    assert toy.records() == []


def test_a_plan_looks_at_names_and_imports_nothing_heavy(toy):
    declare(toy, "raw", "{columns: {size: {dtype: float, ge: 0}, kind: str}}")
    toy.run()
    assert not (HEAVY | {"pandera", "numpy"}) & modules(toy, "run")  # it plans, and finds nothing to do
