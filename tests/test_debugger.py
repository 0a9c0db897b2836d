"""A debugger stops at a breakpoint in an exported node, and `.vscode/` is set up for it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Copy, wait_for


class Adapter:
    """Speaks the Debug Adapter Protocol with debugpy, as an editor does."""

    def __init__(self, port: int):
        self.connection = wait_for(lambda: self._connect(port))
        self.connection.settimeout(60)
        self.file, self.sent, self.seen = self.connection.makefile("rb"), 0, []

    @staticmethod
    def _connect(port: int) -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            return None

    def send(self, command: str, **arguments) -> int:
        self.sent += 1
        message = {"seq": self.sent, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self.sent

    def wait(self, **wanted) -> dict:
        """Give the first message, of those that have come and those that will, that has these values."""
        while True:
            for message in self.seen:
                if wanted.items() <= message.items():
                    self.seen.remove(message)
                    return message.get("body", {})
            length = 0
            while (line := self.file.readline().strip()) or not length:
                assert line or length, "debugpy has hung up"
                length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else length
            self.seen.append(json.loads(self.file.read(length)))

    def ask(self, command: str, **arguments) -> dict:
        return self.wait(type="response", request_seq=self.send(command, **arguments), success=True)


@pytest.fixture
def adapter(sample: Copy):
    """A run in one process that waits for an editor."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = ["-Xfrozen_modules=off", "-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client"]
    listen += ["--configure-subProcess", "false"]
    (launch,) = [c for c in launches() if c["name"] == "pokeml: run all pipelines"]
    call = [sys.executable, *listen, "-m", launch["module"], *launch["args"], "--pipeline", "pre_processing"]
    with open(sample.root / "said.txt", "w") as said:
        process = subprocess.Popen(
            call, cwd=sample.root, env=sample.env, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Adapter(port), process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def launches() -> list[dict]:
    return without_comments(ROOT / ".vscode" / "launch.json")["configurations"]


def without_comments(path: Path) -> dict:
    """Read JSON with comments, as VS Code writes it."""
    return json.loads(re.sub(r"^\s*//.*$", "", path.read_text("utf-8"), flags=re.MULTILINE))


def test_a_breakpoint_in_an_exported_node_stops_the_run(sample, adapter):
    editor, process = adapter
    module = sample.root / "pokeml" / "pipelines" / "pre_processing.py"
    lines = module.read_text("utf-8").splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "kept, _ = keep_rows" in text)
    editor.ask("initialize", adapterID="test", linesStartAt1=True, columnsStartAt1=True, pathFormat="path")
    attach = editor.send("attach", justMyCode=False, subProcess=False)
    editor.wait(type="event", event="initialized")
    (point,) = editor.ask("setBreakpoints", source={"path": str(module)}, breakpoints=[{"line": line}])["breakpoints"]
    assert (point["verified"], point["line"]) == (True, line)
    editor.ask("configurationDone")
    editor.wait(type="response", request_seq=attach, success=True)

    stopped = editor.wait(type="event", event="stopped")
    assert stopped["reason"] == "breakpoint"
    frame = editor.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
    assert (frame["name"], frame["line"], Path(frame["source"]["path"])) == ("clean_data", line, module)
    shown = editor.ask("evaluate", expression="generations, len(pokemon)", frameId=frame["id"])["result"]
    rows = len((sample.root / "data/01_raw/pokemon.csv").read_text("utf-8").splitlines()) - 1
    assert shown == f"([1, 2, 3, 4, 5, 6], {rows})"

    # Above the line stands the cell that it was exported from.
    marker = next(text for text in reversed(lines[:line]) if text.startswith("# %% "))
    notebook, cell = re.match(r"# %% (\S+) #(\S+)", marker).groups()
    cells = json.loads((module.parent / notebook).read_text("utf-8"))["cells"]
    assert "def clean_data" in next("".join(c["source"]) for c in cells if c["id"] == cell)

    editor.ask("continue", threadId=stopped["threadId"])
    editor.wait(type="event", event="terminated")
    assert "completed" in (sample.root / "said.txt").read_text("utf-8")


def test_the_configurations_of_the_editor_are_commands_that_there_are():
    from pokeml.cli import main

    for launch in launches():
        assert (launch["type"], launch["request"], launch["justMyCode"]) == ("debugpy", "launch", False)
        if launch["module"] == "pokeml":
            name, *arguments = launch["args"]
            command = main.commands[name]
            command.make_context(name, [a.replace("${input:pipeline}", "metrics") for a in arguments])
    (asked,) = without_comments(ROOT / ".vscode" / "launch.json")["inputs"]
    there = {p.stem for p in (ROOT / "pokeml" / "pipelines").glob("*.py")} - {"__init__"}
    assert set(asked["options"]) == there


def test_the_settings_of_the_editor_name_what_there_is():
    settings = without_comments(ROOT / ".vscode" / "settings.json")
    assert settings["python.testing.pytestArgs"] == ["tests"]
    assert settings["jupyter.notebookFileRoot"] == "${workspaceFolder}"
    ignored = subprocess.run(["git", "check-ignore", ".vscode/launch.json", ".vscode/settings.json"], cwd=ROOT)
    assert ignored.returncode == 1  # neither is
