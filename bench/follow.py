"""Write the peers' work from the pipelines, so that they always do the same: as one would by hand, without pokeml."""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from pprint import pformat
from typing import Any

import yaml

from pokeml.nodes import Node, is_parameter
from pokeml.pipeline import Pipeline

FIGURE = {"metadata": {"Software": None}, "bbox_inches": "tight", "dpi": 150}  # what pokeml's dataset does by itself
MODELS = ("sklearn.ModelDataset", "pokeml.predictor.PredictorDataset")
KEDRO = {  # the kinds of datasets that Kedro calls otherwise
    "pandas.CSVDataSet": "pandas.CSVDataset",
    "metrics.MetricsDataset": "json.JSONDataset",
    "matplotlib.FigureDataset": "matplotlib.MatplotlibDataset",
    **dict.fromkeys(MODELS, "peer.skops_dataset.SkopsDataset"),
}
HEAD = '''"""The example as one plain script: the same functions, parameters and files, and nothing around them.

Run it at the root of a copy of the project.
"""

import json
from pathlib import Path

import pandas as pd
import skops.io
import yaml
from PIL import Image

{imports}


def write_json(value, path):
    """Write a value as JSON."""
    Path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\\n", "utf-8")


params = {{}}
for path in sorted(Path("conf/base").rglob("parameters.yml")):
    params |= yaml.safe_load(path.read_text("utf-8"))
for folder in {folders}:
    Path(folder).mkdir(parents=True, exist_ok=True)
'''
REGISTRY = '''"""The pipelines of the example, in Kedro's words."""

from kedro.pipeline import Node, Pipeline

{imports}


def register_pipelines():
    """Give the pipelines by name; `__default__` is what `kedro run` runs."""
    pipelines = {{}}
{pipelines}
    return pipelines | {{"__default__": sum(pipelines.values(), Pipeline([]))}}
'''


class Work:
    """What a project does: its pipelines in the order of their stages, and its catalog.

    Parameters
    ----------
    root
        The project, whose package this Python imports.
    stages
        Their names where it is not about all of them.
    """

    def __init__(self, root: Path, stages: Iterable[str] = ()):
        names = [path.stem.partition("_")[2] for path in sorted((root / "nbs" / "stages").glob("*.ipynb"))]
        wanted = set(stages) or set(names)
        self.pipelines: dict[str, Pipeline] = {
            name: import_module(f"pokeml.pipelines.{name}").pipeline for name in names if name in wanted
        }
        self.entries: dict[str, dict[str, Any]] = {}
        for path in sorted((root / "conf" / "base").rglob("catalog*.yml")):
            self.entries |= yaml.safe_load(path.read_text("utf-8"))

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in the order in which they run."""
        return [node for pipeline in self.pipelines.values() for node in pipeline.nodes]

    def imports(self) -> str:
        """Write the imports of the nodes' modules."""
        modules = sorted({node.func.__module__ for node in self.nodes})
        return "\n".join(f"import {module}" for module in modules)


def called(node: Node) -> str:
    """Write how a function is called in a script, by its whole name, which no dataset has."""
    module, name = node.func.__module__, node.func.__qualname__
    if getattr(import_module(module), name, None) is not node.func:
        raise ValueError(f"node {node.name}: its function {name} has no name in a module, so no script can call it")
    return f"{module}.{name}"


def read(name: str, entry: Mapping[str, Any]) -> str:
    """Write the line that reads a dataset that no node makes."""
    kind, part = KEDRO.get(entry["type"], entry["type"]), entry.get("dataset")
    if kind == "pandas.CSVDataset":
        return f"{name} = pd.read_csv({entry['filepath']!r})"
    if kind == "partitions.PartitionedDataset" and part == "pillow.ImageDataset":
        places = f"sorted(Path({entry['path']!r}).glob('*'))"
        return f"{name} = {{place.name: (lambda place=place: Image.open(place)) for place in {places}}}"
    raise ValueError(f"{name}: the script knows no {entry['type']} to read")


