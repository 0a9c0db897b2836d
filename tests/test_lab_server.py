"""A real Jupyter server with pokeml's extension: what is saved is exported, and the panel's routes."""

import http.client
import json
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, wait_for
from toy import Toy

from pokeml.record import short_name

HALF = "#| export\ndef half(value):\n    return value / 2"
QUIET = {"jupyterlab": False, "jupyter_lsp": False, "notebook_shim": False, "jupyter_server_terminals": False}


class Jupyter:
    """A Jupyter server on this machine, with this tree's extension and no other."""

    def __init__(self, toy: Toy, folder: Path, *arguments: str):
        self.toy, self.token = toy, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = toy.root.parent / "config"  # what an install puts beside those of other extensions
        (config / "jupyter_server_config.d").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "pokeml" / "assets" / "lab" / "pokeml.json", config / "jupyter_server_config.d")
        self.log = folder.parent / f"{self.port}.log"
        options = [f"--port={self.port}", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder}"]
        options += ["--no-browser", "--allow-root", f"--ServerApp.jpserver_extensions={QUIET!r}", *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", *options],
                cwd=folder,
                env=toy.env
                | {"JUPYTER_CONFIG_PATH": str(config), "JUPYTER_RUNTIME_DIR": str(folder.parent / "runtime")},
                stdout=log,
                stderr=log,
            )

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """Send a request; give the status and the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"token {self.token if token is None else token}"}
        try:
            connection.request(method, path, body if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text.decode()
        finally:
            connection.close()

    def is_up(self) -> bool:
        """Say whether it answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("GET", "/api/status")[0] == 200
        except OSError:
            return False

    def save(self, path: str, *sources: str) -> None:
        """Save a notebook as JupyterLab does."""
        cells = [
            {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": text}
            for i, text in enumerate(sources)
        ]
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        status, told = self.ask("PUT", f"/api/contents/{path}", {"type": "notebook", "content": content})
        assert status in (200, 201), told

    def exports(self, since: int = 0) -> list[dict[str, Any]]:
        """Tell what came of the exports, once all are done."""
        return self.ask("GET", f"/pokeml/api/exports?since={since}")[1]["exports"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jupyter, Jupyter]]:
    """A server at the root of a project, and one above it that is told to export nothing."""
    toy = Toy(tmp_path_factory.mktemp("lab") / "project")
    (toy.root / "nbs" / "explore").mkdir()
    toy.write("pyproject.toml", '[project]\nname = "toy"\nversion = "1"\n\n[tool.nbdev]\nput_version_in_init = false\n')
    both = Jupyter(toy, toy.root), Jupyter(toy, toy.root.parent, "--PokemlLab.export_on_save=False")
    try:
        for one in both:
            wait_for(one.is_up)
        yield both
    finally:
        for one in both:
            one.process.terminate()
        for one in both:
            one.process.wait(30)


@pytest.fixture
def lab(servers) -> Jupyter:
    """The one at the root of the project."""
    return servers[0]


def test_a_saved_notebook_is_exported(lab):
    before = len(lab.exports())
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF)
    (told,) = lab.exports(before)
    assert (told["status"], told["module"], told["path"]) == ("written", "toy.extra", "nbs/extra.ipynb")
    assert "return value / 2" in (lab.toy.root / "toy" / "extra.py").read_text()
    lab.save("nbs/tour.ipynb", "1 + 1")
    lab.save("nbs/explore/extra.ipynb", "#| default_exp extra", HALF.replace("/ 2", "/ 3"))
    lab.save("elsewhere.ipynb", "#| default_exp extra", HALF.replace("/ 2", "/ 3"))
    assert lab.exports(before + 1) == []
    (lab.toy.root / "nbs" / "explore" / "extra.ipynb").unlink()  # with which a run would be refused
    assert "return value / 2" in (lab.toy.root / "toy" / "extra.py").read_text()


def test_a_cell_that_is_no_python_is_told(lab):
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF)
    before = lab.exports()[-1]["number"]
    there = (lab.toy.root / "toy" / "extra.py").read_text()
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF.replace("(value)", "(value"))
    (told,) = lab.exports(before)
    assert (told["status"], told["notebook"], told["cell"], told["line"]) == ("failed", "nbs/extra.ipynb", "c1", 2)
    assert told["text"].startswith("nbs/extra.ipynb, cell c1, line 2: The cell is no Python: '(' was never closed.")
    assert (lab.toy.root / "toy" / "extra.py").read_text() == there
    refused = lab.toy.pokeml("run", "--dry-run")
    assert refused.returncode == 2 and "are out of step (cell c1)" in refused.stderr
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF)
    assert lab.exports(before + 1)[0]["status"] == "unchanged"


