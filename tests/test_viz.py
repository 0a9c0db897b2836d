"""`pokeml viz` in Chromium: found, chosen, folded, zoomed, by mouse and by keyboard; and a run watched live."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from browser import DESK, PHONE, findings, is_within, opened
from conftest import ROOT, wait_for


@pytest.fixture(scope="module")
def url(full):
    assert full.pokeml("viz").stdout.strip() == "outputs/viz.html"
    path = full.root / "outputs" / "viz.html"
    assert path.stat().st_size < 1_500_000
    return path.as_uri()


def ready(page) -> None:
    page.wait_for_selector("html[data-ready]", state="attached")


def box(page) -> list[float]:
    return [float(part) for part in page.get_attribute("#full svg", "viewBox").split()]


def test_an_item_is_found_and_told_of(url, browser):
    with opened(browser, url) as page:
        ready(page)
        page.keyboard.press("/")
        page.keyboard.type("evaluate")
        page.keyboard.press("Enter")
        panel = page.locator("#panel")
        assert panel.locator("h2").inner_text() == "evaluate"
        told = panel.inner_text()
        for part in (
            "ran",
            "nbs/pipelines/04_metrics.ipynb, cell",
            "bootstrap_samples",
            "conf/base/pipelines/metrics/parameters.yml, line",
        ):
            assert part in told, part
        assert panel.locator("pre.highlight .k").first.is_visible()
        assert (
            panel.get_by_role("link", name="its cell in the executed notebook")
            .get_attribute("href")
            .startswith("./runs/")
        )
        assert "#node%3Aevaluate" in page.url
        lit = page.evaluate("[...document.querySelectorAll('#full .item.on')].map(g => g.dataset.key)")
        assert {"node:clean_data", "node:plot_type_scores", "dataset:X_test"} <= set(lit) and "node:compare" not in lit
        panel.get_by_role("button", name="classification_metrics").click()
        assert "08_reporting" in panel.inner_text() and "json" in panel.inner_text()
        page.keyboard.press("Escape")
        assert not panel.is_visible() and "#" not in page.url
        page.get_by_label("search").fill("")
        page.get_by_label("pipeline", exact=True).select_option("pre_processing")
        shown = page.locator("#list li:visible").all_inner_texts()
        assert [text.split()[0] for text in shown][:2] == ["clean_data", "pokemon_database"] and len(shown) == 7
    with opened(browser, f"{url}#dataset%3Apokemon_clean", inside=url) as page:
        ready(page)
        assert "667 × 35" in page.inner_text("#panel")


def test_zoom_pan_and_fold(url, browser):
    with opened(browser, url) as page:
        ready(page)
        show_all = page.get_by_role("button", name="show all")
        show_all.click()
        whole = box(page)
        page.get_by_label("Zoom in").click()
        page.mouse.move(800, 500)
        page.mouse.wheel(0, -300)
        assert box(page)[3] < whole[3] / 1.3
        before = box(page)
        page.mouse.down()
        page.mouse.move(700, 450, steps=3)
        page.mouse.up()
        assert box(page)[0] > before[0] and box(page)[1] > before[1]
        show_all.click()
        assert box(page) == whole
        page.get_by_role("button", name="fold metrics").click()
        assert page.locator("#full .item.folded-box").count() == 1
        assert not page.locator("#full [data-key='node:evaluate']").is_visible()
        assert page.locator("#full [data-key='dataset:predictions']").is_visible()  # others read it
        assert page.locator("#full .line.made:visible").count() > 3
        page.locator("#full .item.folded-box").click()
        assert page.locator("#full [data-key='node:evaluate']").is_visible()
        page.get_by_role("button", name="overview").click()
        assert page.locator("#folded .item.pipeline:visible").count() == 5
        page.locator("#folded [data-key='pipeline:predictor']").click()
        assert page.locator("#full svg").is_visible() and box(page) != whole


def test_all_is_reached_by_the_keyboard(url, browser):
    with opened(browser, url) as page:
        ready(page)
        page.locator("#full [data-key='dataset:pokemon_database']").focus()
        for key in ("ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
        reached = page.evaluate("document.activeElement.dataset.key")
        assert reached in ("dataset:pokemon_clean", "dataset:cleaning_report")
        page.keyboard.press("Enter")
        assert page.inner_text("#panel h2") == reached.partition(":")[2]
        known = page.evaluate("[...document.querySelectorAll('#full .item')].map(g => g.dataset.key)")
        listed = page.evaluate("[...document.querySelectorAll('#list [data-key]')].map(b => b.dataset.key)")
        assert set(known) <= set(listed) and len(listed) == len(set(listed))
        assert all(
            page.evaluate("[...document.querySelectorAll('#full .item')].map(g => g.getAttribute('aria-label'))")
        )


def test_a_link_leads_to_an_item(url, browser):
    for odd in ("#constructor", "#%", "#node%3Anone"):
        with opened(browser, url + odd, inside=url) as page:
            ready(page)
            assert not page.locator("#panel").is_visible()
            page.evaluate("location.hash = 'dataset%3Apokemon_database'")
            page.wait_for_selector("#panel h2")
            assert page.inner_text("#panel h2") == "pokemon_database"
    with opened(browser, url, PHONE, inside=url) as page:
        ready(page)
        assert page.locator("#full [data-key='dataset:pokemon_database'] .box").bounding_box()["height"] > 20  # as well
        assert page.locator(".legend li:visible").all_inner_texts() == ["✓ ran"]
        page.evaluate("location.hash = 'node%3Aclean_data'")
        page.wait_for_selector("#panel h2")
        assert page.locator("#full [data-key='node:clean_data'] .box").bounding_box()["height"] > 20  # can be read


def test_paper_is_white_and_shows_the_whole(url, browser):
    with opened(browser, url, color_scheme="dark") as page:
        ready(page)
        page.get_by_label("Light or dark").click()
        page.get_by_label("Light or dark").click()
        page.get_by_role("button", name="show all").click()
        whole = box(page)
        page.get_by_label("Zoom in").click()
        close = box(page)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert box(page) == whole and page.get_attribute("html", "data-theme") == "light"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert box(page) == close and page.get_attribute("html", "data-theme") == "dark"


def test_it_serves_everybody(url, browser):
    for size, scheme in ((DESK, "dark"), (PHONE, "light")):
        with opened(browser, f"{url}#node%3Afit_best_model", size, url, color_scheme=scheme) as page:
            ready(page)
            assert findings(page) == [], scheme
            assert is_within(page)
    with opened(browser, url, java_script_enabled=False) as page:
        assert page.get_by_text("plot_confusion").first.is_visible()  # the picture needs no script


def test_nothing_planted_runs(copy, browser):
    copy.replace(
        "pokeml/pipelines/pre_processing.py",
        "Keep the usable rows",
        "</script><script>document.title = 'run'</script><img src=x onerror=alert(1)> Keep the usable rows",
    )
    assert copy.pokeml("viz").returncode == 0
    url = (copy.root / "outputs" / "viz.html").as_uri()
    with opened(browser, f"{url}#node%3Aclean_data", inside=url) as page:
        ready(page)
        assert "document.title = 'run'" in page.inner_text("#panel .doc") and page.title().startswith("Pipelines")


def test_many_pipelines_begin_as_one_box_each(tmp_path, browser, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench.projects import make_chain

    chain = make_chain(tmp_path / "chain", 70, 2)
    done = subprocess.run([sys.executable, "-m", "pokeml", "viz"], cwd=chain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = chain / "outputs" / "viz.html"
    assert path.stat().st_size < 300_000  # what is not seen at first is packed
    with opened(browser, path.as_uri()) as page:
        ready(page)
        assert page.locator("#folded .item.pipeline").count() == 70
        assert page.locator("#folded .item.pipeline .box").first.bounding_box()["height"] > 20  # can be read
        page.get_by_label("search").fill("count_017_2")
        page.keyboard.press("Enter")
        assert page.locator("#full [data-key='node:count_017_2']").is_visible()
        assert page.inner_text("#panel h2") == "count_017_2"


def test_formats(full, tmp_path):
    for form, begins in {
        "svg": b"<svg",
        "png": b"\x89PNG",
        "mmd": b"flowchart",
        "dot": b"digraph",
        "json": b"{",
    }.items():
        done = full.pokeml("viz", "-o", str(tmp_path / f"a.{form}"), "--parameters", "-p", "ds,metrics")
        assert done.returncode == 0, done.stderr
        made = (tmp_path / f"a.{form}").read_bytes()
        assert made.startswith(begins)
        assert form == "png" or b"evaluate" in made and b"clean_data" not in made
    assert json.loads((tmp_path / "a.json").read_text())["items"]["node:evaluate"]["state"] == "ran"
    nothing = full.pokeml("viz", "-o", str(tmp_path / "a"))
    assert nothing.returncode == 2 and "--format" in nothing.stderr
    wrong = full.pokeml("viz", "--format", "jpg")
    assert wrong.returncode == 2 and "Did you mean png?" in wrong.stderr and "Traceback" not in wrong.stderr


def test_a_run_is_watched_live(sample, browser):
    watching = sample.start("viz", "--watch")
    try:
        address = re.match(r"(http://127\.0\.0\.1:\d+/)", watching.stdout.readline())[1]
        with opened(browser, address) as page:
            ready(page)
            page.locator("#full [data-key='node:clean_data']").click()
            assert sample.pokeml("run", "-p", "pre_processing").returncode == 0
            wait_for(lambda: "completed" in page.inner_text("#run"), 10)
            assert page.locator("#full [data-key='node:clean_data'].ran").count() == 1
            assert (
                "ran" in page.inner_text("#panel") and page.inner_text("#panel h2") == "clean_data"
            )  # the choice stays
            assert page.locator("#panel a").count() == 0  # it serves no files
        request = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
    finally:
        watching.terminate()
        watching.communicate(timeout=20)
