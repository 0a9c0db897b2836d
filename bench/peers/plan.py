"""Time the planning of a run alone, without the start of Python and the imports; print the seconds."""

import time

from pokeml.plan import make_plan
from pokeml.project import find_project

start = time.perf_counter()
make_plan(find_project())
print(time.perf_counter() - start)