def test_a_run_that_begins_while_a_save_is_exported_waits_for_it(lab):
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF.replace("value / 2", "value / 5"))
    done = lab.toy.pokeml("run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "value / 5" in (lab.toy.root / "toy" / "extra.py").read_text()


def test_the_panel_runs_stops_and_tells(lab):
    status, told = lab.ask("POST", "/pokeml/api/run", {"nodes": ["clean"]})
    assert (status, told["running"]) == (200, True)
    assert lab.ask("POST", "/pokeml/api/run", {})[0] == 409

    def state() -> dict[str, Any]:
        return lab.ask("GET", "/pokeml/api/state")[1]

    wait_for(lambda: not state()["running"])
    told = state()
    assert (told["exit_status"], told["run"]["status"], told["project"]) == (0, "completed", "toy"), told["lines"]
    assert told["items"]["node:clean"]["state"] == "ran"
    (stage,) = told["run"]["stages"]
    assert stage["path"].startswith("outputs/runs/") and (lab.toy.root / stage["path"]).is_file()
    assert lab.ask("GET", "/pokeml/state.json")[1]["title"] == f"Run {short_name(told['run']['id'])}: completed"
    assert [run["id"] for run in lab.ask("GET", "/pokeml/api/runs")[1]["runs"]] == [told["run"]["id"]]
    about = lab.ask("GET", "/pokeml/api/dataset?name=clean")[1]
    assert (about["rows"], about["written_by"], about["last_run"]) == (6, ["clean"], told["run"]["id"])
    assert "Did you mean clean?" in lab.ask("GET", "/pokeml/api/dataset?name=claen")[1]["message"]
    page = lab.ask("GET", "/pokeml/viz")[1]
    assert "<h1>Pipelines of toy</h1>" in page and 'data-key="node:clean"' in page
    assert lab.ask("GET", "/pokeml/api/items")[1]["items"]["node:clean"]["outputs"] == ["clean"]

    lab.ask("POST", "/pokeml/api/run", {"pipelines": ["no such"]})
    wait_for(lambda: not state()["running"])
    assert (state()["exit_status"], state()["refused"]) == (2, True)
    assert state()["lines"][-1].startswith("Error: Unknown pipeline 'no such'")


def test_a_run_from_the_panel_is_stopped(lab):
    notebook = lab.toy.root / "nbs" / "stages" / "01_first.ipynb"
    text = notebook.read_text()
    notebook.write_text(text.replace('"1 + 1"', '"import time; time.sleep(60)"'))
    try:
        lab.ask("POST", "/pokeml/api/run", {"pipelines": ["first"]})
        wait_for(lambda: "first cell 7 of 7" in lab.ask("GET", "/pokeml/api/state")[1]["title"])
        assert lab.ask("POST", "/pokeml/api/stop")[0] == 200
        wait_for(lambda: not lab.ask("GET", "/pokeml/api/state")[1]["running"], 20)
        assert lab.ask("GET", "/pokeml/api/state")[1]["run"]["status"] == "interrupted"
    finally:
        notebook.write_text(text)


def test_routes_need_the_token(lab):
    paths = ("viz", "state.json", "api/state", "api/items", "api/runs", "api/dataset?name=clean", "api/exports")
    for method, path in [*(("GET", p) for p in paths), ("POST", "api/run"), ("POST", "api/stop")]:
        status, told = lab.ask(method, f"/pokeml/{path}", {} if method == "POST" else None, token="wrong")
        assert status in (302, 403) and "clean" not in str(told), path


def test_a_server_elsewhere_with_the_setting_off(servers):
    lab, above = servers
    assert "No pokeml project here" in above.ask("GET", "/pokeml/api/state")[1]["message"]
    assert "No pokeml project here" in above.ask("GET", "/pokeml/viz")[1]
    assert above.ask("POST", "/pokeml/api/run", {})[0] == 409
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF)
    lab.exports()
    above.save("project/nbs/extra.ipynb", "#| default_exp extra", HALF.replace("/ 2", "/ 6"))
    assert above.exports() == []
    assert "return value / 2" in (lab.toy.root / "toy" / "extra.py").read_text()
    assert "Traceback" not in above.log.read_text() + lab.log.read_text()
    lab.save("nbs/extra.ipynb", "#| default_exp extra", HALF)
