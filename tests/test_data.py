"""The notebook that builds the raw table gives the committed bytes."""

import importlib.util
import os

import nbformat
import papermill
import pytest
from conftest import ROOT


def test_raw_table_is_what_its_notebook_builds(copy, tmp_path):
    if importlib.util.find_spec("poke_env") is None:
        if os.environ.get("CI"):
            pytest.fail("poke-env is missing; `make test` installs it")
        pytest.skip("needs `pip install --no-deps poke-env==0.16.1`")
    table = copy.root / "data/01_raw/pokemon.csv"
    committed = table.read_bytes()
    table.unlink()
    notebook = copy.root / "nbs/data/01_pokemon_database.ipynb"
    papermill.execute_notebook(notebook, tmp_path / "out.ipynb", cwd=notebook.parent, progress_bar=False)
    assert table.read_bytes() == committed == (ROOT / "data/01_raw/pokemon.csv").read_bytes()
    pictures = [
        o
        for c in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        for o in c.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]
    assert pictures
