"""Time the planning of a run alone, without the start of Python and the imports; print the seconds."""

import time

from pokeml.project import find_project
from pokeml.runs import make_plan

start = time.perf_counter()
make_plan(find_project())
print(time.perf_counter() - start)
