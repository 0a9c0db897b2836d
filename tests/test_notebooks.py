"""Every notebook's cells run, as `nbdev-test` runs them, each notebook in a process of its own."""

import sys

import forked
import pytest
from conftest import ROOT, start
from nbdev.doclinks import nbglob

NBS = ROOT / "nbs"
NOTEBOOKS = sorted(path for path in nbglob(NBS, as_path=True) if not path.with_name(".notest").exists())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(NBS).with_suffix("").as_posix())
def test_notebook(path):
    code = f"{forked.NOTEBOOK}; nbdev_test({str(path)!r}, n_workers=0, verbose=True)"
    done = start([sys.executable, "-c", code], timeout=900)
    if done.returncode != 0:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
