"""Say where the time of one run goes: what it imports, and the parts of a run."""

import json
import os
import re
import tempfile
from collections import Counter
from pathlib import Path

from .measure import Contender, environment, run

IMPORT = re.compile(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)", re.MULTILINE)
TIMED = Path(__file__).parent / "timed"
PARTS = {
    "nodes: compute": ["call_node"],
    "nodes: load": ["Dataset.load"],
    "nodes: save": ["Dataset.save"],
    "hashing": ["hash_file"],
    "stages: configuration, catalog, node module": ["Stage.__init__"],
    "waiting for the helper: its start, imports, fork": ["Helper.fork"],
    "record: run.json, executed notebooks, commit": ["Run.save", "Execution.save", "git_state"],
    "planning": ["make_plan"],
}
IN_CELLS = ("nodes", "hashing", "stages")


def import_seconds(printed: str, most: int = 8) -> dict[str, float]:
    """Sum what Python printed of its imports by top-level package; the dearest ones. The helper prints nothing."""
    micro: Counter[str] = Counter()
    for own, module in IMPORT.findall(printed):
        micro[module.partition(".")[0]] += int(own)
    dearest = dict(micro.most_common(most)) | {"all": micro.total()}
    return {name: round(own / 1e6, 3) for name, own in dearest.items()}


def run_seconds(record: Path, timed: str, wall: float) -> dict[str, float]:
    """Share out the wall time of a run among its parts, from its executed notebooks and what was timed."""
    seconds: Counter[str] = Counter()
    for line in timed.splitlines():
        _, function, own = line.split()
        seconds[function] += float(own)
    cells = 0.0
    for path in record.parent.glob("*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            cells += cell["metadata"].get("papermill", {}).get("duration") or 0
    parts = {part: sum(seconds[name] for name in names) for part, names in PARTS.items()}
    parts["other code in the cells: tables, pictures, checks"] = cells - sum(
        value for part, value in parts.items() if part.startswith(IN_CELLS)
    )
    parts["the rest: start and end of Python, imports, messages between the processes"] = wall - sum(parts.values())
    return {part: round(value, 3) for part, value in parts.items()}


def where_time_goes(contender: Contender) -> dict[str, dict[str, float]]:
    """Run a contender twice more: with some functions timed, and with Python's import times, which slow it down."""
    parts = {}
    with contender.at_work() as folder, tempfile.NamedTemporaryFile("r") as timed:
        before = set(folder.glob("outputs/runs/*/run.json"))
        env = environment(folder, contender.prefix) | {"BENCH_TIMED": timed.name}
        env["PYTHONPATH"] += f"{os.pathsep}{TIMED}"
        seconds = run(contender.words(), folder, env).seconds
        if new := set(folder.glob("outputs/runs/*/run.json")) - before:
            parts["run"] = run_seconds(max(new), timed.read(), seconds)
    with contender.at_work() as folder:
        env = environment(folder, contender.prefix) | {"PYTHONPROFILEIMPORTTIME": "1"}
        printed = run(contender.words(), folder, env).printed
    return parts | {"imports of the main process": import_seconds(printed)}
