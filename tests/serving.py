"""`pokeml serve` as a process that tests may ask."""

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conftest import Copy

WAIT = 60  # seconds that a start may take on a busy machine


class Server:
    """A service that runs."""

    def __init__(self, project: Copy, log: Path, *arguments: str, **env: str):
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                project.command("serve", "--port", "0", *arguments),
                cwd=project.root,
                env=project.env | env,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        line = self.process.stdout.readline()  # it comes when the service can answer
        assert "http://" in line, log.read_text()
        self.url = "http://" + line.partition("http://")[2].partition(" ")[0]
        at = urlsplit(self.url)
        self.at = (at.hostname, at.port)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Send a request; give status, body and headers of the answer."""
        connection = http.client.HTTPConnection(*self.at, timeout=WAIT)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, data, named)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(text) if "json" in told.get("content-type", "") else text.decode(), told

    def lines(self) -> list[dict[str, Any]]:
        """Read the log."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and give the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT)


@contextmanager
def serve(project: Copy, log: Path, *arguments: str, **env: str) -> Iterator[Server]:
    """Start a service, and end it after the block."""
    server = Server(project, log, *arguments, **env)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        server.process.stdout.close()


def wait_until(condition: Any, seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
