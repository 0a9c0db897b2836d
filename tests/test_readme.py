"""The README: its commands, typed in its order in one go, do what it says, and its links lead somewhere."""

import json
import re
import shlex

from conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 120
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_figures_are_those_that_were_measured():
    measured = {
        f["title"]: f"{f['median']:.3g}"
        for f in json.loads((ROOT / "bench" / "results.json").read_text("utf-8"))["figures"]
    }
    for title, told in [
        ("full run, all forced / plain script", r"takes ([\d.]+) times as long as a plain"),
        ("full run, all forced / `kedro run`", r"and\s+([\d.]+) times as long as `kedro run`"),
    ]:
        assert re.search(told, README)[1] == measured[title]


def test_its_commands_typed_in_its_order(sample_done):
    block = re.search(r"```bash\nsource .venv/bin/activate\n(.*?)```", README, re.DOTALL)[1]
    said = {}
    for line in block.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "pokeml"
        done = sample_done.pokeml(*words)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        said[" ".join(words)] = done.stdout
    again, predicted, changed, listed, differs, drawn = said.values()
    assert re.search(r"nothing to do for (\d+) of \1 nodes", again)
    assert "Pikachu" in predicted
    assert "split_data: test_data_ratio 0.3 → 0.25 (--params)" in changed and "nothing to do for " in changed
    assert len(listed.splitlines()) == 3 and "test_data_ratio=0.25" in listed.splitlines()[0]
    assert re.search(r"test_data_ratio +0.3 → 0.25", differs) and "(the same: data, code)" in differs
    assert "outputs/viz.html" in drawn and (sample_done.root / "outputs" / "viz.html").is_file()
