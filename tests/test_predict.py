"""Rows of files and answers to them, by processes; most with a predictor of fruits, which is quick and no Pokémon."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from conftest import ROOT, Copy, interrupt, wait_for

from pokeml.cli import main

FRUITS = '''
"""A predictor that needs no model: what is heavy is a melon."""
import time
from types import SimpleNamespace

from pokeml.dataset import Dataset
from pokeml.project import PokemlError

ROWS = {"Gala": {"name": "Gala", "weight": 160, "seeds": 5}}


def column(name, kind, required=False):
    return SimpleNamespace(name=name, kind=kind, required=required)


class Fruits:
    columns = (column("weight", "number", True), column("seeds", "integer"))
    classes = ["apple", "melon", "plum"]

    def __init__(self, wait):
        self.wait = wait

    def example(self, name):
        if name not in ROWS:
            raise PokemlError(f"There is no example {name!r}. Did you mean Gala?")
        return dict(ROWS[name])

    def predict(self, rows, top=3):
        time.sleep(self.wait)
        if hasattr(rows, "columns"):
            return self.table(rows, top)
        return [self.one(row, top) for row in rows]

    def one(self, row, top):
        weight = row.get("weight")
        about = {"name": row.get("name"), "prediction": None, "probability": None, "ranking": [], "warnings": []}
        about["ignored"] = [name for name in row if name not in ("name", "weight", "seeds")]
        if not isinstance(weight, int | float) or weight != weight:
            return about | {"errors": [{"column": "weight", "message": f"must be a number, got {weight!r}"}]}
        p = min(weight / 1000, 1.0)
        names = ["melon", "apple", "plum"] if p > 0.5 else ["apple", "melon", "plum"]
        ranks = [{"label": n, "probability": v} for n, v in zip(names, sorted([p, 1 - p], reverse=True) + [0.0])][:top]
        about["warnings"] = [] if row.get("seeds") else [{"column": "seeds", "message": "is missing"}]
        return about | {"prediction": names[0], "probability": ranks[0]["probability"], "ranking": ranks, "errors": []}

    def table(self, rows, top):
        import numpy as np
        import pandas as pd

        weight = pd.to_numeric(rows["weight"], errors="coerce") if "weight" in rows else pd.Series(np.nan, rows.index)
        bad, p = weight.isna(), (weight / 1000).clip(upper=1)
        heavy = p > 0.5
        answers = pd.DataFrame(index=rows.index)
        first = np.where(heavy, "melon", "apple").astype(object)
        others = [np.where(heavy, "apple", "melon").astype(object), np.full(len(rows), "plum", dtype=object)]
        values = [p.where(heavy, 1 - p), (1 - p).where(heavy, p), p * 0]
        for i, labels in enumerate([first, *others][:top], 1):
            mark = f"_{i}" if i > 1 else ""
            answers[f"prediction{mark}"] = pd.Series(labels, rows.index).where(~bad, None)
            answers[f"probability{mark}"] = values[i - 1]
        answers["warnings"] = ""
        raw = rows["weight"] if "weight" in rows else weight
        answers["errors"] = [f"weight must be a number, got {v!r}" if b else "" for v, b in zip(raw, bad)]
        return answers


class FruitsDataset(Dataset):
    type = "fruits.FruitsDataset"

    def read(self, path):
        return Fruits(float(path.read_text()))
'''
CATALOG = """\
predictor: {type: fruits.FruitsDataset, filepath: data/fruits.txt}
slow: {type: fruits.FruitsDataset, filepath: data/slow.txt}
absent: {type: fruits.FruitsDataset, filepath: data/absent.txt}
words: {type: text.TextDataset, filepath: data/words.txt}
"""


class Project(Copy):
    """A project that has a predictor, and no pipelines."""

    def __init__(self, root: Path):
        self.root = root
        self.env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self.env.pop("POKEML_PROJECT", None)
        files = {"settings.ini": "[pokeml]\npackage = fruits\n", "fruits.py": FRUITS, "conf/base/catalog.yml": CATALOG}
        for path, text in (files | {"data/fruits.txt": "0", "data/slow.txt": "60", "data/words.txt": "a"}).items():
            self.write(path, text)
        self.table = pd.DataFrame(
            [["007", "Gala", 160, 5], ["NA", "", 900, 0], ["009", "Stone", "heavy", 1], ["010", "Bay", 1200, 300]],
            columns=["id", "name", "weight", "seeds"],
        )
        self.write("rows.csv", self.table.to_csv(index=False))
        self.write("rows.json", self.table.to_json(orient="records"))
        self.write("rows.jsonl", self.table.to_json(orient="records", lines=True))
        numbers = pd.to_numeric(self.table["weight"], errors="coerce")
        self.table.assign(weight=numbers).set_index("id").to_parquet(root / "rows.parquet")

    def predict(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Run `pokeml predict`, and see that no traceback is shown."""
        done = subprocess.run(
            self.command("predict", *arguments), cwd=self.root, env=self.env, capture_output=True, **options
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("fruits") / "project")


