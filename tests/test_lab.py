"""The page "From an idea to a node, in JupyterLab", typed and clicked in a real JupyterLab in Chromium."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from browser import DESK, findings
from conftest import ROOT, wait_for

PAGE = ROOT / "nbs" / "docs" / "tutorials" / "05_in_jupyterlab.ipynb"
FORECASTING = "nbs/pipelines/02_forecasting.ipynb"
SCRATCH = "nbs/explore/Untitled.ipynb"
MAKE = "import page, shutil, sys; shutil.copytree(page.bakery(), sys.argv[1]); page.leave()"


def steps() -> Iterator[tuple[str, Any]]:
    """What the page's reader does: `type` the source of a cell and run it, or `save` a change of a notebook."""
    for cell in json.loads(PAGE.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.startswith("#| hide"):
            yield "type", source
        elif "page.save(" in source:
            told: list[tuple[str, str, str]] = []
            exec(source, {"page": SimpleNamespace(save=lambda *words, told=told: told.append(words))})
            yield from (("save", words) for words in told)


class Lab:
    """JupyterLab as somebody who sits before it has it."""

    def __init__(self, page: Any, url: str, token: str, picture: Path):
        self.page, self.url, self.token, self.picture = page, url, token, picture
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str) -> None:
        """Open the lab on a folder or a file."""
        self.page.goto(f"{self.url}lab/tree/{quote(path)}?token={self.token}&reset")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    @property
    def notebook(self) -> Any:
        """The notebook that one sees."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def tab(self, path: str, state: str = "") -> Any:
        """The tab of a notebook; with the state `.lm-mod-current` if it is at the front."""
        return self.page.locator(f'#jp-main-dock-panel .lm-TabBar-tab{state}[title*="Path: {path}"]')

    def begin(self, folder: str) -> None:
        """Make a notebook in a folder, by the card of the launcher."""
        self.go(folder)
        self.page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()  # before, a cell is not run

    def type(self, source: str) -> Any:
        """Type a cell into the last one, run it, and give it when it has ended."""
        cell = self.notebook.locator(".jp-CodeCell").last
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(source)
        handle = cell.element_handle()
        self.page.keyboard.press("Shift+Enter")
        ended = r"cell => /\[\d+\]/.test(cell.querySelector('.jp-InputPrompt').textContent)"
        try:
            self.page.wait_for_function(ended, arg=handle)
        except Exception:
            self.page.screenshot(path=self.picture)
            raise
        return handle

    def open(self, path: str) -> None:
        """Open a notebook by its name in the file browser."""
        self.page.keyboard.press("Escape")
        if not self.page.locator(".jp-FileBrowser").is_visible():
            self.page.locator('[data-id="filebrowser"]').click()
        self.page.locator(".jp-BreadCrumbs-home").click()
        for part in path.split("/"):
            self.page.locator(".jp-DirListing-item", has_text=part).dblclick()
        self.page.locator(
            "#jp-main-dock-panel .lm-TabBar-tab.lm-mod-current", has_text=path.rpartition("/")[2]
        ).wait_for()

    def change(self, old: str, new: str) -> None:
        """Change a text in a cell of the notebook that one sees, and save it."""
        cell = self.notebook.locator(".jp-CodeCell", has_text=old).first
        cell.locator(".cm-line", has_text=old).first.click()
        source = cell.locator(".cm-content").evaluate("e => e.cmView.view.state.doc.toString()")
        assert source.count(old) == 1
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source.replace(old, new))
        self.page.keyboard.press("ControlOrMeta+s")


def module(root: Path) -> Path:
    return root / "bakery" / "pipelines" / "forecasting.py"


def save(lab: Lab, root: Path, path: str, old: str, new: str, exported: bool = True) -> None:
    """Change a notebook in the lab, save it, and come back when it is exported."""
    if lab.tab(path).count():
        lab.tab(path).click()
    else:
        lab.open(path)
    lab.change(old, new)
    if exported:
        wait_for(lambda: new in module(root).read_text())
        lab.tab(SCRATCH).click()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory) -> Iterator[tuple[Lab, Path]]:
    """A JupyterLab on the baker's project, and the project."""
    root = tmp_path_factory.mktemp("lab") / "bakery"
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'nbs' / 'docs'}"}
    subprocess.run([sys.executable, "-c", MAKE, str(root)], env=env, check=True, timeout=120)
    (root / "nbs" / "explore").mkdir(exist_ok=True)
    env = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(root.parent / "jupyter")}
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(root.parent / "settings"), "IPYTHONDIR": str(root.parent / "ipython")}
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(root.parent / "workspaces"), "JUPYTER_DATA_DIR": str(root.parent / "data")}
    env |= {"JUPYTER_RUNTIME_DIR": str(root.parent / "runtime")}
    log = root.parent / "lab.log"
    call = [sys.executable, "-m", "pokeml", "lab", "--no-browser", "--port=0", "--allow-root"]

    def server() -> dict[str, Any] | None:
        assert process.poll() is None, log.read_text()
        texts = [path.read_text() for path in (root.parent / "runtime").glob("jpserver-*.json")]
        return json.loads(texts[0]) if texts and texts[0] else None

    with open(log, "w") as file:
        process = subprocess.Popen(call, cwd=root, env=env, stdout=file, stderr=file, start_new_session=True)
    try:
        about = wait_for(server)
        page = browser.new_page(viewport=DESK)
        page.set_default_timeout(90_000)  # three test processes share two cores
        yield Lab(page, about["url"], about["token"], root.parent / "lab.png"), root
        page.close()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def test_the_page_in_a_real_lab(lab):
    lab, root = lab
    lab.begin("nbs/explore")
    shown = {}
    for what, about in steps():
        if what == "save":
            save(lab, root, *about)
            continue
        text = shown[about] = lab.type(about).inner_text()
        assert "Traceback" not in text and "Error" not in text.replace("KeyError", ""), text
        if about.startswith("run(check=False)"):
            assert "KeyError" in text and "→" in text
            lab.notebook.locator("a", has_text=f"source: {FORECASTING}").click()
            lab.tab(FORECASTING, ".lm-mod-current").wait_for()
            lab.notebook.locator(".cm-line", has_text='"eror"').wait_for()
            lab.tab(SCRATCH).click()
    assert "What differs: parameter window (the same: data, code)" in shown["%diff"]
    assert "119.3" in shown["catalog.worst_days"]
    records = [json.loads(path.read_text()) for path in sorted((root / "outputs" / "runs").glob("*/run.json"))]
    assert [r["status"] for r in records] == ["completed"] * 3 + ["failed"] + ["completed"] * 2
    lab.page.keyboard.press("ControlOrMeta+s")
    lab.page.locator(".jp-Dialog .jp-mod-accept").click()  # the lab asks for a name
    saved = wait_for(lambda: "two days" in (text := (root / SCRATCH).read_text()) and text)
    assert "pokeml-run" in saved  # as HTML, which stays when the kernel is gone
    assert lab.complaints == []


