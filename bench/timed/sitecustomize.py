"""Writes down how long some functions of pokeml take, in every process that has this folder on PYTHONPATH.

A line for each call in the file that `BENCH_TIMED` names: the process, the function, and the seconds without those of
other functions timed inside it.
"""

import functools
import os
import sys
import threading
import time
from importlib.machinery import ModuleSpec, PathFinder

TIMED = {
    "pokeml.dataset": ["Dataset.load", "Dataset.save"],
    "pokeml.engine": ["Execution.save"],
    "pokeml.helper": ["Helper.fork"],
    "pokeml.pipeline": ["call_node"],
    "pokeml.plan": ["make_plan"],
    "pokeml.record": ["Run.save", "git_state"],
    "pokeml.stage": ["Stage.__init__"],
    "pokeml.store": ["hash_file"],
}
inside = threading.local()


def timed(function, name):
    """Wrap a function."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        outer, inside.seconds, start = getattr(inside, "seconds", 0.0), 0.0, time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds = time.perf_counter() - start
            with open(os.environ["BENCH_TIMED"], "a") as file:
                file.write(f"{os.getpid()} {name} {seconds - inside.seconds:.6f}\n")
            inside.seconds = outer + seconds

    return wrapper


class Finder:
    """Finds the modules of `TIMED`, and wraps their functions when they are imported."""

    @staticmethod
    def find_spec(name, path=None, target=None) -> ModuleSpec | None:
        """Find a module as Python would."""
        spec = PathFinder.find_spec(name, path, target) if name in TIMED else None
        if spec:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                for function in TIMED[name]:
                    owner, _, last = function.rpartition(".")
                    place = getattr(module, owner) if owner else module
                    setattr(place, last, timed(getattr(place, last), function))

            spec.loader.exec_module = exec_module
        return spec


if "BENCH_TIMED" in os.environ:
    sys.meta_path.insert(0, Finder)