def typed(*arguments: str, given: bytes = b"") -> Result:
    """Type a command in this process, which is quicker, and see that it ends as a process does."""
    result = CliRunner().invoke(main, ["predict", *arguments], input=given)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    return result


@pytest.fixture
def here(project, monkeypatch):
    monkeypatch.chdir(project.root)
    monkeypatch.syspath_prepend(project.root)
    monkeypatch.delenv("POKEML_PROJECT", raising=False)


ANSWERS = {"007": "apple", "NA": "melon", "009": None, "010": "melon"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json", "jsonl"])
def test_formats_in_and_out(here, tmp_path, suffix):
    done = typed(f"rows.{suffix}", "-o", str(tmp_path / "out.csv"), "--top", "2")
    assert (done.exit_code, done.stdout) == (3, "")
    lines = done.stderr.splitlines()
    assert lines[:2] == [f"3 answers written to {tmp_path / 'out.csv'}", "1 of 4 rows were not answered:"]
    assert lines[2].startswith("  row 3 (Stone): weight must be a number, got ")
    out = pd.read_csv(tmp_path / "out.csv", dtype={"id": "str"}, keep_default_na=False)
    assert dict(zip(out["id"], out["prediction"], strict=True)) == {i: label or "" for i, label in ANSWERS.items()}
    columns = ["row", "id", "name", "prediction", "probability", "prediction_2", "probability_2", "warnings", "errors"]
    assert out.columns.tolist() == columns and out["row"].tolist() == [1, 2, 3, 4]


def test_standard_input_and_output(here, project):
    rows = (project.root / "rows.csv").read_bytes()
    csv = project.predict("-", "--format", "csv", input=rows)
    assert csv.returncode == 3 and csv.stdout.splitlines()[1] == b"1,007,Gala,apple,0.84,melon,0.16,plum,0.0,,"
    told = json.loads(typed("-", "--format", "json", given=Path("rows.json").read_bytes()).stdout)
    assert [answer["prediction"] for answer in told] == list(ANSWERS.values())
    assert told[0].keys() == {"name", "prediction", "probability", "ranking", "warnings", "errors", "ignored"}
    parquet = typed("-", "--format", "jsonl", "--keep", "id", given=Path("rows.parquet").read_bytes())
    told = [json.loads(line) for line in parquet.stdout.splitlines()]
    assert {answer["kept"]["id"]: answer["prediction"] for answer in told} == ANSWERS


def test_a_row_that_is_known_with_other_values(here):
    done = typed("--name", "Gala", "--set", "weight=700", "seeds=", "--top", "2")
    assert done.exit_code == 0 and done.stderr == ""
    line = done.stdout.splitlines()[2]
    assert line.split() == ["1", "Gala", "melon", "0.700", "apple", "0.300", "seeds", "is", "missing"]
    alone = typed("--set", "seeds=3", "--format", "json")
    assert alone.exit_code == 3 and json.loads(alone.stdout)["prediction"] is None
    assert alone.stderr == "The row was not answered:\n  row 1: weight must be a number, got None\n"


MISTAKES = {
    "nothing": ([], "Name a FILE or a row: pokeml predict rows.csv"),
    "file and name": (["rows.csv", "--name", "Gala"], "FILE goes with neither --name nor --set"),
    "missing": (["row.csv"], "row.csv is not there. Did you mean rows.csv?"),
    "folder": (["data"], "data cannot be read: Is a directory"),
    "suffix": (["rows.xlsx"], "--input-format takes: csv, tsv"),
    "name": (["--name", "Gal"], "Did you mean Gala?"),
    "column": (["--set", "wieght=1"], "--set: the predictor reads no column 'wieght'. Did you mean weight?"),
    "number": (["--set", "weight=x"], "--set weight: 'x' is no number."),
    "dataset": (["rows.csv", "--predictor", "predicter"], "Did you mean predictor?"),
    "not made": (["rows.csv", "--predictor", "absent"], "is not there yet. Make it: pokeml run --to-outputs absent"),
    "no predictor": (["rows.csv", "--predictor", "words"], "is a str, not a predictor"),
    "no file": (["rows.csv", "--predictor", "data/no.skops"], "data/no.skops cannot be read: No such file"),
    "over the input": (["rows.csv", "-o", "rows.csv"], "rows.csv is the file that is read"),
    "output": (["rows.csv", "-o", "out"], "Say it: --format csv"),
    "environment": (["rows.csv", "--env", "nowhere"], "Unknown environment 'nowhere'"),
    "no parquet": (["rows.csv", "--input-format", "parquet"], "rows.csv is no Parquet file that can be read"),
    "no json": (["rows.csv", "--input-format", "json"], "rows.csv, line 1: Expecting value"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(here, arguments, message):
    before = Path("rows.csv").read_bytes(), len(os.listdir())
    done = typed(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and message in done.stderr
    assert before == (Path("rows.csv").read_bytes(), len(os.listdir()))


BAD = {
    "empty": (b"", "is empty"),
    "no header": (b"1,2\n3,4\n", "has no column weight. Its header begins: 1, 2."),
    "encoding": (
        "weight,name\n1,Süß\n".encode("cp1252"),
        "is not UTF-8: there is a byte 0xfc. Say what",
    ),
    "ragged": (b"weight,seeds\n1,2\n3,4,5,6\n", "line 3: it has 4 fields, but the header 2"),
    "json of numbers": (b"[1, 2]", "item 1: a row is an object with a value for each column, but this is 1"),
    "half of a json": (b'[{"weight": 1},', "This is not JSON"),
    "half of a parquet": (b"PAR1" + bytes(99), "is no Parquet file that can be read"),
}


@pytest.mark.parametrize(("contents", "message"), BAD.values(), ids=BAD)
def test_bad_files(here, contents, message):
    done = typed("-", "--format", "csv", given=contents)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: standard input") and message in done.stderr


def test_a_mistake_far_down_leaves_the_old_answers(here, tmp_path):
    (tmp_path / "rows.csv").write_text("weight\n" + "1\n" * 25_000 + "1,2,3\n")
    (tmp_path / "out.csv").write_text("the old ones")
    done = typed(str(tmp_path / "rows.csv"), "-o", str(tmp_path / "out.csv"))
    assert done.exit_code == 2 and "line 25002: it has 3 fields" in done.stderr
    assert (tmp_path / "out.csv").read_text() == "the old ones"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "rows.csv"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(project, tmp_path, number):
    process = subprocess.Popen(
        project.command(
            "predict", str(project.root / "rows.json"), "-o", str(tmp_path / "out.csv"), "--predictor", "slow"
        ),
        cwd=project.root,
        env=project.env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: list(tmp_path.iterdir()))
    interrupt(process) if number == signal.SIGINT else process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (130, f"Interrupted; {tmp_path / 'out.csv'} was not written.\n")
    assert not list(tmp_path.iterdir())


def test_a_reader_that_goes_away(project, tmp_path):
    (tmp_path / "rows.csv").write_text("weight\n" + "1\n" * 50_000)
    for form in ("csv", "json"):
        command = " ".join(project.command("predict", str(tmp_path / "rows.csv"), "--format", form, "| head -2"))
        done = subprocess.run(command, shell=True, cwd=project.root, env=project.env, capture_output=True)
        assert (len(done.stdout.splitlines()), done.stderr) == (2, b"")


PEAK = """\
import re, sys
from pokeml.cli import main
try:
    main(sys.argv[1:])
finally:  # resource.getrusage counts the process that forked this one, too
    print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.parametrize(
    ("suffix", "n_rows", "width"), [("csv", 15_000, 1000), ("jsonl", 15_000, 1000), ("parquet", 40_000, 500)]
)
def test_memory_does_not_grow_with_the_file(project, tmp_path, suffix, n_rows, width):
    peaks = []
    for n in (n_rows, 4 * n_rows):
        rows = pd.DataFrame({"id": range(n), "weight": 1.5, "note": [f"{i:0{width}d}" for i in range(n)]})
        path = str(tmp_path / f"rows.{suffix}")
        if suffix == "csv":
            rows.to_csv(path, index=False)
        elif suffix == "jsonl":
            rows.to_json(path, orient="records", lines=True)
        else:
            rows.to_parquet(path, row_group_size=5_000)
        call = [sys.executable, "-c", PEAK, "predict", path, "-o", str(tmp_path / "out.csv")]
        done = subprocess.run(call, cwd=project.root, env=project.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    with open(tmp_path / "out.csv", "rb") as out:
        last = out.readlines()[-1]
    assert last.startswith(f"{4 * n_rows},{4 * n_rows - 1},apple".encode())
    assert peaks[1] < peaks[0] + 40, peaks  # MB; the rows are 45 or 60 MB more as text alone, twice that as objects


def test_the_real_one_in_a_project_and_without(full, tmp_path):
    """Kaggle's own table is answered, with the pipeline's predictor, wherever one is."""
    raw = ROOT / "data" / "01_raw" / "pokemon.csv"
    done = full.pokeml("predict", str(raw), "-o", str(tmp_path / "in.csv"))
    assert done.returncode == 0, done.stderr
    predictor = full.root / "data" / "06_models" / "predictor.skops"
    done = full.pokeml("predict", str(raw), "-o", "out.csv", "--predictor", str(predictor), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "in.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    out, truth = pd.read_csv(tmp_path / "out.csv"), pd.read_csv(raw)
    assert out["name"].tolist() == truth["name"].tolist()
    assert (out["prediction"] == truth["type1"]).mean() > 0.85
    done = full.pokeml("predict", "--name", "pikachu", "--set", "attack=60", "--format", "json", "--top", "all")
    answer = json.loads(done.stdout)
    assert (answer["prediction"], len(answer["ranking"]), done.stderr) == ("electric", 18, "")
