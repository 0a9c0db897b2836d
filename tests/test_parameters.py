"""One contract for parameters: declared where they are used, checked whichever way they come in, unchanged on it."""

import json
import math
import pickle
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Copy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from toy import Toy, stage_notebook

from pokeml.config import Config, load_config
from pokeml.parameters import arguments, plain_values
from pokeml.pipeline import node
from pokeml.project import find_project

ECHO = '''
"""Say what came in."""
import enum
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, Field

from pokeml.pipeline import Pipeline, node


@dataclass
class Split:
    test: Annotated[float, Gt(0), Lt(1)] = 0.3
    shuffle: bool = True


class Tree(BaseModel):
    depth: int = Field(3, ge=1)
    split: Split = Split()


class Colour(enum.Enum):
    red = "red"
    green = "green"


def echo(
    texts: list[str],
    numbers: list[float | None],
    counts: list[int],
    days: list[date],
    times: list[datetime],
    waits: list[timedelta],
    files: list[Path],
    pairs: list[tuple[int, float]],
    groups: list[frozenset[str]],
    anything: Any,
) -> dict:
    values = [texts, numbers, counts, days, times, waits, files, pairs, [sorted(g) for g in groups], anything]
    return {"said": ascii(values)}


def grow(
    table: dict,
    tree: Tree,
    colour: Colour,
    way: Literal["fast", "slow"],
    share: Annotated[float, Gt(0), Lt(1)],
    folds: Annotated[int, Ge(2)],
    size: tuple[int, int],
    note=None,
) -> dict:
    return {"grown": ascii([tree, colour, way, share, folds, size, note])}


NAMES = ["texts", "numbers", "counts", "days", "times", "waits", "files", "pairs", "groups", "anything"]
pipeline = Pipeline(
    [
        node(echo, [f"params:{name}" for name in NAMES], "said"),
        node(
            grow,
            ["said", *(f"params:{n}" for n in ("tree", "colour", "way", "share", "folds", "size", "note"))],
            "grown",
        ),
    ]
)
'''
PARAMETERS = """\
texts: []
numbers: []
counts: []
days: [2024-01-31]
times: []
waits: []
files: []
pairs: []
groups: []
anything: null
tree:
  depth: 4
  split: {test: 0.2}
colour: red
way: fast
share: 0.3
folds: 3
size: [2, 3]
note: {1: one}
"""
GROWN = "[Tree(depth=4, split=Split(test=0.2, shuffle=True)), <Colour.red: 'red'>, 'fast', 0.3, 3, (2, 3), {1: 'one'}]"
NOT_STRINGS = [
    "${a}",
    "${",
    'it\'s "quoted"',
    "two\nlines\r\n",
    "\\",
    "'",
    "😀",
    "{x: 1}",
    "null",
    "1",
    "2024-01-31",
    "",
]
NOT_STRINGS += ["a, b=c", "@file.yml", "%time 1", "\x00\x85\u2028", "# no comment", "f'{1}'"]


@pytest.fixture(scope="module")
def echo(tmp_path_factory) -> Toy:
    """A project whose one pipeline says what came in."""
    toy = Toy(tmp_path_factory.mktemp("echo") / "project")
    for name in ("first", "second", "third"):
        (toy.root / "toy" / "pipelines" / f"{name}.py").unlink()
    for notebook in (toy.root / "nbs" / "stages").glob("*"):
        notebook.unlink()
    toy.write("toy/pipelines/say.py", ECHO.lstrip())
    toy.write("conf/base/parameters.yml", PARAMETERS)
    entries = "".join(f"{n}: {{type: json.JSONDataset, filepath: data/made/{n}.json}}\n" for n in ("said", "grown"))
    toy.write("conf/base/catalog.yml", entries)
    toy.write("nbs/stages/01_say.ipynb", stage_notebook("say", ['stage.run("echo")', 'stage.run("grow")']))
    return toy


