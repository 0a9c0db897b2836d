"""The gallery of runs where something is not as it should be: it tells what can be told, and never stops a run."""

import json

import pytest

from pokeml.gallery import write_all, write_run
from pokeml.project import find_project
from pokeml.record import Run, StageRun


@pytest.fixture
def toy(tmp_path):
    """A project without a run."""
    (tmp_path / "settings.ini").write_text("[pokeml]\npackage = toy\n")
    return find_project(tmp_path)


def a_run(project, number: int, notebook: str | None = None, **about) -> Run:
    """Save a record; `notebook` is what its executed notebook holds."""
    run_id = f"2026-01-01T00.00.{number:02}.000Z"
    executed = f"outputs/runs/{run_id}/01_fit.ipynb"
    node = {"name": "fit", "status": "ran", "duration": 1.0, "why": ["first run"], "inputs": [], "outputs": []}
    stage = StageRun("fit", "nbs/stages/01_fit.ipynb", executed, status="completed", nodes=[node])
    facts = {"id": run_id, "status": "completed", "command": ["pokeml", "run"], "env": "local", "selection": {}}
    facts |= {"params": {}, "parameters": {}, "git": {}, "versions": {}, "started": "2026-01-01T00:00:00Z"}
    facts |= {"duration": 1.0, "stages": [stage], "metrics": {"scores": {"loss": 0.1 * number}}}
    run = Run(**facts | about)
    run.save(project)
    if notebook is not None:
        (project.root / executed).write_text(notebook)
    return run


def index(project) -> str:
    return (project.outputs / "index.html").read_text("utf-8")


NOTEBOOK = json.dumps(
    {
        "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Runs"}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)
NO_IMAGE = NOTEBOOK.replace(
    '"cells": [',
    '"cells": [{"cell_type": "code", "id": "b", "metadata": {}, "execution_count": 1, "source": "1", "outputs": '
    '[{"output_type": "display_data", "metadata": {}, "data": {"image/png": "AAA"}}]}, ',
)


@pytest.mark.parametrize("text", [NOTEBOOK[:-20], "[]", '{"cells": [{}]}', NO_IMAGE])
def test_a_notebook_that_cannot_be_read_takes_nothing_else_along(toy, text):
    a_run(toy, 1, text)
    run = a_run(toy, 2, NOTEBOOK)
    for write in (lambda: write_run(toy, run), lambda: write_all(toy)):
        write()
        assert index(toy).count("<tr data-id") == 2
        assert (toy.outputs / "runs" / run.id / "01_fit.html").is_file()
        page = (toy.outputs / "runs" / "2026-01-01T00.00.01.000Z" / "index.html").read_text("utf-8")
        assert 'href="01_fit.ipynb"' in page and "cannot be read" in page


def test_a_record_that_cannot_be_read_is_left_out(toy):
    for number, text in enumerate(["", "[]", "{}", '{"id": 1}']):
        a_run(toy, number)
        (toy.outputs / "runs" / f"2026-01-01T00.00.{number:02}.000Z" / "run.json").write_text(text)
    foreign = a_run(toy, 8)  # as a version may have written it that names errors otherwise
    record = json.loads(foreign.to_json()) | {"status": "failed", "error": {"what": "it"}}
    (toy.outputs / "runs" / foreign.id / "run.json").write_text(json.dumps(record))
    run = a_run(toy, 9)
    for write in (lambda: write_run(toy, run), lambda: write_all(toy)):
        write()
        assert index(toy).count("<tr data-id") == 1 and run.id in index(toy)


def test_a_run_that_was_killed_is_told_with_the_next(toy):
    a_run(toy, 1, status="running", duration=None)
    write_run(toy, a_run(toy, 2))
    assert 'data-status="killed"' in index(toy) and 'data-status="running"' not in index(toy)


def test_a_score_that_is_no_number_is_in_no_line(toy):
    for number, loss in enumerate([0.3, float("nan"), 0.2, float("inf"), 0.1]):
        run = a_run(toy, number, metrics={"scores": {"loss": loss}})
    write_run(toy, run)
    text = index(toy)
    points = text.partition('points="')[2].partition('"')[0]
    assert len(points.split()) == 3 and "nan" not in points and "inf" not in points
    assert text.count("class=best") == 1 and ' data-value="0.1" class=best>' in text
    assert ">-0.1 better<" in text
