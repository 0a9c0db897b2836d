"""`pokeml runs`: looking at records, naming them, and removing those that may go."""

import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from conftest import wait_for
from test_light import HEAVY, modules
from toy import Toy

from pokeml.project import find_project
from pokeml.record import short_name
from pokeml.store import project_lock


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Toy:
    """A project in which the first pipeline ran, had nothing to do, failed, and ran with another value."""
    toy = Toy(tmp_path_factory.mktemp("runs") / "project")
    toy.run("-p", "first", "--label", "the first")
    toy.run("-p", "first")
    assert toy.pokeml("run", "-p", "third", "--engine", "inline").returncode == 2  # it reads what is not made
    toy.write("data/words.txt", "")
    toy.write("data/numbers.json", "[]")
    assert toy.pokeml("run", "-n", "mark", "--engine", "inline").returncode == 1
    toy.run("-n", "clean", "--params", "least=4.5", "--engine", "inline")
    return toy


@pytest.fixture
def toy(made, tmp_path) -> Toy:
    return Toy(tmp_path / "project", of=made)


def ids(toy: Toy) -> list[str]:
    return [path.parent.name for path in toy.records()]


def runs(toy: Toy, *arguments: str, status: int = 0, **more) -> str:
    done = toy.pokeml("runs", *arguments, **more)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_list_and_show(made):
    newest, failed, unchanged, first = reversed(ids(made))
    lines = runs(made, "list", env=made.env | {"COLUMNS": "80"}).splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == [
        f"{mark} {short_name(run_id)}" for mark, run_id in zip("✓✗✓", (newest, failed, unchanged), strict=True)
    ]
    assert lines[3].startswith("✓ the first ") and "--pipeline first" in lines[3] and "failed" in lines[1]
    assert max(map(len, lines)) <= 80
    assert json.loads(runs(made, "show", short_name(first), "--json"))["id"] == first
    assert f"outputs/runs/{first}/" in runs(made, "show", "the first")
    assert json.loads(runs(made, "show", "latest~2", "--json"))["id"] == unchanged
    assert [r["id"] for r in json.loads(runs(made, "list", "--json"))][3] == first
    assert "There is no run 'latest~9'" in runs(made, "show", "latest~9", status=2)


def test_diff(made):
    told = runs(made, "diff", "the first", "latest")
    assert "least" in told and "2.5 → 4.5" in told and "clean" in told
    assert json.loads(runs(made, "diff", "--json", "the first", "latest"))["parameters"][0]["values"] == [2.5, 4.5]
    assert "Nothing differs" in runs(made, "diff", "the first", "latest~2")
    assert "least" in runs(made, "diff", "latest", "latest~2", "the first")
    page = Path(runs(made, "diff", "--html", "the first", "latest").strip())
    assert page.is_file() and "2.5" in page.read_text("utf-8")


def test_open_prints_where_the_page_is_and_opens_it(toy):
    told = toy.root / "opened.txt"
    browser = toy.write("browser.sh", f'#!{sys.executable}\nimport sys; open("{told}", "w").write(sys.argv[1])\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    env = toy.env | {"BROWSER": f"{browser} %s"}
    path = Path(runs(toy, "open", "the first", env=env).strip())
    assert path == toy.root / "outputs" / "runs" / ids(toy)[0] / "index.html" and path.is_file()
    assert wait_for(lambda: told.is_file() and told.read_text()) == path.as_uri()
    index = toy.root / "outputs" / "index.html"
    index.unlink()
    assert runs(toy, "open", env=env).strip() == str(index) and index.is_file()
    assert runs(toy, "html").strip() == str(index)


def test_label(toy):
    first = ids(toy)[0]
    path = toy.root / "outputs" / "runs" / first / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"of_a_newer_pokeml": 1}))
    assert "as in the paper" in runs(toy, "label", "the first", "as in the paper")
    kept = json.loads(path.read_text("utf-8"))
    assert (kept["label"], kept["of_a_newer_pokeml"]) == ("as in the paper", 1)
    assert "as in the paper" in (toy.root / "outputs" / "index.html").read_text("utf-8")
    assert first in runs(toy, "show", "as in the paper")
    runs(toy, "label", first, "--remove")
    assert "paper" not in runs(toy, "list") + (toy.root / "outputs" / "index.html").read_text("utf-8")
    assert "names a run already" in runs(toy, "label", first, "latest", status=2)
    assert "Give a label, or --remove" in runs(toy, "label", first, status=2)


