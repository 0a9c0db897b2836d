"""`pokeml catalog`: what it lists, shows and finds wrong, and a catalog for Kedro that loads the same."""

import json
import os
import pty
import re
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml
from conftest import Copy
from toy import CATALOG as TOY_CATALOG
from toy import Toy

from pokeml.catalog import load_catalog

CATALOG = "conf/base/catalog.yml"
MORE = """\
forgotten: {type: text.TextDataset, filepath: data/forgotten.txt}
"m{rest}": {type: json.JSONDataset, filepath: "data/made/m{rest}.json", layer: "${_layer}"}
_layer: results
far: {type: pandas.CSVDataSet, filepath: "s3://me:hunter22@bucket/far.csv", credentials: store}
"""


def with_more() -> str:
    """The small project's catalog, with a pattern for two entries, a versioned one, and some that nobody uses."""
    lines = [line for line in TOY_CATALOG.splitlines() if not line.startswith(("mark:", "middle:"))]
    lines = [line[:-1] + ", versioned: true}" if line.startswith("label:") else line for line in lines]
    return "\n".join(lines) + "\n" + MORE


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    """The small project in which everything ran twice; not to be changed."""
    made = Toy(tmp_path_factory.mktemp("commands") / "project")
    made.write(CATALOG, with_more())
    made.write("conf/local/credentials.yml", "store: {key: abcdef, secret: hunter22}\n")
    made.run()
    made.run("--force")
    return made


