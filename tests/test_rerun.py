"""`pokeml runs rerun`: a run made once more as it was."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import interrupt, wait_for
from toy import Toy

IGNORED = "/data/\n/outputs/\n/conf/local/\n__pycache__/\n"


def git(toy: Toy, *call: str) -> str:
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(toy.root), *call]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Toy:
    """A project in a repository; its data are not in git."""
    toy = Toy(tmp_path_factory.mktemp("rerun") / "project")
    toy.write(".gitignore", IGNORED)
    git(toy, "init", "-q")
    git(toy, "add", "-A")
    git(toy, "commit", "-qm", "first")
    toy.run("-p", "first,second", "--engine", "inline", "--label", "then")
    return toy


@pytest.fixture
def toy(made, tmp_path) -> Toy:
    return Toy(tmp_path / "project", of=made)


@pytest.fixture(autouse=True)
def nothing_is_left(request, tmp_path, monkeypatch):
    """A rerun leaves no folder, no worktree, and nothing else in files or index."""
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setenv("TMPDIR", str(aside))
    yield
    assert not list(aside.glob("pokeml-rerun-*"))


def state(toy: Toy) -> tuple:
    """What a rerun must leave as it is."""
    files = [p for p in toy.root.rglob("*") if p.is_file() and not {".git", "outputs"} & set(p.parts)]
    times = {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files if "__pycache__" not in p.parts}
    return (
        times,
        git(toy, "status", "--porcelain"),
        git(toy, "worktree", "list"),
        (toy.root / ".git/index").read_bytes(),
    )


def rerun(toy: Toy, run_id: str, status: int, *options: str) -> str:
    git(toy, "status")  # which refreshes the index
    before, records = state(toy), len(toy.records())
    done = toy.pokeml("runs", "rerun", run_id, *options, env=toy.env | {"TMPDIR": os.environ["TMPDIR"]})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert state(toy) == before
    assert len(toy.records()) == records + (status in (0, 1))
    assert not list((toy.root / ".git").glob("worktrees/*"))
    return done.stdout + done.stderr


def test_a_clean_run_is_the_same_bit_for_bit_whatever_was_edited_since(toy):
    toy.replace("toy/pipelines/first.py", ".round(digits)", ".round(digits) + 1")
    toy.replace("conf/base/parameters.yml", "least: 2.5", "least: 5.5")
    git(toy, "commit", "-qam", "second")
    toy.run("-p", "first", "--engine", "inline")
    told = json.loads(rerun(toy, "then", 0, "--json"))
    then, again = (json.loads(toy.records()[i].read_text("utf-8")) for i in (0, 2))
    assert told["same"] and told["same_datasets"] == ["clean", "counts", "total", "label"] and told["run"] == then["id"]
    assert (again["rerun_of"], again["label"]) == (then["id"], f"rerun of {then['id']}")
    assert again["id"] > then["id"] and again["git"] == then["git"] and again["parameters"] == then["parameters"]
    assert {n["status"] for s in again["stages"] for n in s["nodes"]} == {"ran"}
    assert "Nothing differs" in toy.pokeml("runs", "diff", "then", "latest").stdout
    assert again["id"] in (toy.root / "outputs/index.html").read_text("utf-8")
    assert (toy.root / "outputs/runs" / again["id"] / "code.json").is_file()
    assert not [p for p in (toy.root / "outputs").iterdir() if p.name.startswith(".rerun")]
    # It does not count as the last run that went well.
    assert toy.pokeml("runs", "delete", again["id"], "--yes").returncode == 0


def test_a_dirty_tree_with_a_new_file(toy):
    toy.write("toy/added.py", "def one():\n    return 1\n")
    toy.write("toy/blob.bin", "").write_bytes(bytes(range(256)))
    toy.replace("toy/pipelines/first.py", "from toy.helpers", "from toy.added import one\nfrom toy.helpers")
    toy.replace("toy/pipelines/first.py", ".round(digits)", ".round(digits) + one()")
    toy.run("-p", "first", "--label", "dirty")
    shutil.rmtree(toy.root / "toy" / "__pycache__")
    git(toy, "stash", "-uq")
    assert "✓ first" in rerun(toy, "dirty", 0)
    again = toy.records()[-1].parent
    assert (again / "01_first.ipynb").is_file() and (again / "changes.patch").is_file()
    stage = json.loads((again / "run.json").read_text("utf-8"))["stages"][0]
    assert stage["executed"] == f"outputs/runs/{again.name}/01_first.ipynb" and stage["engine"] == "pokeml"
    (toy.records()[1].parent / "changes.patch").write_text(
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    )
    assert "git could not bring its files back" in rerun(toy, "dirty", 2)
    (toy.records()[1].parent / "changes.patch").unlink()
    assert "changes.patch, the changes beside its commit, is no longer" in rerun(toy, "dirty", 2)


def test_an_input_that_is_gone_or_another_one(toy):
    raw = toy.root / "data/raw.csv"
    kept, was = raw.read_bytes(), json.loads(toy.records()[0].read_text("utf-8"))["stages"][0]["nodes"][0]["inputs"][0]
    raw.write_text("kind,size\nx,9.25\n")
    (toy.root / "data/words.txt").unlink()
    told = rerun(toy, "then", 2)
    assert (
        f"raw: data/raw.csv has another hash: {was['xxh3_128']} then, " in told
        and "words: data/words.txt is gone" in told
    )
    # One that git has is taken from there.
    git(toy, "add", "-f", "data/raw.csv")
    raw.write_bytes(kept)
    toy.write("data/words.txt", "other words\n")
    git(toy, "add", "-f", "data")
    git(toy, "commit", "-qm", "with data")
    toy.run("-n", "clean,label", "--engine", "inline", "--force", "--label", "tracked")
    raw.write_text("kind,size\nx,9.25\n")
    rerun(toy, "tracked", 0)


def test_a_version_of_an_input(toy):
    toy.replace("conf/base/catalog.yml", "made/counts.json}", "counts/counts.json, versioned: true}")
    git(toy, "commit", "-qam", "second")
    old = toy.run("-n", "count", "--engine", "inline")
    toy.run("-n", "report", "--engine", "inline", "--label", "of the old")
    toy.run("-n", "count", "--engine", "inline", "--params", "options.kinds.b=q")
    assert "✓ report" in rerun(toy, "of the old", 0)
    shutil.rmtree(toy.root / "data/counts/counts.json" / old["id"])
    assert f"counts: data/counts/counts.json, version {old['id']}, is gone" in rerun(toy, "of the old", 2)


def test_code_that_cannot_be_had(toy):
    path = toy.records()[0]
    record = json.loads(path.read_text("utf-8"))
    for state_of_git, message in [
        ({}, "outside of a git repository"),
        ({"commit": "1" * 40, "dirty": False}, "its commit 1111111111 is not in this repository"),
        (record["git"] | {"dirty": True}, "its record has not kept them"),
        (record["git"] | {"left_out": "it was 30 MB"}, "it was 30 MB"),
    ]:
        path.write_text(json.dumps(record | {"git": state_of_git}))
        assert message in rerun(toy, "then", 2)


def test_what_is_not_the_same_is_told(toy):
    toy.replace("toy/pipelines/first.py", "def count(", "import os\n\n\ndef count(")
    toy.replace("toy/pipelines/first.py", "return {name: int", 'return {"pid": os.getpid()} | {name: int')
    toy.replace("toy/pipelines/first.py", "reset_index(drop=True)", "reset_index(drop=True).assign(pid=os.getpid())")
    toy.replace(
        "conf/base/catalog.yml",
        "{type: json.JSONDataset, filepath: data/made/counts",
        "{type: json.JSONDataset, versioned: true, filepath: data/made/counts",
    )
    (toy.root / "data/made/counts.json").unlink()
    toy.write("conf/local/parameters.yml", "least: 3.5\n")
    git(toy, "commit", "-qam", "second")
    toy.run("-p", "first", "--engine", "inline", "--label", "by chance")
    toy.write("conf/local/parameters.yml", "least: 4.5\n")
    told = rerun(toy, "by chance", 1)
    assert "conf/local/parameters.yml is not in git: it is taken as it is today" in told
    assert "least is 4.5 in today's files that are not in git: 3.5 is used, as then" in told
    assert "✗ clean" in told and "columns that differ: pid" in told and "✗ counts" in told
    assert "2 datasets, 2 of them different" in told


def test_a_run_that_failed_fails_again(toy):
    toy.write("data/numbers.json", "[]")
    assert toy.pokeml("run", "-n", "mark", "--engine", "inline", "--label", "failed").returncode == 1
    rerun(toy, "failed", 0)
    assert toy.record()["status"] == "failed" and toy.record()["error"]["node"] == "mark"


def test_ctrl_c(toy):
    toy.replace("toy/pipelines/first.py", "def count(", "import time\n\n\ndef count(")
    toy.replace(
        "toy/pipelines/first.py",
        "    return {name: int",
        "    time.sleep(WAIT)\n    return {name: int",
    )
    toy.replace("toy/pipelines/first.py", "def clean(", "WAIT = 0\n\n\ndef clean(")
    toy.run("-p", "first", "--engine", "inline", "--label", "quick")
    path = toy.records()[-1].parent / "changes.patch"
    path.write_text(path.read_text().replace("+WAIT = 0", "+WAIT = 60"))
    git(toy, "status")
    before = state(toy)
    toy.env = toy.env | {"TMPDIR": os.environ["TMPDIR"]}
    for send in (interrupt, lambda process: process.send_signal(signal.SIGTERM)):
        process = toy.start("runs", "rerun", "quick")
        wait_for(
            lambda: list(
                Path(tempfile.gettempdir(), os.environ["TMPDIR"]).glob("pokeml-rerun-*/*/outputs/runs/*/run.json")
            )
        )
        send(process)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130 and "nothing of the rerun is kept" in told and "Traceback" not in told
        assert state(toy) == before and len(toy.records()) == 2
