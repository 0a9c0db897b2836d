"""Ask `pokeml serve` in a project 20,000 times from eight clients, and print how it did as JSON.

The server has one core, the clients the other one. In the root of the project: `python service.py [count]`.
"""

import json
import os
import sys
from pathlib import Path

import pandas as pd
from load import load, serving  # beside this file

from pokeml import load_predictor


def main(count: int) -> None:
    """Serve, ask, tell."""
    predictor = load_predictor("data/06_models/predictor.skops")
    names = [column.name for column in predictor.columns]
    table = pd.read_csv("data/01_raw/pokemon.csv")
    rows = json.loads(table[[name for name in names if name in table]].to_json(orient="records"))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[1]})
    with serving(cwd=Path.cwd(), core=cores[0] if len(cores) > 1 else None) as (url, pid):
        told = load(f"{url}/predict", rows, count=count, clients=8, pid=pid)
    told["memory_growth"] = told["memory_mb_after"] / told["memory_mb_before"]
    print(json.dumps({name: value for name, value in told.items() if isinstance(value, int | float)}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20_000)
