"""The gallery of runs in Chromium: what it tells, sorted and filtered, safe, and quick with many runs."""

import json
import re
import shutil
import time

import pytest
from browser import DESK, PHONE, findings, is_within, opened

from pokeml.gallery import write_all, write_run
from pokeml.project import find_project
from pokeml.record import Run, StageRun, find_run
from pokeml.run_page import comparison_page

EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


def a_run(number: int, **about) -> Run:
    """A record as runs leave them, with much in it."""
    data = {
        "name": "model",
        "type": "dict",
        "path": "data/06_models/m.json",
        "xxh3_128": f"h{number}",
        "layer": "06_models",
    }
    nodes = [
        {
            "name": "fit",
            "status": "ran",
            "duration": 1.5,
            "why": [f"alpha {number} → {number + 1} (conf/base/parameters.yml, line 3)"],
        }
        | {"inputs": [{"name": "table", "rows": 10, "columns": 3, "xxh3_128": "t"}], "outputs": [data], "warnings": []}
    ]
    stage = StageRun("science", "nbs/stages/01_science.ipynb", None, status="completed", nodes=nodes)
    facts = {
        "id": f"2026-01-01T{number // 3600:02}.{number // 60 % 60:02}.{number % 60:02}.000Z",
        "status": "completed",
        "command": ["pokeml", "run", "--params", f"alpha={number}"],
        "env": "local",
        "selection": {},
        "params": {"alpha": number},
        "parameters": {"alpha": number, "grid": {"depth": [1, 2]}},
        "git": {"commit": "c" * 40, "dirty": False},
        "versions": {"python": "3.11.7"},
        "started": "2026-01-01T00:00:00Z",
        "duration": 1.0 + number % 7,
        "stages": [stage],
        "metrics": {"scores": {"accuracy": 0.8 + (number * 37 % 100) / 1000, "log_loss": 0.5, "rows": 3}},
    }
    return Run(**facts | about)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A project with records alone, one of which means ill."""
    root = tmp_path_factory.mktemp("gallery")
    (root / "settings.ini").write_text("[pokeml]\npackage = toy\n")
    project = find_project(root)
    for number in range(5):
        a_run(number).save(project)
    error = {"stage": "science", "node": "fit", "cell": 2, "kind": "ValueError", "message": EVIL, "hint": EVIL}
    evil = a_run(5, label=EVIL, status="failed", error=error | {"notebook": None, "place": None}, metrics={})
    evil.errors = [evil.error]
    outputs = [
        {"output_type": "display_data", "data": {"text/html": f"<b>kept</b>{EVIL}"}, "metadata": {}},
        {
            "output_type": "display_data",
            "data": {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>"},
            "metadata": {},
        },
        {"output_type": "stream", "name": "stdout", "text": EVIL},
        {"output_type": "error", "ename": "ValueError", "evalue": EVIL, "traceback": [f"\x1b[31m{EVIL}\x1b[0m"]},
    ]
    cells = [
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": f"# Science {EVIL}\n\n[x](javascript:alert(1))"},
        {
            "cell_type": "code",
            "id": "c",
            "metadata": {},
            "source": 'stage.run("fit")',
            "execution_count": 1,
            "outputs": outputs,
        },
    ]
    folder = project.outputs / "runs" / evil.id
    folder.mkdir(parents=True)
    (folder / "01_science.ipynb").write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    evil.stages[0].executed = f"outputs/runs/{evil.id}/01_science.ipynb"
    evil.stages[0].status = evil.stages[0].nodes[0]["status"] = "failed"
    evil.save(project)
    write_all(project)
    return project


def ids(page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('#runs tbody tr:not([hidden])')].map(row => row.dataset.id)")


def test_runs_are_sorted_filtered_and_compared(toy, browser):
    url = (toy.outputs / "index.html").as_uri()
    with opened(browser, url) as page:
        newest = ids(page)
        assert newest == sorted(newest, reverse=True) and len(newest) == 6
        page.get_by_role("button", name="accuracy").click()
        scores = [float(text) for text in page.locator("#runs td[data-label=accuracy]").all_inner_texts() if text]
        assert scores == sorted(scores) and len(scores) == 5
        page.get_by_role("button", name="accuracy").press("Enter")  # by keyboard the other way
        assert ids(page)[0] != newest[0]
        page.get_by_label("Filter").fill("00.00.03 COMPLETED")
        assert len(ids(page)) == 1 and "1 of 6" in page.inner_text("#count")
        page.get_by_label("Filter").fill("")
        page.get_by_label("Status", exact=True).select_option("failed")
        assert len(ids(page)) == 1
        page.get_by_label("Status", exact=True).select_option("")
        for run_id in newest[2:4]:
            page.get_by_label(f"Compare {run_id}").check()
        told = page.inner_text("#compare")
        assert f"pokeml runs diff {newest[3]} {newest[2]} --html" in told and "accuracy" in told
        assert page.title() == "Runs of toy"


def test_pages_of_a_run_lead_to_each_other_and_nothing_planted_runs(toy, browser):
    run = find_run(toy)
    folder = toy.outputs / "runs" / run.id
    comparison = comparison_page(toy, [find_run(toy, "latest~1"), find_run(toy, "latest~2"), run])
    pages = [toy.outputs / "index.html", folder / "index.html", folder / "01_science.html", comparison]
    for path in pages:
        with opened(browser, path.as_uri(), inside=toy.outputs.as_uri()) as page:
            page.wait_for_load_state("load")
            assert page.title() != "run" and not page.query_selector("main script, main iframe, main [onerror]")
            links = page.evaluate(
                "[...document.querySelectorAll('a')].map(a => new URL(a.getAttribute('href'), location).href)"
            )
            for link in filter(lambda link: link.startswith("file:"), links):
                target, _, anchor = link.removeprefix("file://").partition("#")
                assert (toy.root / target).is_file(), link
                assert not anchor or f'id="{anchor}"' in (toy.root / target).read_text("utf-8"), link
    with opened(browser, (folder / "index.html").as_uri(), inside=toy.outputs.as_uri()) as page:
        assert page.locator(".card.bad").inner_text().startswith("science, node fit: ValueError")
        page.get_by_role("link", name="Go to the cell that failed").click()
        assert page.url.endswith("01_science.html#cell-c")
        assert page.locator("#cell-c .output b").inner_text() == "kept"
        page.get_by_role("button", name="Hide code").click()
        assert not page.get_by_text("stage.run").is_visible()


def test_pages_serve_everybody(toy, browser):
    run = find_run(toy)
    folder = toy.outputs / "runs" / run.id
    for path in (toy.outputs / "index.html", folder / "index.html", folder / "01_science.html"):
        for size, scheme in ((DESK, "light"), (PHONE, "dark")):
            with opened(browser, path.as_uri(), size, toy.outputs.as_uri(), color_scheme=scheme) as page:
                assert findings(page) == [], f"{path.name}, {scheme}"
                assert is_within(page), f"{path.name} at {size['width']} px"
    with opened(browser, (toy.outputs / "index.html").as_uri()) as page:
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Light or dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


def test_many_runs_stay_quick_and_small(tmp_path, browser):
    (tmp_path / "settings.ini").write_text("[pokeml]\npackage = toy\n")
    project = find_project(tmp_path)
    for number in range(100):
        a_run(number).save(project)
    write_all(project)
    assert (project.outputs / "index.html").stat().st_size <= 200_000
    for number in range(100, 500):
        a_run(number).save(project)
    write_run(project, find_run(project))
    last = a_run(500)
    last.save(project)
    before = {path: path.stat().st_mtime_ns for path in project.outputs.rglob("runs/*/index.html")}
    write_run(project, last)
    after = {path: path.stat().st_mtime_ns for path in project.outputs.rglob("runs/*/index.html")}
    assert {path.parent.name for path in after if after[path] != before.get(path)} == {last.id}  # no other page
    with opened(browser, (project.outputs / "index.html").as_uri()) as page:
        assert len(ids(page)) == 501
        took = page.evaluate(
            "(() => { const begin = performance.now(); document.querySelector('#runs thead button').click(); "
            "document.body.offsetHeight; return performance.now() - begin; })()"
        )
        assert took < 2000  # a page that hangs, not one that is measured
    shutil.rmtree(project.outputs / "runs" / find_run(project, "latest~1").id)
    write_run(project, last)
    assert (project.outputs / "index.html").read_text("utf-8").count("<tr data-id") == 500


def test_a_run_tells_its_story_with_no_further_command(full, browser):
    index = full.root / "outputs" / "index.html"
    with opened(browser, index.as_uri(), inside=index.parent.as_uri()) as page:
        assert "18 of 18 nodes ran" in page.inner_text("main") and "first run" in page.inner_text("main")
        page.locator("#runs tbody a").first.click()
        assert page.locator(".picture .item.node.ran").count() == 18
        assert page.locator(".figures img").count() >= 9
        page.locator(".picture a", has_text="evaluate").click()
        page.wait_for_url(re.compile(r"04_metrics\.html#cell-"))
        assert page.evaluate("document.querySelector(':target').textContent").count('stage.run("evaluate")') == 1
        assert page.evaluate("[...document.images].filter(i => i.loading !== 'lazy').every(i => i.naturalWidth > 0)")


def test_a_run_goes_on_where_its_pages_cannot_be_written(sample):
    (sample.root / "outputs" / "index.html").mkdir(parents=True)
    done = sample.pokeml("run", "-p", "pre_processing")
    assert done.returncode == 0 and "pokeml runs html" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_time_is_only_spent_where_something_ran(toy):
    begin = time.process_time()
    write_run(toy, find_run(toy))
    assert time.process_time() - begin < 1  # nothing is rendered anew; bench/ measures it