def told(copy: Copy, *arguments: str, width: int = 200, status: int = 0) -> str:
    """Call `pokeml catalog`, and give what it prints."""
    copy.env["COLUMNS"] = str(width)
    done = copy.pokeml("catalog", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout or done.stderr


def lines_of(text: str) -> dict[str, str]:
    """Give the lines of a list by their first word."""
    return {line.split()[0]: line for line in text.splitlines() if line.split()}


def test_list_tells_who_writes_and_reads_each_dataset(toy):
    lines = lines_of(told(toy, "list"))
    assert lines["raw"].split() == ["raw", "pandas.CSVDataset", "raw", "data/raw.csv", "✓", "clean"]
    assert lines["clean"].split()[-5:] == ["data/made/clean.parquet", "✓", "clean", "count,", "scale"]
    assert "–" in lines["forgotten"]
    assert lines["scaled"].split() == ["scaled", "memory", "scale", "total"]  # no entry
    assert lines["mark"].split()[1:3] == ["json.JSONDataset", "results"]  # by the pattern


def test_list_of_a_pipeline_has_only_what_it_uses(toy):
    names = [line.split()[0] for line in told(toy, "list", "--pipeline", "first").splitlines()[2:]]
    assert sorted(names) == ["clean", "counts", "raw"]
    assert "Did you mean first?" in told(toy, "list", "-p", "frist", status=2)


def test_list_as_json(toy):
    rows = {row["name"]: row for row in json.loads(told(toy, "list", "--json"))}
    assert rows["mark"]["pattern"] == "m{rest}" and rows["mark"]["written_by"] == ["mark"]
    assert rows["raw"]["defined"] == f"{CATALOG}, line 1" and rows["forgotten"]["there"] is False
    assert rows["scaled"] == {
        "name": "scaled",
        "type": "memory",
        "layer": None,
        "file": None,
        "there": None,
        "written_by": ["scale"],
        "read_by": ["total"],
        "defined": None,
        "pattern": None,
    }


@pytest.mark.parametrize("width", [80, 200])
def test_what_is_printed_fits_the_terminal(toy, width):
    for arguments in (["list"], ["show", "clean"], ["load", "raw", "--head"]):
        assert max(map(len, told(toy, *arguments, width=width).splitlines())) <= width


def test_show_tells_entry_file_run_and_contents(toy):
    text = told(toy, "show", "clean")
    run = toy.record()["id"]
    assert f"defined in {CATALOG}, line 5" in text and "  filepath: data/made/clean.parquet" in text
    assert "file        data/made/clean.parquet\nsize        " in text and "modified    20" in text
    assert f"written by  clean\nread by     count, scale\nlast run    {run}, node clean\n" in text
    assert "DataFrame, 6 rows × 2 columns" in text
    assert lines_of(text)["size"].split() == ["size", "float64", "3.2", "4.2", "5.2"]


def test_show_of_other_kinds_of_values(toy):
    assert "dict\na: 2\nb: 2" in told(toy, "show", "counts")
    assert "str\nSOME WORDS" in told(toy, "show", "label")
    assert "(not there yet)" in told(toy, "show", "forgotten")
    assert "pattern m{rest}" in told(toy, "show", "mark")
    assert "Did you mean clean?" in told(toy, "show", "claen", status=2)


def test_no_command_shows_a_secret(toy):
    for arguments in (["show", "far"], ["resolve"], ["export"], ["list", "--json"]):
        text = told(toy, *arguments)
        assert "hunter22" not in text and "abcdef" not in text
        assert arguments == ["list", "--json"] or "credentials: store" in text


def test_resolve_gives_the_entries_of_all_that_is_used(toy):
    for command in ("resolve", "resolve-patterns"):
        entries = yaml.safe_load(told(toy, command))
        assert entries["mark"] == {"type": "json.JSONDataset", "filepath": "data/made/mark.json", "layer": "results"}
        assert not {"m{rest}", "_layer", "scaled"} & set(entries)


def test_kedros_names_of_the_commands_answer_too(toy):
    assert told(toy, "describe-datasets") == told(toy, "list")
    assert yaml.safe_load(told(toy, "list-patterns")) == ["m{rest}"]
    assert "describe-datasets" not in told(toy, "--help")


def test_versions_are_listed_and_the_old_ones_removed(toy, tmp_path):
    copy = Toy(tmp_path / "project", toy)
    newest, oldest = told(copy, "versions", "label").splitlines()
    assert newest.split()[0] > oldest and newest.endswith("(loaded)")
    folder = copy.root / "data/made/label.txt"
    assert sorted(p.name for p in folder.iterdir()) == [oldest, newest.split()[0]]
    assert f"version     {newest.split()[0]}, of 2" in told(copy, "show", "label")
    assert told(copy, "versions", "label", "--keep", "1") == f"removed {oldest}\n1 kept\n"
    assert [p.name for p in folder.iterdir()] == [newest.split()[0]]
    assert "--keep" in told(copy, "versions", "label", "--keep", "0", status=2)


def test_what_is_not_versioned_is_not_pruned(toy):
    assert "keeps no versions" in told(toy, "versions", "clean", "--keep", "1", status=2)
    assert (toy.root / "data/made/clean.parquet").is_file()
    assert "has no versions" in told(toy, "versions", "clean")


@pytest.fixture
def broken(tmp_path, toy) -> Toy:
    copy = Toy(tmp_path / "project", toy)
    wrong = """\
typo: {type: pandas.CSVDatset, filepath: data/a.csv}
key: {type: text.TextDataset, filpath: data/a.txt}
twice: {type: text.TextDataset, filepath: data/words.txt}
options: {type: pandas.CSVDataset, filepath: data/extra.csv2, load_args: {spe: ","}, save_args: {indx: false}}
shape: {type: pandas.CSVDataset, filepath: data/shape.csv, schema: {columns: {a: {dtype: int, ge: 2}, c: int}}}
"""
    copy.write(CATALOG, with_more().replace("far:", "_far:") + wrong)
    copy.write("data/shape.csv", "a,b\n1,2\n")
    (copy.root / "data/numbers.json").unlink()
    return copy


def test_check_tells_all_that_is_wrong_at_once(broken):
    text = told(broken, "check", status=1)
    for message in [
        "✗ typo: conf/base/catalog.yml, line 14: dataset typo has an unknown type 'pandas.CSVDatset'. Did you mean",
        "✗ key: conf/base/catalog.yml, line 15: dataset key has an unknown key 'filpath'. Did you mean filepath?",
        "✗ twice: Dataset twice (data/words.txt; conf/base/catalog.yml, line 16) has the file of dataset words",
        "✗ options: conf/base/catalog.yml, line 17: `load_args` has an unknown option 'spe'. Did you mean sep?",
        "✗ options: conf/base/catalog.yml, line 17: `save_args` has an unknown option 'indx'. Did you mean index?",
        "✗ shape: Dataset shape (data/shape.csv; conf/base/catalog.yml, line 18): no column 'c'.",
        "✗ numbers: Dataset numbers (data/numbers.json; conf/base/catalog.yml, line 4) is not there",
        "⚠ forgotten: No node reads or writes it",
    ]:
        assert message in text, text
    assert text.splitlines()[-1].startswith("✗ ") and text.splitlines()[-1].endswith(" datasets are right.")


def test_check_of_one_and_with_its_contents(broken):
    assert "✓ 1 of 1 datasets are right." in told(broken, "check", "clean")
    broken.write(CATALOG, (broken.root / CATALOG).read_text("utf-8").replace(", c: int", ""))
    told(broken, "check", "shape")
    text = told(broken, "check", "shape", "--load", status=1)
    assert "is not as its schema says; 1 check failed:\n  a  ge: 2  1 of 1 rows  0: 1" in text


def test_check_of_what_cannot_be_reached(toy):
    text = told(toy, "check", "far", status=1)
    assert text.startswith("✗ far: Dataset far (") and "hunter22" not in text


def test_load_prints_a_look_where_there_is_no_terminal(toy):
    for arguments in (["load", "raw"], ["load", "raw", "--head"]):
        assert told(toy, *arguments).startswith("DataFrame, 9 rows × 2 columns\n")


def test_the_shell_completes_names_of_datasets(toy):
    words = {"_POKEML_COMPLETE": "bash_complete", "COMP_WORDS": "pokeml catalog show c", "COMP_CWORD": "3"}
    done = subprocess.run(toy.command(), cwd=toy.root, env=toy.env | words, capture_output=True, text=True)
    assert done.stdout == "plain,clean\nplain,counts\n"


def test_a_reader_that_has_read_enough_is_no_error(toy):
    command = f"{sys.executable} -m pokeml catalog list | head -1"
    done = subprocess.run(command, shell=True, cwd=toy.root, env=toy.env, capture_output=True, text=True)
    assert done.stdout.startswith("dataset ") and done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal")
def test_load_opens_a_prompt_with_the_dataset(toy, tmp_path):
    ours, theirs = pty.openpty()
    env = toy.env | {"IPYTHONDIR": str(tmp_path), "IPY_TEST_SIMPLE_PROMPT": "1", "TERM": "dumb"}
    command = toy.command("catalog", "load", "raw")
    process = subprocess.Popen(command, cwd=toy.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"print('rows', len(raw), len(catalog.load('words')))\nexit\n")
    seen, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # it has ended
            break
    assert process.wait(10) == 0
    assert b"raw is dataset raw" in seen and b"rows 9 11" in seen


WIDE = """\
sold: {type: pandas.SQLTableDataset, table_name: sold, credentials: shop}
months: {type: partitions.PartitionedDataset, path: data/months, dataset: pandas.CSVDataset, filename_suffix: .csv}
sheets: {type: pandas.ExcelDataset, filepath: data/sheets.xlsx, load_args: {sheet_name: null}}
cached: {type: CachedDataset, dataset: {type: json.JSONDataSet, filepath: data/cached.json}}
table@pandas: {type: pandas.ParquetDataset, filepath: data/table.parquet}
table@polars: {type: polars.EagerPolarsDataset, file_format: parquet, filepath: data/table.parquet}
generic: {type: pandas.GenericDataset, file_format: csv, filepath: data/generic.csv, save_args: {index: false}}
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory, toy) -> Toy:
    """The small project with datasets that are no files of their own, and Kedro's; not to be changed."""
    made = Toy(tmp_path_factory.mktemp("wide") / "project", toy)
    made.write(CATALOG, with_more().replace("far:", "_far:").replace("forgotten:", "_forgotten:") + WIDE)
    made.write("conf/local/credentials.yml", "shop: {con: 'sqlite:///data/shop.db'}\n")
    catalog = load_catalog(start=made.root)
    table = pd.DataFrame({"name": ["Mew", None], "hp": [100, 45]})
    for name in ("sold", "table@pandas", "generic"):
        catalog.save(name, table)
    catalog.save("months", {"2026/01": table, "2026/02": table})
    catalog.save("sheets", {"one": table, "two": table[["hp"]]})
    catalog.save("cached", {"a": [1, 2]})
    return made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sold", ["file        table sold of shop", "DataFrame, 2 rows × 2 columns"]),
        ("months", ["data/months", "2026/01\n2026/02"]),
        ("sheets", ["one: DataFrame, 2 rows × 2 columns\ntwo: DataFrame, 2 rows × 1 columns"]),
        ("cached", ["type: CachedDataset", "a:\n- 1\n- 2"]),
        ("table@polars", ["name     String   1         Mew     None"]),
        ("generic", ["pandas.GenericDataset", "DataFrame, 2 rows × 2 columns"]),
    ],
)
def test_show_of_a_table_in_a_database_of_partitions_and_of_kedros_kinds(wide, name, expected):
    text = told(wide, "show", name)
    assert all(part in text for part in expected), text