texts = st.text() | st.sampled_from(NOT_STRINGS)
floats = st.floats(width=64)
batch = st.fixed_dictionaries(
    {
        "texts": st.lists(texts, max_size=30),
        "numbers": st.lists(
            st.none() | floats | floats.map(np.float64) | st.integers(-3, 3).map(np.int64), max_size=30
        ),
        "counts": st.lists(st.integers() | st.integers(-128, 127).map(np.int8), max_size=30),
        "days": st.lists(st.dates(), max_size=30),
        "times": st.lists(st.datetimes().map(lambda time: time.replace(fold=0)), max_size=30),
        "waits": st.lists(st.timedeltas(timedelta(days=-9999), timedelta(days=9999)), max_size=30),
        "files": st.lists(st.sampled_from(["a/b.csv", "/x/ü y.txt", "it's", "."]).map(Path), max_size=5),
        "pairs": st.lists(st.tuples(st.integers(), floats), max_size=30),
        "groups": st.lists(st.sets(texts, max_size=4), max_size=5),
        "anything": st.recursive(
            st.none() | st.booleans() | st.integers() | floats | texts,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
            max_leaves=20,
        ),
    }
)
edge = {
    "texts": NOT_STRINGS,
    "numbers": [math.nan, math.inf, -math.inf, None, np.float32(0.5), np.float64("nan"), -0.0, 1e300, 5e-324],
    "counts": [0, -1, 2**70, np.int64(2**62), np.bool_(True).astype(np.int8)],
    "days": [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
    "times": [datetime(2024, 1, 31, 10, 0, 0, 5)],
    "waits": [timedelta(0), timedelta(days=-1, microseconds=1)],
    "files": [Path("a/b.csv")],
    "pairs": [(1, 2.5), (np.int64(1), np.float64(0.1))],
    "groups": [{"b", "a"}, frozenset()],
    "anything": {"a": [None, {'it\'s "so"': "\n"}], "": [[]]},
}


def said(values: dict) -> str:
    """Write what the node must have got."""

    class Shown(str):
        __repr__ = str.__str__

    def python(value):
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Path):  # fastcore, once a test has imported it, gives paths a repr of its own
            return Shown(f"PosixPath({str(value)!r})")
        if isinstance(value, list | tuple):
            return type(value)(map(python, value))
        return value

    made = {name: python(value) for name, value in values.items()}
    made["numbers"] = [None if n is None else float(n) for n in made["numbers"]]
    made["groups"] = [sorted(group) for group in made["groups"]]
    return ascii([made[name] for name in edge])


def test_values_survive_the_way_in_process(echo):
    project = find_project(echo.root)
    scope: dict = {"__name__": "say"}
    exec(ECHO, scope)
    taker = scope["pipeline"]["echo"]

    @settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(batch)
    def check(values):
        config = load_config(project, "parameters", "base", plain_values(values))
        found = arguments(taker, config.values, config)
        got = {name: found[f"params:{name}"] for name in values}
        assert said(got) == said(values)

    check()
    config = load_config(project, "parameters", "base", plain_values(edge))
    found = arguments(taker, config.values, config)
    assert said({name: found[f"params:{name}"] for name in edge}) == said(edge)


RUN = """\
import pickle, sys
from pokeml.project import find_project
from pokeml.plan import make_plan
from pokeml.runs import carry_out
run = carry_out(make_plan(find_project(), params=pickle.load(open("values.pkl", "rb"))))
print(run.error or "", file=sys.stderr)
sys.exit(run.status != "completed")
"""
STAGE = """\
import pickle
from pokeml.stage import Stage
stage = Stage("say", params=pickle.load(open("values.pkl", "rb")))
stage.run("echo"), stage.run("grow")
"""


def through(echo: Toy, way: str, values: dict) -> str:
    """Send values one way into the node, and give what it got."""
    (echo.root / "values.pkl").write_bytes(pickle.dumps(values))
    if way == "papermill":
        text = yaml.safe_dump({"params": plain_values(values)}, sort_keys=False)
        call = ["-m", "papermill", "nbs/stages/01_say.ipynb", "out.ipynb", "-y", text]
    else:
        call = ["-c", RUN if way == "run" else STAGE]
    done = echo.python(*call)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((echo.root / "data/made/grown.json").read_text())["grown"] == GROWN
    return json.loads((echo.root / "data/made/said.json").read_text())["said"]


@pytest.mark.parametrize("way", ["run", "papermill", "stage"])
def test_values_survive_the_way_into_a_notebook(echo, way):
    assert through(echo, way, edge) == said(edge)

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=2,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(batch)
    def check(values):
        assert through(echo, way, values) == said(values)

    check()


def test_dates_survive(echo):
    assert "datetime.date(2024, 2, 29)" in through(echo, "papermill", edge)
    for text in ("days: [2024-02-29]\n", "days: ['2024-02-29']\n"):  # a date of YAML's, and a text
        echo.write("conf/local/parameters.yml", text)
        done = echo.pokeml("run")
        assert done.returncode == 0, done.stderr
        assert "datetime.date(2024, 2, 29)" in (echo.root / "data/made/said.json").read_text()
    (echo.root / "conf/local/parameters.yml").unlink()


