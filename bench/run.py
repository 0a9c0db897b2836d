"""Measure every figure and write the results; `python -m bench.run --help`."""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from .figures import GROUPS, Figure, Group, Place
from .measure import Trial, in_turn
from .profiling import where_time_goes
from .projects import BENCH, ROOT, kedro_environment

LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "skops", "matplotlib")
OURS = ("papermill", "nbclient", "execnb", "ipykernel", *LIBRARIES)
KEDRO = ("kedro", "kedro-datasets", *LIBRARIES)


def machine() -> dict[str, Any]:
    """Describe the machine as far as it matters."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = round(psutil.virtual_memory().total / 1e9, 1)
    return {"cores": cores, "memory_gb": memory, "system": f"{platform.system()} {platform.machine()}"}


def kedro_versions() -> dict[str, str]:
    """Look up what is installed beside Kedro."""
    code = f"import json; from importlib.metadata import version; print(json.dumps({{n: version(n) for n in {KEDRO}}}))"
    python = kedro_environment() / "bin" / "python"
    return json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout)


def measured(trial: Trial) -> dict[str, Any]:
    """Give what was measured in a trial."""
    return {"seconds": trial.seconds, "peak_mb": trial.peak_mb} | ({"told": trial.told} if trial.told else {})


def result(figure: Figure, rounds: list[dict[str, Trial]]) -> dict[str, Any]:
    """Sum a figure up: the median over the rounds, the least and the greatest, and whether its goal is met."""
    values = [figure.value(trials) for trials in rounds]
    sides = [label for label in (figure.of, figure.to) if label]
    about = asdict(figure) | {"median": median(values), "low": min(values), "high": max(values)}
    about["medians"] = {label: median(figure.measured(trials[label]) for trials in rounds) for label in sides}
    return about | {"met": figure.is_met(about["median"])}


def measure(group: Group, place: Place, rounds: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure a group; give all that was measured, and its figures."""
    print(group.name, flush=True)
    contenders = {c.label: c for c in group.contenders(place)}
    count = min(rounds * group.rounds, group.most or rounds * group.rounds)
    trials = in_turn(list(contenders.values()), count, group.memory, group.warm_up)
    figures = [result(figure, trials) for figure in group.figures]
    if group.remark:
        figures[0]["remark"] = group.remark(place)
    about: dict[str, Any] = {
        "commands": {label: " ".join(c.words()) for label, c in contenders.items()},
        "rounds": [{label: measured(trial) for label, trial in r.items()} for r in trials],
    }
    if group.profile and any(figure["met"] is False for figure in figures):
        about["where_time_goes"] = {group.profile: where_time_goes(contenders[group.profile])}
    return about, figures


def table(figures: list[dict[str, Any]]) -> str:
    """Write the figures as a Markdown table."""
    lines = ["| figure | median | least to greatest | goal | |", "|---|---|---|---|---|"]
    for f in figures:
        goal = "reported" if f["goal"] is None else f"{'≤' if f['at_most'] else '≥'} {f['goal']:g}"
        met = {True: "met", False: "missed", None: ""}[f["met"]]
        lines.append(f"| {f['title']} | {f['median']:.3g} | {f['low']:.3g} to {f['high']:.3g} | {goal} | {met} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    names = [group.name for group in GROUPS]
    parser.add_argument("--only", action="append", choices=names, help="measure this alone; may be given again")
    parser.add_argument("--quick", action="store_true", help="one pair of each comparison, not five")
    given = parser.parse_args()
    rounds = 1 if given.quick else 5
    path = (BENCH if given.quick or given.only else ROOT / "bench") / "results.json"  # the whole alone is for the docs
    BENCH.mkdir(exist_ok=True)
    start, groups, figures = time.perf_counter(), {}, []
    versions = {"pokeml": {name: version(name) for name in OURS}, "kedro": kedro_versions()}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Place(Path(folder))
        for group in (g for g in GROUPS if g.name in (given.only or names)):
            groups[group.name], found = measure(group, place, rounds)
            figures += found
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions,
    }
    text = json.dumps(about | {"figures": figures, "groups": groups})
    rounded = json.loads(text, parse_float=lambda number: round(float(number), 4))
    path.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"\n{table(figures)}\n\n{path.relative_to(ROOT)}, after {about['minutes']} minutes")


if __name__ == "__main__":
    main()