def test_names_are_completed_and_a_node_comes_as_cells(lab):
    lab, _ = lab
    cell = lab.notebook.locator(".jp-CodeCell").last
    cell.locator(".cm-content").click()
    lab.page.keyboard.type("x = catalog.load('forecast_s")
    lab.page.keyboard.press("Tab")
    lab.page.locator(".jp-Completer-item", has_text="forecast_scores").wait_for()
    lab.page.keyboard.press("Enter")
    assert "'forecast_scores" in cell.locator(".cm-content").inner_text()
    lab.page.keyboard.press("ControlOrMeta+a")
    lab.page.keyboard.press("Delete")
    lab.type("%load_node score_forecasts")
    for part in (
        'forecasts = catalog.load("forecasts")',
        "def score_forecasts(",
        "score_forecasts(forecasts=forecasts)",
    ):
        lab.notebook.locator(".jp-CodeCell .cm-content", has_text=part).last.wait_for()
    assert lab.complaints == []


def test_the_panel_runs_a_node_and_leads_to_what_failed(lab):
    lab, root = lab
    lab.page.locator('[data-id="pokeml-panel"]').click()
    panel = lab.page.locator("#pokeml-panel")
    panel.locator(".pokeml-status", has_text="Run two days: completed").wait_for()
    picture = lab.page.frame_locator("iframe.pokeml-picture").locator("#full")
    picture.get_by_role("button", name=re.compile("^node score_forecasts")).click()
    panel.locator(".pokeml-selected", has_text="score_forecasts of forecasting").wait_for()
    ran = len(list((root / "outputs" / "runs").glob("*/run.json")))
    panel.get_by_role("button", name="Run node").click()
    wait_for(lambda: len(list((root / "outputs" / "runs").glob("*/run.json"))) > ran)
    panel.locator(".pokeml-status", has_text="completed after").wait_for()

    good = '("error", ascending'
    save(lab, root, FORECASTING, good, '("eror", ascending')
    panel.get_by_role("button", name="Run all").click()
    panel.locator(".pokeml-problem", has_text="KeyError: 'eror'").wait_for()
    panel.get_by_role("button", name="failing cell").first.click()
    lab.notebook.locator(".jp-CodeCell.jp-mod-active", has_text='stage.run("find_worst_days")').wait_for()
    save(lab, root, FORECASTING, '("eror", ascending', good)

    line = "    return worst_days"
    save(lab, root, FORECASTING, line, f"{line} +", exported=False)
    told = lab.page.locator(".Toastify__toast", has_text="02_forecasting.ipynb, cell")
    told.wait_for()
    assert f"{line} +" not in module(root).read_text()
    save(lab, root, FORECASTING, f"{line} +", line, exported=False)
    told.wait_for(state="detached")

    lab.tab(SCRATCH).click()
    lab.notebook.locator(".cm-line", has_text='forecasts = catalog.load("forecasts")').last.click()
    lab.page.keyboard.press("End")
    lab.page.keyboard.press("ArrowLeft")
    lab.page.keyboard.press("ArrowLeft")
    panel.locator(".pokeml-dataset", has_text="Dataset forecasts").wait_for()
    panel.locator(".pokeml-dataset", has_text="13 × 5").wait_for()
    assert findings(lab.page, "#pokeml-panel") == []

    stage = "nbs/stages/02_forecasting.ipynb"
    lab.open(stage)
    lab.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
    assert lab.tab(stage, ".jp-mod-dirty").count() == 0  # though the lab has noted its kernel
    lab.notebook.locator(".cm-content").last.click()
    lab.page.keyboard.type("#")
    lab.tab(stage, ".jp-mod-dirty").wait_for()
    assert lab.complaints == []