def test_check_of_kedros_kinds_knows_their_keys(wide, tmp_path):
    assert "datasets are right" in told(wide, "check", "--load")
    copy = Toy(tmp_path / "project", wide)
    copy.replace(CATALOG, "file_format: csv", "file_fromat: csv")
    text = told(copy, "check", "generic", status=1)
    assert "pandas.GenericDataset has an unknown option 'file_fromat'. Did you mean file_format?" in text


KEDRO = """
import sys, yaml
import pandas as pd
from kedro.io import DataCatalog
from PIL.Image import Image
from pokeml.catalog import load_catalog

shop = {"shop": {"con": "sqlite:///data/shop.db"}}
kedro = DataCatalog.from_config(yaml.safe_load(open("catalog.yml")), shop)
ours = load_catalog()


def plain(value):
    if isinstance(value, dict):
        return {name: plain(inner() if callable(inner) else inner) for name, inner in value.items()}
    if isinstance(value, Image):
        return value.tobytes()
    return value.to_dict("list") if isinstance(value, pd.DataFrame) else value


equal = []
for name in ours:
    if name in sys.argv[1:]:
        continue
    mine, theirs = ours.load(name), kedro.load(name)
    if isinstance(mine, pd.DataFrame):
        pd.testing.assert_frame_equal(mine, theirs)
    elif hasattr(mine, "get_params"):
        assert repr(mine) == repr(theirs), (mine, theirs)
    elif hasattr(mine, "equals"):  # polars
        assert mine.equals(theirs)
    else:
        assert str(plain(mine)) == str(plain(theirs)), (mine, theirs)
    equal.append(name)
print(len(equal))
"""