WRONG = [
    ("share", 1, "Parameter share is 1, which node grow does not take: Input should be less than 1."),
    ("share", "0.5", "Parameter share is '0.5', which node grow does not take: Input should be a valid number."),
    ("folds", True, "Parameter folds is True, which node grow does not take: Input should be a valid integer."),
    ("folds", "3", "Parameter folds is '3', which node grow does not take: Input should be a valid integer."),
    ("way", "quick", "Parameter way is 'quick', which node grow does not take: Input should be 'fast' or 'slow'."),
    ("colour", "blue", "Parameter colour is 'blue', which node grow does not take: Input should be 'red' or 'green'."),
    ("days", ["31.1."], "Parameter days.0 is '31.1.', which node echo does not take: Input should be a valid date"),
    ("size", [1], "Parameter size has no item 1, which node grow needs."),
    (
        "tree.depth",
        0,
        "Parameter tree.depth is 0, which node grow does not take: Input should be greater than or equal",
    ),
    ("tree", {"dept": 1}, "Unknown parameter 'tree.dept', which node grow does not take. Did you mean depth?"),
    ("tree", {"split": {"tset": 0.1}}, "Unknown parameter 'tree.split.tset', which node grow does not take. Did you"),
    ("tree", {"split": {"test": 7}}, "Parameter tree.split.test is 7, which node grow does not take: Input should be"),
    ("tre", {}, "Unknown parameter 'tre' (--params). Did you mean tree?"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=[f"{n}={v}" for n, v, _ in WRONG])
def test_wrong_values_are_refused_before_anything_runs(echo, name, value, message):
    before = echo.records()
    done = echo.pokeml("run", "--params", f"{name}={json.dumps(value)}")
    assert done.returncode == 2 and done.stderr.startswith(f"Error: {message}") and "Traceback" not in done.stderr
    assert message.startswith("Unknown parameter 'tre'") or done.stderr.rstrip().endswith("It is set in --params.")
    assert echo.records() == before


def test_all_that_is_wrong_is_told_with_its_line(echo):
    echo.write("conf/local/parameters.yml", "share: 2\nfolds: 1\n\ntree:\n  depth: 0\n")
    done = echo.pokeml("run")
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 3
    for start, line in {"Parameter share is 2": 1, "Parameter folds is 1": 2, "Parameter tree.depth is 0": 5}.items():
        assert any(start in t and t.endswith(f"It is set in conf/local/parameters.yml, line {line}.") for t in lines)
    (echo.root / "conf/local/parameters.yml").unlink()


def test_unused_value_is_refused(toy_project):
    toy = toy_project
    done = toy.pokeml("run", "--params", "nested.other=[1]")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Error: --params: no node takes the parameter 'nested.other'." in done.stderr
    assert toy.pokeml("run", "--dry-run", "--params", "_base=4.0").returncode == 0  # factor is made from it


@pytest.fixture
def toy_project(tmp_path) -> Toy:
    return Toy(tmp_path / "project")


def test_parameter_taken_twice_must_have_one_type(toy_project):
    toy = toy_project
    toy.replace(
        "toy/pipelines/second.py",
        "def total(scaled: pd.DataFrame, offset: float)",
        "def total(scaled, offset: float, more: int)",
    )
    toy.replace("toy/pipelines/second.py", '"params:nested.offset"]', '"params:nested.offset", "params:nested.offset"]')
    done = toy.pokeml("run")
    assert done.returncode == 2
    assert "Node total takes the parameter nested.offset twice, as float and as int. Give both arguments" in done.stderr


def test_all_parameters_under_one_name(toy_project):
    toy = toy_project
    toy.replace("toy/pipelines/third.py", "def report(counts: dict, ", "def report(parameters: dict, counts: dict, ")
    toy.replace("toy/pipelines/third.py", "{steps}", "{steps} {sorted(parameters)}")
    toy.replace(
        "toy/pipelines/third.py",
        '["counts", "total", "params:steps"]',
        '["parameters", "counts", "total", "params:steps"]',
    )
    toy.write("conf/local/parameters.yml", "only_for_it: 1\n")
    toy.run()
    assert "'least', 'nested', 'only_for_it', 'options', 'steps'" in toy.datasets()["report.txt"].decode()


def test_bounds_hold_through_plain_papermill(sample: Copy):
    call = ["-m", "papermill", "nbs/stages/02_data_engineering.ipynb", "out.ipynb", "-y"]
    done = sample.python(*call, "{params: {test_data_ratio: 2, random_state: -1}}")
    assert done.returncode != 0
    assert "Parameter test_data_ratio is 2, which node split_data does not take: Input should be less" in done.stderr
    assert "Parameter random_state is -1, which node split_data does not take" in done.stderr


def test_no_hint_is_not_checked():
    def free(a, b: "np.ndarray | Nowhere" = 1):  # noqa: F821
        return a

    taker = node(free, ["params:a", "params:b"], "x")
    assert arguments(taker, {"a": [1], "b": "x"}, Config({}, {})) == {"params:a": [1], "params:b": "x"}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic looks into it from Python 3.12 on")
def test_a_typed_dict_that_cannot_be_looked_into_is_told(tmp_path):
    toy = Toy(tmp_path / "project")
    first = "toy/pipelines/first.py"
    toy.replace(first, "import pandas as pd\n", "from typing import TypedDict\nimport pandas as pd\n")
    toy.replace(first, "def count(", "class Options(TypedDict):\n    kinds: dict\n\n\ndef count(")
    toy.replace(first, "options: dict)", "options: Options)")
    done = toy.pokeml("run", "--dry-run")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "Options cannot be checked before Python 3.12: import TypedDict from typing_extensions" in done.stderr
