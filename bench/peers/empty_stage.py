"""Print how long papermill takes for an empty notebook with the engine `pokeml` or its own; the median of five times.

What comes first, and starts what the others find warm, does not count.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import nbformat
import papermill


def seconds(notebook: Path, engine: str | None) -> float:
    """Execute the notebook once, and write the executed copy."""
    start = time.perf_counter()
    papermill.execute_notebook(notebook, notebook.with_stem("executed"), engine_name=engine, progress_bar=False)
    return time.perf_counter() - start


def main(engine: str | None) -> None:
    """Print the median."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    empty = nbformat.v4.new_notebook(metadata=kernel, cells=[nbformat.v4.new_code_cell("pass")])
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "empty.ipynb"
        nbformat.write(empty, notebook)
        print(median([seconds(notebook, engine) for _ in range(6)][1:]))


if __name__ == "__main__":
    main(None if sys.argv[1] == "papermill" else sys.argv[1])
