"""A project of three small pipelines, for tests that edit it and look what runs."""

import json
import os
import shutil
from pathlib import Path

from conftest import ROOT, Copy

PACKAGE = {
    "helpers.py": '''
"""What several pipelines use."""
from toy.deep import half

SCALE = 10


class Rule:
    """Says what is large enough."""

    def __init__(self, least):
        self.least = least

    def fits(self, value):
        return value >= self.least

    def never_called(self):
        return 1


def mean(values):
    return 2 * half(sum(values)) / len(values)


def never_used():
    return 2
''',
    "deep.py": "def half(value):\n    return value / 2\n",
    "shapes.py": "def shape(table):\n    return len(table)\n",
    "registry.py": "WAYS = {}\n\n\ndef way(function):\n    WAYS[function.__name__] = function\n    return function\n",
    "plugins.py": "from toy.registry import way\n\n\n@way\ndef same(text):\n    return text\n",
    "pipelines/first.py": '''
"""First."""
import pandas as pd
from pokeml.pipeline import Pipeline, node
from toy.helpers import Rule


def clean(raw: pd.DataFrame, least: float, digits: int = 1) -> pd.DataFrame:
    """Keep what is large enough."""
    rule = Rule(least)  # made once
    kept = raw[[rule.fits(size) for size in raw["size"]]]
    return kept.assign(size=kept["size"].round(digits)).reset_index(drop=True)


def count(clean: pd.DataFrame, options: dict) -> dict:
    """Count rows of each kind."""
    return {name: int((clean["kind"] == kind).sum()) for name, kind in options["kinds"].items()}


pipeline = Pipeline([
    node(clean, ["raw", "params:least"], "clean"),
    node(count, ["clean", "params:options"], "counts"),
])
''',
    "pipelines/second.py": '''
"""Second."""
import pandas as pd
import side
import toolbox
from pokeml.pipeline import Pipeline, node
from toy import helpers, plugins
from toy.registry import WAYS

try:
    import not_installed
except ImportError:
    not_installed = None


def scale(clean: pd.DataFrame, factor: float) -> pd.DataFrame:
    return clean.assign(size=clean["size"] * factor * helpers.SCALE)


def total(scaled: pd.DataFrame, offset: float) -> pd.DataFrame:
    means = {kind: helpers.mean(list(part["size"])) + offset for kind, part in scaled.groupby("kind")}
    return pd.DataFrame({"kind": list(means), "mean": list(means.values())})


def label(words: str) -> str:
    end = "" if not_installed is None else "?"
    return WAYS["same"](toolbox.loud(words)) + side.mark() + end


pipeline = Pipeline([
    node(scale, ["clean", "params:factor"], "scaled"),
    node(total, ["scaled", "params:nested.offset"], "total"),
    node(label, "words", "label"),
])
''',
    "pipelines/third.py": '''
"""Third."""
import statistics
import pandas as pd
from pokeml.pipeline import Pipeline, node


class Marks:
    @staticmethod
    def low(numbers: list) -> dict:
        return {"mark": min(numbers)}

    @staticmethod
    def high(numbers: list) -> dict:
        return {"mark": max(numbers)}


def report(counts: dict, total: pd.DataFrame, steps: list) -> str:
    return f"{counts} {steps} {list(total.columns)} {list(total['mean'])}"


pipeline = Pipeline([
    node(report, ["counts", "total", "params:steps"], "report"),
    node(statistics.mean, "numbers", "middle", name="middle"),
    node(Marks.low, "numbers", "mark", name="mark"),
])
''',
}

CATALOG = """\
raw: {type: pandas.CSVDataset, filepath: data/raw.csv, load_args: {sep: ","}, layer: raw}
extra: {type: pandas.CSVDataset, filepath: data/extra.csv}
words: {type: text.TextDataset, filepath: data/words.txt}
numbers: {type: json.JSONDataset, filepath: data/numbers.json}
clean: {type: pandas.ParquetDataset, filepath: data/made/clean.parquet}
counts: {type: json.JSONDataset, filepath: data/made/counts.json}
total: {type: pandas.CSVDataset, filepath: data/made/total.csv}
label: {type: text.TextDataset, filepath: data/made/label.txt}
report: {type: text.TextDataset, filepath: data/made/report.txt}
middle: {type: json.JSONDataset, filepath: data/made/middle.json}
mark: {type: json.JSONDataset, filepath: data/made/mark.json}
"""

