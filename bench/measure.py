"""Run commands in turn, and measure how long each takes and how much memory its processes hold."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

HERTZ = 20


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: a command, and the project that it runs in."""

    label: str
    command: list[str] | Callable[[int], list[str]]  # a function where it differs from round to round
    project: Path
    fresh: bool = True  # each trial gets a copy of the project, so that it finds nothing made before
    prefix: Path = Path(sys.prefix)  # the Python environment whose commands are found first
    reports: bool = False  # the command measures itself, and prints last the seconds or several values, as JSON

    def words(self, number: int = 0) -> list[str]:
        """Give the command of a round."""
        return self.command(number) if callable(self.command) else self.command

    @contextmanager
    def at_work(self) -> Iterator[Path]:
        """Give the folder to run in: the project, or a copy that is removed afterwards."""
        if not self.fresh:
            yield self.project
            return
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            copy = Path(shutil.copytree(self.project, Path(folder) / "project"))
            os.sync()  # else the copy may still be on its way to the disk during the trial
            yield copy


@dataclass(frozen=True)
class Trial:
    """One run of a command: its time in seconds, its peak memory in MB where that was sampled, what it told itself."""

    seconds: float
    peak_mb: float | None
    printed: str = field(repr=False)
    told: Mapping[str, float] = field(default_factory=dict)


def environment(folder: Path, prefix: Path = Path(sys.prefix)) -> dict[str, str]:
    """Give the environment variables of a trial: the package in `folder` comes first, Kedro's telemetry is off."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POKEML", "PYTHON"))}
    path = f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(folder), "DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"}


def tree_mb(process: psutil.Process) -> float:
    """Sum the memory of a process and all below it, in MB; a page that n processes share counts a nth for each."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            memory = one.memory_full_info()
            total += getattr(memory, "pss", memory.uss)  # only Linux knows the proportional share
    except psutil.Error:  # one has just ended; the next sample comes soon
        return 0.0
    return total / 1e6


def run(command: Sequence[str], folder: Path, env: Mapping[str, str], memory: bool = False) -> Trial:
    """Run a command once.

    Parameters
    ----------
    command
        The command.
    folder
        The working directory.
    env
        The environment variables.
    memory
        Whether to sample the memory of its process tree, `HERTZ` times a second.

    Raises
    ------
    RuntimeError
        If it fails; the message ends in what it printed last.
    """
    peak, ended = 0.0, threading.Event()

    def sample(process: psutil.Process) -> None:
        nonlocal peak
        while not ended.wait(1 / HERTZ):
            peak = max(peak, tree_mb(process))

    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        start = time.perf_counter()
        with subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        ) as process:
            if memory:
                threading.Thread(target=sample, args=[psutil.Process(process.pid)]).start()
            try:
                process.wait()  # without a time limit, which would look only every 50 ms
                seconds = time.perf_counter() - start
            finally:
                ended.set()
        out.seek(0)
        err.seek(0)
        printed = err.read() + out.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}:\n{printed[-3000:]}")
    return Trial(seconds, peak if memory else None, printed)


def attempt(contender: Contender, number: int, memory: bool) -> Trial:
    """Let a contender run once, in round `number`."""
    with contender.at_work() as folder:
        trial = run(contender.words(number), folder, environment(folder, contender.prefix), memory)
    if not contender.reports:
        return trial
    told = json.loads(trial.printed.splitlines()[-1])
    return replace(trial, told=told) if isinstance(told, dict) else replace(trial, seconds=told)


def in_turn(contenders: Sequence[Contender], rounds: int, memory: bool, warm_up: bool) -> list[dict[str, Trial]]:
    """Let contenders run in turn, A B A B …; give the trials of each round by label. A warm-up does not count."""
    done = []
    for number in range(-1 if warm_up else 0, rounds):
        trials = {c.label: attempt(c, number, memory) for c in contenders}
        took = ", ".join(f"{label} {trial.seconds:.3g} s" for label, trial in trials.items())
        print(f"  {'warm-up' if number < 0 else f'round {number + 1}'}: {took}", flush=True)
        done += [trials] if number >= 0 else []
    return done
