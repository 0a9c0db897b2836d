"""Say where the time of one run goes: what it imports, and the parts of a run that its record tells."""

import json
import re
from collections import Counter
from pathlib import Path

from .measure import Contender, environment, run

IMPORT = re.compile(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)", re.MULTILINE)


def import_seconds(printed: str, most: int = 8) -> dict[str, float]:
    """Sum what Python printed of its imports by top-level package, all processes together; the dearest ones."""
    micro: Counter[str] = Counter()
    for own, module in IMPORT.findall(printed):
        micro[module.partition(".")[0]] += int(own)
    dearest = dict(micro.most_common(most)) | {"all": micro.total()}
    return {name: round(own / 1e6, 3) for name, own in dearest.items()}


def run_seconds(record: Path, wall: float) -> dict[str, float]:
    """Share out the wall time of a run among its parts, from its record and the executed notebooks."""
    about = json.loads(record.read_text("utf-8"))
    stages = [s for s in about["stages"] if s.get("duration")]
    nodes = sum(n.get("duration") or 0 for s in stages for n in s["nodes"])
    cells = 0.0
    for path in record.parent.glob("*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            cells += cell["metadata"].get("papermill", {}).get("duration") or 0
    inside = sum(s["duration"] for s in stages)
    return {
        "nodes: load, compute, save": round(nodes, 3),
        "other code in the cells: imports, tables, pictures, checks": round(cells - nodes, 3),
        "stages without their cells: kernel or fork, notebook, its copy": round(inside - cells, 3),
        "outside the stages: start, imports, planning, record": round(wall - inside, 3),
    }


def where_time_goes(contender: Contender) -> dict[str, dict[str, float]]:
    """Run a contender twice more: as it is, and with Python's import times, which slow it down."""
    with contender.at_work() as folder:
        before = set(folder.glob("outputs/runs/*/run.json"))
        seconds = run(contender.words(), folder, environment(folder, contender.prefix)).seconds
        new = set(folder.glob("outputs/runs/*/run.json")) - before
        parts = {"run": run_seconds(max(new), seconds)} if new else {}
    with contender.at_work() as folder:
        env = environment(folder, contender.prefix) | {"PYTHONPROFILEIMPORTTIME": "1"}
        printed = run(contender.words(), folder, env).printed
    return parts | {"imports, all processes": import_seconds(printed)}
