"""The pages of the docs: links that lead somewhere, tests that there are, and commands that somebody runs.

What a page does in its cells, `nbdev-test` runs. Here is what cannot be done in a cell.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

DOCS = ROOT / "nbs" / "docs"
PAGES = sorted(DOCS.rglob("*.ipynb"))
PAGES = [p for p in PAGES if not any(part.startswith((".", "_")) for part in p.relative_to(DOCS).parts)]
BIN = Path(sys.executable).parent

# Commands in the text of a page, which no cell runs, and what does.
ELSEWHERE = {
    'pip install "pokeml[lab]"': "test_wheel.py::test_wheel_holds_the_extension_of_jupyterlab",
    "pokeml lab": "test_lab.py::test_the_page_in_a_real_lab",
    "git clone <address of the repository> pokeml && cd pokeml": "where it is, only the reader knows",
    "make run": "test_shape.py::test_commands_of_the_readme_are_commands_of_the_makefile",  # .ci/run runs it
    "source .venv/bin/activate": "the reader's shell",
    "python3 .ci/set_up.py": "test_set_up.py::test_uv_installs_what_a_kind_needs_and_no_more",
    ".venv/bin/pokeml run": "test_run.py::test_full_table_runs_through_all_stages",
    "python -m pip install './pokeml[model,figure]'": "test_wheel.py::test_wheel_runs_a_project_in_a_fresh_environment",
    "python -m pip install './pokeml[model,figure,lab,serve]'": "test_extras_are_there",
}


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text("utf-8"))["cells"]


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == kind]


def prose(path: Path) -> str:
    """The text of a page, without blocks of code."""
    return re.sub(r"^```.*?^```", "", "\n\n".join(sources(path, "markdown")), flags=re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> list[tuple[str, str]]:
    """The blocks of code in the text of a page: language and code."""
    text = "\n\n".join(sources(path, "markdown"))
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def file_of(page: str, name: str) -> str:
    """The file that a page writes by `%%writefile`."""
    (found,) = [s for s in sources(DOCS / page, "code") if s.startswith(f"%%writefile {name}\n")]
    return found.partition("\n")[2] + "\n"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_a_page_says_what_it_is_for_and_leads_where_it_says(path):
    assert re.fullmatch(r"\d\d_\w+\.ipynb", path.name)
    first = sources(path, "markdown")[0]
    assert re.match(r"# \S.*\n> At the end .+[^\n]", first), "a title, and what the reader will have at the end"
    for text, target in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", prose(path)):
        if not re.match(r"https?:", target):
            assert (path.parent / target.partition("#")[0]).is_file(), f"[{text}]({target})"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_a_page_works_in_a_folder_of_its_own(path):
    code = sources(path, "code")
    works = [s for s in code if re.search(r"^(folder = )?page\.(work_in|bakery|example)\(", s, re.MULTILINE)]
    acts = [s for s in code if s.startswith("%%") or "write_notebook(" in s]
    assert bool(works) >= bool(acts), "commands run in the repository itself"
    if works:
        assert len(works) == 1 and works[0].startswith("#| hide\n") and code[-1] == "#| hide\npage.leave()"
    shell = [s for s in code if re.search(r"^\s*!", s, re.MULTILINE)]
    assert not shell, "a failing `!command` is not seen; write %%bash"
    assert not re.search(r"#\| ?(export|default_exp)", "\n".join(s for s in code if s.startswith("#|")))


def test_tests_that_pages_name_are_there():
    told = {pair for path in PAGES for pair in re.findall(r"`(test_\w+\.py)::(test_\w+)`", prose(path))}
    assert len(told) > 30
    for file, name in told | {tuple(t.split("::")) for t in ELSEWHERE.values() if "::" in t}:
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}::{name}"


def test_every_command_in_the_text_is_run_by_something():
    found = [block for path in PAGES for block in blocks(path)]
    assert {language for language, _ in found} <= {"bash", "text"}
    assert not [code for language, code in found if language == "text" and re.search(r"^(\$ |pokeml )", code, re.M)]
    told = [line for language, code in found if language == "bash" for line in code.splitlines() if line.strip()]
    assert sorted(told) == sorted(ELSEWHERE)


def test_options_that_the_text_names_are_options_that_there_are():
    """Commands in the middle of a sentence, `pokeml run --keep-going`: the command and its options exist."""
    from click import Context, Group

    from pokeml.cli import main

    commands = [c for path in PAGES for c in re.findall(r"`pokeml ([^`…]+)`", prose(path))]
    assert len(commands) > 10
    for text in commands:
        command, words = main, shlex.split(text)
        while words and isinstance(command, Group) and not words[0].startswith("-"):
            command, words = command.get_command(Context(command), words[0]), words[1:]
            assert command, text
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("-") and word not in ("--help", "-h"):
                assert word.partition("=")[0] in known, text


def test_extras_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = [
        name for path in PAGES for group in re.findall(r"pokeml\[([\w,]+)\]", prose(path)) for name in group.split(",")
    ]
    assert named and set(named) <= set(extras)


def test_the_workflows_are_workflows():
    for page, name in (
        ("how_to/08_ci.ipynb", ".github/workflows/ci.yml"),
        ("how_to/09_scheduling.ipynb", "nightly.yml"),
    ):
        workflow = yaml.safe_load(file_of(page, name))
        (job,) = workflow["jobs"].values()
        commands = [step["run"] for step in job["steps"] if "run" in step]
        shown = [s for s in sources(DOCS / page, "code") if s.startswith("%%bash")]
        ran = {line for s in shown for line in s.splitlines()[1:]}
        for command in commands:
            assert command in ran or command.startswith("python -m pip install -e ."), f"{page} runs no {command}"


def test_cron_and_systemd_take_what_they_are_given(tmp_path):
    page = "how_to/09_scheduling.ipynb"
    *fields, command = file_of(page, "crontab.txt").strip().split(maxsplit=5)
    assert len(fields) == 5 and all(re.fullmatch(r"[\d*,/-]+", field) for field in fields)
    service = file_of(page, "bakery.service")
    started = re.search(r"^ExecStart=/srv/bakery/(.+)$", service, re.MULTILINE)[1]
    assert command == f"cd /srv/bakery && {started}", "cron and systemd start the same"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed; the rest was looked at")
    here = service.replace("/srv/bakery/.venv/bin", str(BIN)).replace("/srv/bakery", str(tmp_path))
    (tmp_path / "bakery.service").write_text(here)
    (tmp_path / "bakery.timer").write_text(file_of(page, "bakery.timer"))
    call = ["systemd-analyze", "verify", "--man=no", "bakery.service", "bakery.timer"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert "bakery" not in done.stderr, done.stderr


def test_a_page_leaves_nothing_behind(tmp_path, monkeypatch):
    """The environment and the working directory are as they were, and the folder is gone."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.chdir(tmp_path)
    import page

    before = dict(os.environ)
    folder = page.bakery()
    assert Path.cwd() == folder and (folder / "bakery" / "pipelines" / "forecasting.py").is_file()
    page.leave()
    assert Path.cwd() == tmp_path and dict(os.environ) == before and not folder.exists()
