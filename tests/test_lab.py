"""The page "From an idea to a node, in JupyterLab", typed and clicked in a real JupyterLab in Chromium."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from browser import DESK
from conftest import ROOT, wait_for

PAGE = ROOT / "nbs" / "docs" / "tutorials" / "05_in_jupyterlab.ipynb"
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

    def __init__(self, page: Any, url: str, token: str):
        self.page, self.url, self.token = page, url, token
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str) -> None:
        """Open the lab on a folder or a file."""
        self.page.goto(f"{self.url}lab/tree/{quote(path)}?token={self.token}&reset")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)

    @property
    def notebook(self) -> Any:
        """The notebook that one sees."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def tab(self, name: str) -> None:
        """Bring a tab to the front."""
        self.page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=name).click()

    def begin(self, folder: str) -> None:
        """Make a notebook in a folder, by the card of the launcher."""
        self.go(folder)
        self.page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
        self.notebook.locator(".jp-Cell").first.wait_for()

    def type(self, source: str) -> Any:
        """Type a cell into the last one, run it, and give it when it has ended."""
        cell = self.notebook.locator(".jp-CodeCell").last
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(source)
        handle = cell.element_handle()
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function(
            r"cell => /\[\d+\]/.test(cell.querySelector('.jp-InputPrompt').textContent)", arg=handle, timeout=90_000
        )
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
        yield Lab(page, about["url"], about["token"]), root
        page.close()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def test_the_page_in_a_real_lab(lab):
    lab, root = lab
    module = root / "bakery" / "pipelines" / "forecasting.py"
    lab.begin("nbs/explore")
    shown = {}
    for what, about in steps():
        if what == "type":
            text = lab.type(about).inner_text()
            shown[about] = text
            assert "Traceback" not in text and "Error" not in text.replace("KeyError", ""), text
            if about.startswith("run(check=False)"):
                assert "KeyError" in text and "→" in text
                lab.notebook.locator("a", has_text="source: nbs/pipelines/02_forecasting.ipynb").click()
                lab.page.locator(".lm-TabBar-tab.lm-mod-current", has_text="02_forecasting.ipynb").wait_for()
                assert lab.notebook.locator(".cm-line", has_text='"eror"').is_visible()
                lab.tab("Untitled.ipynb")
        else:
            path, old, new = about
            if lab.page.locator(".lm-TabBar-tab", has_text=Path(path).name).count():
                lab.tab(Path(path).name)
            else:
                lab.open(path)
            lab.change(old, new)
            wait_for(lambda new=new: new in module.read_text())  # saved is exported
            lab.tab("Untitled.ipynb")
    assert "windows" not in shown["%diff"] and "window" in shown["%diff"] and "3 → 2" in shown["%diff"]
    assert "119.3" in shown["catalog.worst_days"]
    records = [json.loads(path.read_text()) for path in sorted((root / "outputs" / "runs").glob("*/run.json"))]
    assert [r["status"] for r in records] == ["completed"] * 3 + ["failed"] + ["completed"] * 2
    lab.page.keyboard.press("ControlOrMeta+s")
    saved = wait_for(lambda: "two days" in (text := (root / SCRATCH).read_text()) and text)
    assert "pokeml-run" in saved  # as HTML, which stays when the kernel is gone
    assert lab.complaints == []
