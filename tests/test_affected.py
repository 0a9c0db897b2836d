"""`make check` chooses the tests that a change may touch, the nearest first, and says what it leaves out."""

from types import SimpleNamespace

import affected
from conftest import NOTEBOOKS, ROOT

TESTS, NBS = ROOT / "tests", ROOT / "nbs"


def near(*changed: str) -> dict[str, int]:
    files = [*TESTS.glob("test_*.py"), *NBS.glob("*.ipynb"), *NBS.glob("docs/*/*.ipynb")]
    return {path.stem: distance for path, distance in affected.nearness(ROOT, changed, files).items()}


def test_imports_tell_what_a_changed_module_touches():
    found = near("nbs/08g_serve_rows.ipynb", "pokeml/serve_rows.py")
    assert found["08g_serve_rows"] == 0  # was changed
    assert found["test_serve"] == found["08l_serve"] == 1  # import it
    assert found["08n_serve_command"] == 2  # imports what imports it
    assert found["test_serve_page"] == affected.SAME_NAME  # starts `pokeml serve`
    assert found["test_faults"] == affected.FAR  # starts commands
    assert "00_project" not in found


def test_other_files_touch_what_names_them():
    assert near("tests/toy.py")["test_choosing"] == 1
    assert near("nbs/docs/page.py")["06_comparing"] == 1
    assert near("README.md")["test_shape"] == 1
    assert "test_faults" not in near("README.md")
    assert near("conf/base/logging.yml")["test_faults"] == affected.FAR
    assert near() == {}


def test_the_nearest_and_quickest_run_and_what_is_left_out_is_said(monkeypatch):
    monkeypatch.setattr(affected, "changed_files", lambda root: ["pokeml/serve_rows.py", "tests/test_hooks.py"])
    tests = [
        SimpleNamespace(nodeid=f"tests/{name}.py::test_it[{number}]", path=TESTS / f"{name}.py")
        for name in ("test_faults", "test_serve", "test_hooks")
        for number in range(2)
    ]
    notebook = SimpleNamespace(params={"path": NBS / "08l_serve.ipynb"})
    tests += [SimpleNamespace(nodeid=f"{NOTEBOOKS}::test_notebook[08l_serve]", path=None, callspec=notebook)]
    took = {test.nodeid: 4.0 for test in tests} | {tests[2].nodeid: 9.0, tests[3].nodeid: 20.0}
    chosen, told = affected.choose(ROOT, tests, took, 25)
    assert chosen == [tests[0], tests[2], *tests[4:]]  # the change itself, what imports it, and one that is far
    assert told == [
        "2 changed files may touch 7 tests, of which 5 ran.",
        "`make test` runs the others. The nearest are in test_serve.",
    ]
