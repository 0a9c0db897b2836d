"""Time `%load_ext pokeml` in an IPython that has started; print the seconds, and which large libraries came along."""

import json
import sys
import time

from IPython.core.interactiveshell import InteractiveShell

HEAVY = {"pandas", "numpy", "sklearn", "matplotlib", "papermill"}

shell = InteractiveShell.instance()
shell.run_cell("1 + 1")
start = time.perf_counter()
shell.run_line_magic("load_ext", "pokeml")
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "heavy": len(HEAVY & set(sys.modules))}))