def write(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Write the lines that write a dataset."""
    kind, options = KEDRO.get(entry["type"], entry["type"]), entry.get("save_args", {})
    if kind == "partitions.PartitionedDataset":
        path = f"{entry['path']}/{{key}}{entry['filename_suffix']}"
        (line,) = write("part", entry["dataset"] | {"filepath": path})
        line = line.replace(repr(path), f"f{path!r}")
        return [f"for key, part in {name}.items():", "    part = part() if callable(part) else part", f"    {line}"]
    path = entry["filepath"]
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    figure = ", ".join(f"{key}={value!r}" for key, value in (FIGURE | options).items())
    lines = {
        "pandas.ParquetDataset": f"{name}.to_parquet({path!r}{arguments})",
        "pandas.CSVDataset": f"{name}.to_csv({path!r}, index=False{arguments})",
        "json.JSONDataset": f"write_json({name}, {path!r})",
        "matplotlib.MatplotlibDataset": f"{name}.savefig({path!r}, {figure})",
        "peer.skops_dataset.SkopsDataset": f"skops.io.dump({name}, {path!r})",
    }
    if kind not in lines:
        raise ValueError(f"{name}: the script knows no {entry['type']} to write")
    return [lines[kind]]


def value(name: str) -> str:
    """Write a value of a node's arguments."""
    if not is_parameter(name):
        return name
    return "params" + "".join(f"[{part!r}]" for part in name.removeprefix("params:").split(".") if name != "parameters")


def result(node: Node) -> list[str]:
    """Write the lines that give the names of the outputs to what the function returns."""
    arguments = ", ".join(f"{argument}={value(name)}" for argument, name in node.inputs.items())
    call = f"{called(node)}({arguments})"
    if node.keys and isinstance(node.keys[0], str):
        picks = [f"{name} = made[{key!r}]" for name, key in zip(node.outputs, node.keys, strict=True)]
        return [f"made = {call}", *picks, "del made"]
    return [f"{', '.join(node.outputs)} = {call}"]


def script(work: Work) -> str:
    """Write the script: a value stays in memory as long as somebody reads it, and is written as the catalog says."""
    nodes = work.nodes
    made = [work.entries[name] for node in nodes for name in node.outputs if name in work.entries]
    folders = sorted({e["path"] if "path" in e else str(Path(e["filepath"]).parent) for e in made})
    lines = [HEAD.format(imports=work.imports(), folders=folders)]
    last = {name: node for node in nodes for name in (*node.outputs, *node.datasets)}
    there: set[str] = set()
    for node in nodes:
        first = [name for name in node.datasets if name not in there]
        lines += ["", *(read(name, work.entries[name]) for name in first), *result(node)]
        for name in node.outputs:
            lines += write(name, work.entries[name]) if name in work.entries else []
        there |= {*first, *node.outputs}
        if gone := [name for name, reader in last.items() if reader is node]:
            lines.append(f"del {', '.join(gone)}")
    return "\n".join(lines) + "\n"


def kedro_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Write an entry of the catalog for Kedro."""
    ours = {"schema", "layer"}
    found = {key: value for key, value in entry.items() if key not in ours} | {
        "type": KEDRO.get(entry["type"], entry["type"])
    }
    if found["type"] == "matplotlib.MatplotlibDataset":
        found["save_args"] = FIGURE | entry.get("save_args", {})
    if isinstance(found.get("dataset"), Mapping):
        found["dataset"] = kedro_entry(found["dataset"])
    return found


def kedro_catalog(work: Work) -> str:
    """Write Kedro's catalog: the same files in the same formats."""
    entries = {name: kedro_entry(entry) for name, entry in work.entries.items()}
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def kedro_registry(work: Work) -> str:
    """Write the module with Kedro's pipelines."""
    lines = []
    for name, pipeline in work.pipelines.items():
        lines.append(f"    pipelines[{name!r}] = Pipeline(\n        [")
        for node in pipeline.nodes:
            outputs: Any = list(node.outputs) if node.keys else node.outputs[0]
            if node.keys and isinstance(node.keys[0], str):
                outputs = dict(zip(node.keys, node.outputs, strict=True))
            rest = f"{pformat(dict(node.inputs), width=200, sort_dicts=False)}, {outputs!r}, name={node.name!r}"
            lines.append(f"            Node({called(node)}, {rest}),")
        lines.append("        ]\n    )")
    return REGISTRY.format(imports=work.imports(), pipelines="\n".join(lines))


if __name__ == "__main__":  # a look at what is written
    work = Work(Path(__file__).resolve().parents[1], sys.argv[1:])
    print(script(work), kedro_registry(work), kedro_catalog(work), sep="\n# " + "-" * 100 + "\n")