PARAMETERS = """\
least: 2.5
_base: 3.0
factor: ${_base}
nested: {offset: 0.3, other: [1, 2]}
options:
  kinds: {a: x, b: y}
  note: unused
steps: [1, 2]
"""

STAGES = {
    "first": ["clean", "count"],
    "second": ["scale", "total", "label"],
    "third": ["report", "middle", "mark"],
}

FILES = {
    "settings.ini": "[pokeml]\npackage = toy\n",
    "conf/base/catalog.yml": CATALOG,
    "conf/base/parameters.yml": PARAMETERS,
    "conf/prod/parameters.yml": "least: 2.5\n",
    "data/raw.csv": "kind,size\n" + "".join(f"{'xyz'[i % 3]},{i}.25\n" for i in range(9)),
    "data/extra.csv": "a,b\n1,2\n",
    "data/words.txt": "some words\n",
    "data/numbers.json": "[1, 2, 6]\n",
    "toy/__init__.py": "",
    "toy/pipelines/__init__.py": "",
    "../lib/side.py": "def mark():\n    return '!'\n",
    "../lib/toolbox.py": "def loud(text):\n    return text.upper()\n",
    "../lib/toolbox-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toolbox\nVersion: 1.0\n",
    "../lib/toolbox-1.0.dist-info/top_level.txt": "toolbox\n",
}


def stage_notebook(name: str, cells: list[str]) -> str:
    """Write a stage notebook: parameters, the stage, and `cells`."""
    sources = ['env = ""\nnodes = []\nparams = {}', "from pokeml.stage import Stage\n"]
    sources[1] += f'stage = Stage("{name}", env=env, nodes=nodes, params=params)'
    made = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for i, source in enumerate([*sources, *cells])
    ]
    made[0]["metadata"] = {"tags": ["parameters"]}
    text = {"cell_type": "markdown", "id": "text", "metadata": {}, "source": f"# {name}"}
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": [text, *made], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1)


class Toy(Copy):
    """A small project; beside it a folder `lib` with two modules from elsewhere."""

    def __init__(self, root: Path, of: "Toy | None" = None):
        self.root = root
        self.env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{root.parent / 'lib'}", "COLUMNS": "200"}
        self.env["PYTHONDONTWRITEBYTECODE"] = ""
        self.env.pop("POKEML_PROJECT", None)
        if of:
            shutil.copytree(of.root.parent, root.parent, dirs_exist_ok=True)
            return
        for path, text in FILES.items():
            self.write(path, text)
        for path, text in PACKAGE.items():
            self.write(f"toy/{path}", text.lstrip())
        for i, (name, nodes) in enumerate(STAGES.items(), 1):
            cells = [f'{node} = stage.run("{node}")\n{node}' for node in nodes]
            last = ["from toy import shapes\nshapes.shape(stage.load('extra'))"] if name == "third" else ["1 + 1"]
            self.write(f"nbs/stages/0{i}_{name}.ipynb", stage_notebook(name, cells + last))

    def run(self, *arguments: str) -> dict:
        """Run pokeml and give the record."""
        done = self.pokeml("run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.record()

    def record(self) -> dict:
        """Read the newest record."""
        return json.loads(self.records()[-1].read_text("utf-8"))

    def datasets(self) -> dict[str, bytes]:
        """Read what nodes have made."""
        made = self.root / "data" / "made"
        return {p.name: p.read_bytes() for p in sorted(made.glob("*")) if not p.name.startswith(".")}


def ran(record: dict) -> set[str]:
    """Name the nodes that ran."""
    return {n["name"] for s in record["stages"] for n in s["nodes"] if n["status"] == "ran"}


def executed(record: dict) -> set[str]:
    """Name the stages that were executed."""
    return {s["name"] for s in record["stages"] if s["status"] == "completed"}


def reasons(record: dict) -> str:
    """Write why nodes ran and stages were executed, a line for each."""
    about = [x for s in record["stages"] for x in (s, *s["nodes"])]
    return "\n".join(f"{x['name']}: {'; '.join(x['why'])}" for x in about if x.get("why"))
