"""Time predictions in process, and print what was measured as JSON: `python predict_rows.py one|batch`."""

import json
import sys
import time
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import pandas as pd

from pokeml import load_predictor

ROWS = 100_000
MODELS = Path("data/06_models")


def one(count: int = 2000) -> dict[str, float]:
    """Ask for one row after the other, as they stand in the raw table."""
    predictor = load_predictor(MODELS / "predictor.skops")
    rows = pd.read_csv("data/01_raw/pokemon.csv").to_dict("records")
    seconds = []
    for i in range(-count // 10, count):  # the first ones do not count
        start = time.perf_counter()
        answer = predictor.predict(rows[i % len(rows)])
        seconds += [time.perf_counter() - start] if i >= 0 else []
        assert answer["prediction"], answer
    return {"median_ms": 1000 * median(seconds), "p99_ms": 1000 * quantiles(seconds, n=100)[98]}


def batch(pairs: int = 3) -> dict[str, float]:
    """Ask for a table of many rows, and in turn the estimator in it for as many rows of features."""
    predictor = load_predictor(MODELS / "predictor.skops")
    raw = pd.read_csv("data/01_raw/pokemon.csv")
    raw = pd.concat([raw] * (ROWS // len(raw) + 1), ignore_index=True).head(ROWS)
    parts = [pd.read_parquet(f"data/05_model_input/X_{part}.parquet") for part in ("train", "test")]
    ready = np.concatenate([part.to_numpy() for part in parts])
    ready = np.tile(ready, (ROWS // len(ready) + 1, 1))[:ROWS]
    blocks = [ready[start : start + 4096] for start in range(0, ROWS, 4096)]  # which stay near the processor
    seconds: dict[str, list[float]] = {"whole": [], "estimator": [], "estimator_in_blocks": []}
    for pair in range(-1, pairs):
        for name, call in (
            ("estimator", lambda: predictor.model.predict_proba(ready)),
            ("estimator_in_blocks", lambda: np.concatenate([predictor.model.predict_proba(block) for block in blocks])),
            ("whole", lambda: predictor.predict(raw)),
        ):
            start = time.perf_counter()
            answers = call()
            seconds[name] += [time.perf_counter() - start] if pair >= 0 else []
            assert len(answers) == ROWS
    medians = {name: median(found) for name, found in seconds.items()}
    at_once, in_blocks = (medians["whole"] / medians[name] for name in ("estimator", "estimator_in_blocks"))
    return {"ratio": at_once, "ratio_in_blocks": in_blocks} | medians


if __name__ == "__main__":
    print(json.dumps({"one": one, "batch": batch}[sys.argv[1]]()))
