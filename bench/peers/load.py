"""Ask a running service many times from several clients at once; `python -m bench.load --help`.

The client is a few lines on asyncio, because it runs on the same machine: what it takes is taken from the server.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil


async def ask(
    host: str, port: int, requests: Sequence[bytes], todo: Iterator[int], seconds: list[float], failed: list[str]
) -> None:
    """Send requests over one connection, each as soon as the one before is answered, until there are no more to do."""
    reader, writer = await asyncio.open_connection(host, port)
    for i in todo:
        begun = time.perf_counter()
        try:
            writer.write(requests[i % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        except (OSError, asyncio.IncompleteReadError, StopIteration) as error:
            failed.append(type(error).__name__)
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
            continue
        seconds.append(time.perf_counter() - begun)
        if not head.startswith(b"HTTP/1.1 200"):
            failed.append(head.partition(b"\r\n")[0].decode())
    writer.close()


def memory_mb(pid: int | None) -> float | None:
    """Tell how much memory a process and those that it started hold, in MB."""
    if pid is None:
        return None
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return round(sum(process.memory_info().rss for process in processes) / 1e6, 1)


def load(
    url: str, rows: Sequence[Any], count: int = 20_000, clients: int = 8, pid: int | None = None, warm_up: int = 200
) -> dict[str, Any]:
    """Post rows to a service, and tell how it did.

    Parameters
    ----------
    url
        The route.
    rows
        What is posted, in turn: each a row or a list of rows.
    count
        How many requests are sent.
    clients
        How many are under way at a time.
    pid
        The server's process, to look at its memory.
    warm_up
        How many are sent before anything is measured.
    """
    at = urlsplit(url)
    host, port = at.hostname or "127.0.0.1", at.port or 80
    requests = []
    for row in rows:
        body = json.dumps(row).encode()
        head = f"POST {at.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def send(count: int) -> tuple[list[float], list[str], float]:
        seconds: list[float] = []
        failed: list[str] = []
        todo, begun = iter(range(count)), time.perf_counter()
        await asyncio.gather(*(ask(host, port, requests, todo, seconds, failed) for _ in range(clients)))
        return seconds, failed, time.perf_counter() - begun

    asyncio.run(send(warm_up))
    before, used = memory_mb(pid), processor_seconds(pid)
    seconds, failed, took = asyncio.run(send(count))
    after = processor_seconds(pid)
    each = round((after - used) / count * 1000, 3) if after is not None and used is not None else None
    parts = quantiles(seconds, n=100) if len(seconds) > 1 else [0.0] * 99
    return {
        "requests": count, "clients": clients, "rate": round(count / took, 1), "p50_ms": round(parts[49] * 1000, 2),
        "p99_ms": round(parts[98] * 1000, 2), "max_ms": round(max(seconds, default=0) * 1000, 2), "errors": len(failed),
        "server_cpu_ms": each,
        "kinds_of_errors": sorted(set(failed)), "memory_mb_before": before, "memory_mb_after": memory_mb(pid),
    }  # fmt: skip


def processor_seconds(pid: int | None) -> float | None:
    """Tell how long a process has had a processor: what a request costs, however busy the machine is."""
    if pid is None:
        return None
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@contextmanager
def serving(*arguments: str, cwd: Path, core: int | None = None) -> Iterator[tuple[str, int]]:
    """Start `pokeml serve` on a free port, on one core if that is given; give its address and process."""
    command = [sys.executable, "-m", "pokeml", "serve", "--port", "0", *arguments]
    log = cwd / "serve.log"
    with log.open("w") as errors:
        pipe = subprocess.PIPE
        server = subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=errors, text=True, env=os.environ.copy())
        try:
            assert server.stdout is not None
            line = server.stdout.readline()  # "title: http://127.0.0.1:12345 (…"
            if "http://" not in line:
                raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")
            url = "http://" + line.partition("http://")[2].partition(" ")[0]
            urlopen(f"{url}/ready").close()  # the port is open before the service answers
            if core is not None and hasattr(os, "sched_setaffinity"):
                for thread in psutil.Process(server.pid).threads():
                    os.sched_setaffinity(thread.id, {core})
            yield url, server.pid
        finally:
            server.terminate()
            server.wait(timeout=60)


def main() -> None:
    """Read the command line and ask a service that runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the route, as http://127.0.0.1:8000/predict")
    parser.add_argument("rows", type=Path, help="a JSON file: a row, or a list of rows that are posted in turn")
    parser.add_argument("-n", "--count", type=int, default=20_000)
    parser.add_argument("-c", "--clients", type=int, default=8)
    parser.add_argument("--pid", type=int, help="the server's process, to look at its memory")
    asked = parser.parse_args()
    rows = json.loads(asked.rows.read_text("utf-8"))
    rows = rows if isinstance(rows, list) else [rows]
    print(json.dumps(load(asked.url, rows, asked.count, asked.clients, asked.pid), indent=2))


if __name__ == "__main__":
    main()
