"""The docs site: a small one, built in a copy of the project with a page that tries things, and seen in Chromium."""

import functools
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import DESK, PHONE, findings, is_within, opened
from conftest import ROOT, made_once

BESIDE = (".ci/lock.txt", "pyproject.toml", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "LICENSE")
PLANTED = [
    "# | hide\nhidden = 'neither this'\nprint('nor what it says')",
    "#|echo:false\nprint('said with no ' + 'code')",
    "#|eval:false\nraise SystemExit('not to be executed')",
    "from pathlib import Path\nfrom IPython.display import HTML\nPath.cwd()",
    "HTML('<b>bold</b><script>document.title = \"planted\"</script>')",
    'HTML(\'<i id=tried onclick="alert(1)">tried</i><img src="x" onerror="document.title = 1">\')',
    "%%bash\necho $((41 + 1)) apples",
]
KINDS = ["index", "02a_pipeline", "how_to/90_planted", "api/pokeml.pipeline", "reference/commands"]
KINDS += ["stages/01_pre_processing", "search", "404"]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *args):
        pass


def write_notebook(path: Path, title: str, codes: list[str]) -> None:
    cells = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {title}\n> It is there to try."}]
    cells += [
        {"cell_type": "code", "id": f"try{i}", "metadata": {}, "source": code, "outputs": [], "execution_count": None}
        for i, code in enumerate(codes)
    ]
    spec = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": cells, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}), "utf-8")