def kedro(copy: Copy, *left_out: str) -> subprocess.CompletedProcess:
    """Load what was exported with Kedro, and compare."""
    env = copy.env | {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", KEDRO, *left_out]
    return subprocess.run(command, cwd=copy.root, env=env, capture_output=True, text=True)


def test_kedro_loads_what_was_exported_as_we_do(sample_done):
    assert " datasets written to catalog.yml" in (said := told(sample_done, "export", "-o", "catalog.yml"))
    text = (sample_done.root / "catalog.yml").read_text("utf-8")
    assert "# needs pokeml to be installed, which reads skops files\nprimary_type_classifier:" in text
    assert "# Kedro saves a figure and cannot load it\nconfusion_matrix:" in text
    figures = [name for name, entry in yaml.safe_load(text).items() if "MatplotlibDataset" in str(entry)]
    assert len(figures) == 6
    done = kedro(sample_done, *figures)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == int(re.search(r"(\d+) datasets", said)[1]) - len(figures)


def test_kedro_loads_versions_and_patterns_that_were_exported(toy, tmp_path):
    copy = Toy(tmp_path / "project", toy)
    copy.write(CATALOG, with_more().replace("far:", "_far:").replace("forgotten:", "_forgotten:"))
    told(copy, "export", "-o", "catalog.yml")
    entries = yaml.safe_load((copy.root / "catalog.yml").read_text("utf-8"))
    assert entries["m{rest}"]["metadata"] == {"kedro-viz": {"layer": "results"}} and entries["label"]["versioned"]
    done = kedro(copy)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == 9


def test_kedro_loads_databases_partitions_and_what_is_cached(wide):
    told(wide, "export", "-o", "catalog.yml")
    assert "type: json.JSONDataset\n    filepath: data/cached.json" in (wide.root / "catalog.yml").read_text("utf-8")
    done = kedro(wide)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == 16


def test_what_was_exported_is_a_catalog_of_ours_too(toy, tmp_path):
    copy = Toy(tmp_path / "project", toy)
    copy.write(CATALOG, told(copy, "export"))
    listed, before = (json.loads(told(one, "list", "--json")) for one in (copy, toy))
    assert {row["name"]: row["layer"] for row in listed} == {row["name"]: row["layer"] for row in before}


def test_commands_take_what_a_run_takes(tmp_path):
    toy = Toy(tmp_path / "project")
    toy.replace(CATALOG, "data/raw.csv", '"data/${runtime_params:file}.csv"')
    toy.write("other/base/catalog.yml", "alone: {type: text.TextDataset, filepath: data/words.txt}\n")
    assert "--params file=…" in told(toy, "list", status=2)
    given = ("--params", "file=raw")
    assert lines_of(told(toy, "list", *given))["raw"].split()[3:5] == ["data/raw.csv", "✓"]
    assert "filepath: data/raw.csv" in told(toy, "resolve", *given)
    assert "filepath: data/raw.csv" in told(toy, "export", *given)
    assert "9 rows × 2 columns" in told(toy, "show", "raw", *given)
    assert "datasets are right" in told(toy, "check", *given)
    for command in ("list", "check"):
        assert "Unknown parameter 'fil'" in told(toy, command, "--params", "fil=raw", status=2)
    assert lines_of(told(toy, "list", "--conf-source", "other"))["alone"]


def test_check_tells_what_only_a_run_would(tmp_path):
    toy = Toy(tmp_path / "project")
    toy.write(
        "toy/own.py", "class Own:\n    def load(self):\n        return 1\n    def save(self, value):\n        pass\n"
    )
    raw = next(line for line in TOY_CATALOG.splitlines() if line.startswith("raw:"))
    toy.replace(CATALOG, raw, "raw: {type: MemoryDataset}\nown: {type: toy.own.Own, filepath: data/words2.txt}")
    found = told(toy, "check", status=1)
    assert "✗ raw: Dataset raw (in memory; conf/base/catalog.yml, line 1) is not there, and no node writes it." in found
    assert "line 2: toy.own.Own has an unknown option 'filepath'. There are none." in found
    refused = toy.pokeml("run", "--dry-run")
    assert refused.returncode == 2
    assert "Pipeline first reads what no node makes: Dataset raw (in memory; conf/base/catalog.yml" in refused.stderr