def test_delete(toy):
    newest, failed, unchanged, first = reversed(ids(toy))
    assert "is the last one that went well" in runs(toy, "delete", "latest", "--yes", status=2)
    told = runs(toy, "delete", "the first", "--yes", status=2)
    assert f"holds the executed notebooks of first that run {unchanged} shows" in told
    assert "Say it with --yes" in runs(toy, "delete", failed, status=2)
    assert len(ids(toy)) == 4
    data = toy.datasets()
    runs(toy, "delete", failed, first, unchanged, failed, "--yes")
    assert ids(toy) == [newest] and toy.datasets() == data
    assert not [p for p in (toy.root / "outputs").iterdir() if p.name.startswith(".removed")]
    assert first not in (toy.root / "outputs" / "index.html").read_text("utf-8")
    assert "Unknown run" in runs(toy, "delete", failed, "--yes", status=2)


def test_nothing_is_deleted_while_a_run_is_under_way(toy):
    failed = ids(toy)[2]
    with project_lock(find_project(toy.root)):
        assert "Another run is under way" in runs(toy, "delete", failed, "--yes", status=2)
    assert failed in ids(toy)


def test_a_run_that_cannot_be_renamed_away_stays_whole(toy):
    failed = ids(toy)[2]
    aside = toy.root / "outputs" / f".removed-{failed}"
    (aside / "of one that was killed").mkdir(parents=True)
    runs(toy, "delete", failed, "--yes")
    assert not aside.exists() and failed not in ids(toy)


def test_prune(toy):
    newest, failed, unchanged, first = reversed(ids(toy))
    told = runs(toy, "prune", "--keep", "1", "--dry-run")
    assert (
        f"delete  {failed}" in told
        and f"keep    {first}  the first        labelled “the first”" in told
        and len(ids(toy)) == 4
    )
    runs(toy, "label", first, "--remove")
    assert "the newest notebook of first" in runs(toy, "prune", "--keep", "1", "--dry-run")
    runs(toy, "prune", "--keep", "1", "--yes")
    assert ids(toy) == [first, newest]
    assert "is gone" not in toy.pokeml("run", "--dry-run", "-p", "first").stdout  # its notebook is there to be shown
    assert "No run has a score 'accuracy'" in runs(toy, "prune", "--keep", "1", "--keep-best", "accuracy", status=2)


def test_prune_keeps_the_best(toy):
    for number, run_id in enumerate(ids(toy)):
        path = toy.root / "outputs" / "runs" / run_id / "run.json"
        about = json.loads(path.read_text("utf-8")) | {"label": None, "status": "completed"}
        about["stages"] = []
        values = {"accuracy": [0.5, 0.9, 0.7, 0.6][number], "log_loss": [0.5, 0.4, 0.1, 0.3][number]}
        path.write_text(json.dumps(about | {"metrics": {"test": values}}))
    newest, third, second, first = reversed(ids(toy))
    for options, best in [
        (["accuracy"], second),
        (["test.log_loss"], third),
        (["log_loss", "--direction", "higher"], first),
        (["accuracy", "--direction", "lower"], first),
    ]:
        told = runs(toy, "prune", "--keep", "1", "--dry-run", "--keep-best", *options)
        assert [line.split()[1] for line in told.splitlines() if line.startswith("keep")] == [newest, best]


def test_completion(made):
    def complete(words: str) -> str:
        count = str(len(words.split(" ")) - 1)
        env = made.env | {"_POKEML_COMPLETE": "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        return made.pokeml(env=env).stdout

    told = complete("pokeml runs show ")
    assert all(run_id in told for run_id in ids(made)) and "the first" in told and "latest" in told
    assert complete("pokeml runs diff latest the").split("\n")[1:2] == ["the first"]
    assert "rerun" in complete("pokeml runs re")


@pytest.mark.parametrize("arguments", [["runs", "prune", "--keep", "9"], ["runs", "--help"]], ids=" ".join)
def test_nothing_heavy_is_imported(made, arguments):
    assert not HEAVY & modules(made, *arguments)


def test_asked_on_a_terminal(toy):
    pty = pytest.importorskip("pty")
    failed = ids(toy)[2]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(toy.root)
        os.execvpe(sys.executable, toy.command("runs", "delete", failed), toy.env)
    told: list[bytes] = []

    def read() -> None:
        try:
            while text := os.read(terminal, 1000):
                told.append(text)
        except OSError:  # the end, on Linux
            return

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: b"Delete 1 run? [y/N]" in b"".join(told))
    os.write(terminal, b"n\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    reader.join()
    os.close(terminal)
    assert failed in ids(toy)