@pytest.fixture(scope="module")
def building():
    """The module that builds the site."""
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / ".docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(root: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ".docs/build.py", *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def docs(full, tmp_path_factory):
    """A copy of the project in which everything ran, and a site made from three of its notebooks."""
    env = full.env | {"DOCS_URL": "https://example.org/docs", "REPOSITORY_URL": ""}

    def make(folder: Path) -> None:
        root = folder / "project"
        shutil.copytree(full.root, root)
        shutil.copytree(ROOT / ".docs", root / ".docs", ignore=shutil.ignore_patterns("cache", "source", "doctrees"))
        for name in (*BESIDE, "bench/README.md", "data/README.md"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        write_notebook(root / "nbs/docs/how_to/90_planted.ipynb", "Planted", PLANTED)
        moved = env | {"PYTHONPATH": str(root)}
        done = build(root, moved, "--only", "index,02a_pipeline,90_planted", "--out", str(folder / "site"))
        assert done.returncode == 0, done.stdout + done.stderr

    folder = made_once(tmp_path_factory, "docs", make)
    root = folder / "project"
    return SimpleNamespace(root=root, site=folder / "site", env=env | {"PYTHONPATH": str(root)})


@pytest.fixture(scope="module")
def url(docs):
    """Where the site is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(docs.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", KINDS)
def test_a_page_can_be_read_by_all(url, browser, name):
    for size, scheme in ((DESK, "light"), (PHONE, "dark")):
        with opened(browser, f"{url}/{name}.html", size, url, color_scheme=scheme) as page:
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            assert is_within(page)
            if size is DESK and name != "02a_pipeline":  # index is a notebook as well, and not so long
                assert findings(page) == []


def test_a_page_needs_no_server(docs, browser):
    for name in ("index", "api/pokeml.pipeline"):
        with opened(browser, (docs.site / f"{name}.html").as_uri(), inside=docs.site.as_uri()) as page:
            assert page.locator("h1").count() >= 1


def test_search_finds_a_page(url, browser):
    with opened(browser, f"{url}/search.html?q=planted", inside=url) as page:
        page.locator("#search-results a", has_text="Planted").first.click()
        page.wait_for_url("**/how_to/90_planted.html*")
        assert page.inner_text("h1").startswith("Planted")


def test_the_theme_can_be_switched_and_stays(url, browser):
    with opened(browser, f"{url}/index.html", inside=url, color_scheme="light") as page:
        for mode, theme in (("dark", "dark"), ("light", "light"), ("auto", "light"), ("dark", "dark")):
            page.locator(".theme-switch-button:visible").click()
            page.locator(f".theme-change-button[data-mode={mode}]:visible").click()
            assert page.evaluate("document.documentElement.dataset.theme") == theme
        page.goto(f"{url}/how_to/90_planted.html")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_what_is_planted_does_not_run(docs, url, browser):
    with opened(browser, f"{url}/how_to/90_planted.html", inside=url) as page:
        assert "Planted" in page.title()
        page.get_by_text("tried", exact=True).last.click()  # a dialog would be a complaint
    text = (docs.site / "how_to/90_planted.html").read_text("utf-8")
    assert "onerror" in text  # the code is shown
    assert not re.search(r"<(?:i|img)\b[^>]*\bon(?:click|error)=", text)


def test_directives_are_followed_and_no_folder_is_told(docs):
    text = re.sub(r"<[^>]+>", "", (docs.site / "how_to/90_planted.html").read_text("utf-8"))
    assert "neither this" not in text and "nor what it says" not in text
    assert "said with no code" in text and "'code'" not in text
    assert "42 apples" in text and "%%bash" not in text
    library = re.sub(r"<[^>]+>", "", (docs.site / "02a_pipeline.html").read_text("utf-8"))
    assert "class Pipeline" in library and "#| export" not in library and "default_exp" not in library
    for page in docs.site.rglob("*.html"):
        assert str(docs.root) not in page.read_text("utf-8"), page


def test_no_output_of_a_page_is_a_traceback(docs):
    for name in ("index", "02a_pipeline"):
        assert "Traceback (most recent call last)" not in (docs.site / f"{name}.html").read_text("utf-8")


def test_the_reference_has_every_function_class_and_command(docs):
    module = importlib.import_module("pokeml.pipeline")
    text = (docs.site / "api/pokeml.pipeline.html").read_text("utf-8")
    own = [n for n in module.__all__ if getattr(getattr(module, n), "__module__", "") == "pokeml.pipeline"]
    assert len(own) > 3
    assert [n for n in own if f'id="pokeml.pipeline.{n}"' not in text] == []
    assert "../02a_pipeline.html#cell-" in text
    (anchor,) = set(re.findall(r'02a_pipeline\.html#(cell-\w+)"', text)[:1])
    assert f'id="{anchor}"' in (docs.site / "02a_pipeline.html").read_text("utf-8")
    from pokeml.cli import main

    commands = re.sub(r"<[^>]+>", "", (docs.site / "reference/commands.html").read_text("utf-8"))
    assert [name for name, command in main.commands.items() if not command.hidden and name not in commands] == []


def test_what_is_beside_the_pages(docs):
    assert "https://example.org/docs/02a_pipeline.html" in (docs.site / "sitemap.xml").read_text("utf-8")
    assert "(https://example.org/docs/how_to/90_planted.html): It is there to try." in (
        docs.site / "llms.txt"
    ).read_text("utf-8")
    assert (docs.site / ".nojekyll").exists()
    run = json.loads(sorted((docs.root / "outputs/runs").glob("*/run.json"))[0].read_text("utf-8"))
    assert "As run" in (docs.site / "stages/01_pre_processing.html").read_text("utf-8") and run["stages"]


def test_a_failing_cell_ends_the_build_and_what_has_not_changed_is_not_executed(docs, tmp_path):
    failing = docs.root / "nbs/docs/how_to/91_failing.ipynb"
    write_notebook(failing, "Failing", ["good = 1", "good / 0"])
    try:
        done = build(docs.root, docs.env, "--only", "90_planted,91_failing", "--out", str(tmp_path / "site"))
    finally:
        failing.unlink()
    assert done.returncode == 1 and not (tmp_path / "site").exists()
    assert "1 to execute, 1 from the cache" in done.stdout
    assert "nbs/docs/how_to/91_failing.ipynb, cell 2 (try1): ZeroDivisionError" in done.stderr


def test_the_sources_of_the_site_are_whole(building):
    assert building.check_sources() == []


def test_what_is_wrong_with_sources_is_named(building, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "ROOT", tmp_path)
    monkeypatch.setattr(building, "NOTEBOOKS", tmp_path / "nbs")
    for name in ("README.md", "conf/README.md", *building.PAGES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# One\n[here](README.md#one), `[no](link.md)`, [there](https://example.org)\n")
    (tmp_path / "conf/README.md").write_text("No title. ![a picture](lost.png)\n")
    (tmp_path / "nbs").mkdir()
    write_notebook(tmp_path / "nbs/00_listed.ipynb", "Listed", [])
    write_notebook(tmp_path / "nbs/lost.ipynb", "On [no](../README.md) list", [])
    (tmp_path / "pokeml").mkdir()
    (tmp_path / "pokeml/a.py").write_text('def good(x):\n    """Do it."""\n\n\ndef bad(x):\n    """Do *it."""\n')
    assert [line.partition(": docstring")[0] for line in building.check_sources()] == [
        "conf/README.md has no title",
        "conf/README.md: lost.png leads nowhere",
        "nbs/lost.ipynb is on no list of pages: LISTED in .docs/build.py",
        "pokeml/a.py, line 5, bad",
    ]


@pytest.mark.parametrize(
    ("link", "url", "to"),
    [
        ("../../02a_pipeline.ipynb", "", "../02a_pipeline.html"),
        ("../../02a_pipeline.ipynb#cell-id=exported", "", "../02a_pipeline.html#cell-exported"),
        ("../../02a_pipeline.ipynb#cell-id=shown", "", "../02a_pipeline.html"),
        ("https://example.org/a#b", "", "https://example.org/a#b"),
        ("#here", "", "#here"),
        ("../../../settings.ini", "", None),
        ("../../../settings.ini", "https://example.org/repo", "https://example.org/repo/blob/main/settings.ini"),
        ("../../../outputs/index.html", "https://example.org/repo", None),
        ("/tmp/of-a-page/outputs/runs/1/01_sales.ipynb", "https://example.org/repo", None),
    ],
)
def test_links_of_outputs_lead_to_what_a_reader_has(building, monkeypatch, link, url, to):
    monkeypatch.setattr(building, "exported_cells", lambda path: {"exported"})
    links = building.Links(url)
    links.tracked = {"settings.ini"}
    links.pages[ROOT / "nbs/02a_pipeline.ipynb"] = "02a_pipeline.ipynb"
    at, page = ROOT / "nbs/docs/how_to/90_planted.ipynb", building.SOURCE / "how_to/90_planted.ipynb"
    output = {
        "output_type": "display_data",
        "data": {"text/html": f'<a href="{link}">sales</a> & more'},
        "metadata": {},
    }
    html = building.safe_output(output, at, page, links)["data"]["text/html"]
    assert re.findall(r'href="([^"]*)"', html) == ([to] if to else [])
    assert ">sales</a> &amp; more" in html


def test_a_link_that_leads_nowhere_is_found(building, tmp_path):
    links = ["#here", "#gone", "b.html", "b.html#there", "c.html", "https://example.org"]
    (tmp_path / "a.html").write_text('<p id="here">' + "".join(f'<a href="{link}">x</a>' for link in links))
    (tmp_path / "b.html").write_text("")
    found = sorted(building.check(tmp_path))
    assert found == [f"a.html: {link} leads nowhere" for link in ("#gone", "b.html#there", "c.html")]
