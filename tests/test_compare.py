"""What differs between real runs is told, and nothing else."""

import json
import subprocess
import sys

import pytest
from toy import Toy

from pokeml.compare import compare, figures, summary, text_lines
from pokeml.project import Project, find_project
from pokeml.record import Run, read_runs

SHOWN = """
import base64
from IPython.display import display
raw = base64.b64decode("{}")
display({{"image/png": base64.b64encode(raw).decode(), "text/plain": "a picture"}}, raw=True)
"""
RUNS = ["first", "nothing", "parameter", "code", "data", "failed"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Project, dict[str, Run]]:
    """Runs of a toy, between each two of which one thing is changed."""
    toy = Toy(tmp_path_factory.mktemp("compare") / "project")
    counts = "counts: {type: json.JSONDataset"
    toy.replace("conf/base/catalog.yml", counts, "counts: {type: metrics.MetricsDataset")
    toy.replace("toy/pipelines/second.py", "means = ", "# Of each kind.\n    means = ")
    toy.write(".gitignore", "/outputs/\n/data/made/\n__pycache__/\n")
    picture(toy, "QUFB")

    def git(*call: str) -> None:
        who = ["-c", "user.name=Ash", "-c", "user.email=ash@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *call], cwd=toy.root, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "Begin")
    toy.run()
    toy.run()
    toy.run("--params", "least=4.5")
    toy.replace("toy/pipelines/second.py", "# Of each kind.", "# Of every kind.")
    toy.replace("toy/pipelines/second.py", "* factor * helpers.SCALE", "* helpers.SCALE * factor + 1")
    git("commit", "-qam", "Add one to every size")
    picture(toy, "QUFC")
    toy.run("--params", "least=4.5")
    with (toy.root / "data" / "raw.csv").open("a", encoding="utf-8") as file:
        file.write("x,9.5\n")
    toy.run("--params", "least=4.5")
    toy.replace("toy/pipelines/third.py", "return f", "raise ValueError('no report')\n    return f")
    assert toy.pokeml("run", "--params", "least=4.5", "--nodes", "report").returncode == 1
    project = find_project(toy.root)
    found = read_runs(project)[::-1]
    assert len(found) == len(RUNS)
    return project, dict(zip(RUNS, found, strict=True))


def picture(toy: Toy, data: str) -> None:
    """Have the last cell of the second stage show an image of these bytes."""
    path = toy.root / "nbs" / "stages" / "02_second.ipynb"
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"][-1]["source"] = SHOWN.format(data)
    path.write_text(json.dumps(notebook, indent=1), "utf-8")


@pytest.fixture
def between(made):
    """Compare runs by name."""
    return lambda *names: compare(made[0], [made[1][name] for name in names])


def told(found) -> dict[str, list[str]]:
    """Name what differs, by kind."""
    kinds = ("parameters", "scores", "inputs", "outputs", "versions", "about")
    names = {kind: [d.name for d in getattr(found, kind)] for kind in kinds}
    names["code"] = [c.unit for c in found.code]
    return {kind: names for kind, names in names.items() if names}


def test_nothing_differs_where_nothing_had_to_run(made, between):
    found = between("first", "nothing")
    assert told(found) == {} and found.is_same and not found.notes
    assert found.verdict() == "Nothing differs: code, parameters, data, versions and scores are the same."
    assert {tuple(d.values) for d in found.nodes} == {("ran", "unchanged")}
    assert list(figures(made[0], [made[1]["first"], made[1]["nothing"]])) == []
    assert summary(made[1]["first"], made[1]["nothing"]) == []


def test_a_parameter(made, between):
    found = between("nothing", "parameter")
    outputs = ["clean", "counts", "total", "report"]
    assert told(found) == {"parameters": ["least"], "scores": ["counts.a", "counts.b"], "outputs": outputs}
    assert found.parameters[0].values == [2.5, 4.5]
    assert [d.values for d in found.scores] == [[2, 1], [2, 1]]
    assert found.verdict() == "What differs: parameter least (the same: data, code); a 2 → 1 (worse)."
    size = [(facts["rows"], facts["columns"]) for facts in found.outputs[0].values]
    assert size == [(6, 2), (4, 2)]
    assert summary(made[1]["nothing"], made[1]["parameter"]) == ["least 2.5 → 4.5"]


def test_a_function_as_a_diff_without_what_is_only_a_comment(made, between):
    found = between("parameter", "code")
    assert told(found) == {"outputs": ["total", "report"], "about": ["commit"], "code": ["toy.pipelines.second:scale"]}
    assert found.code[0].nodes == ["scale"]
    changed = [line for line in found.code[0].diff[2:] if line[0] in "+-"]
    before, after = "factor * helpers.SCALE", "helpers.SCALE * factor + 1"
    line = '    return clean.assign(size=clean["size"] * {})'
    assert changed == ["-" + line.format(before), "+" + line.format(after)]
    assert [text.split(maxsplit=2)[::2] for text in found.commits] == [[">", "Add one to every size"]]
    assert found.verdict() == (
        "What differs: the code of scale (the same: parameters, data); 2 datasets made differ, the scores are the same."
    )
    assert any("function scale changed" in line for line in summary(made[1]["parameter"], made[1]["code"]))


def test_figures_side_by_side(made):
    project, runs = made
    found = list(figures(project, [runs["parameter"], runs["code"]]))
    assert [row for _, row in found] == [[("image/png", "QUFB"), ("image/png", "QUFC")]]
    assert found[0][0].startswith("second, ")


def test_data(made, between):
    found = between("code", "data")
    assert told(found)["inputs"] == ["raw"] and "parameters" not in told(found) and "code" not in told(found)
    before, after = found.inputs[0].values
    assert (before["rows"], after["rows"]) == (9, 10) and before["xxh3_128"] != after["xxh3_128"]
    assert found.verdict() == "What differs: input raw (the same: parameters, code); a 1 → 2 (better)."
    line = summary(made[1]["code"], made[1]["data"])[0]
    assert line.startswith("input raw 9 × 2 ") and " → 10 × 2 " in line


def test_a_failure_comes_first_and_what_a_run_lacks_is_counted(between):
    found = between("data", "failed")
    assert told(found) == {"about": ["status", "selection"], "code": ["toy.pipelines.third:report"]}
    assert found.verdict().startswith("B failed (node report, ValueError: no report). What differs: the code of report")
    assert found.notes[0].startswith("B has 1 of 8 nodes. Not compared, for it lacks them: ")


def test_three_runs_are_a_table_with_the_best_marked(between):
    found = between("nothing", "parameter", "data")
    lines = text_lines(found, 80)
    assert max(map(len, lines)) <= 80
    at = lines.index("Scores (counts, * is best)")
    assert [line.split() for line in lines[at + 1 : at + 4]] == [
        ["A", "B", "C"],
        ["a", "2*", "1", "2*"],
        ["b", "2*", "1", "1"],
    ]
    assert ["least", "2.5", "4.5", "4.5"] in [line.split() for line in lines]
    assert "Code of toy.pipelines.second:scale (node scale; A → C)" in lines
    assert json.loads(json.dumps(found.to_dict()))["scores"][0]["values"] == [2, 1, 2]


def test_the_command_says_the_same(made, between):
    call = [sys.executable, "-m", "pokeml", "runs", "diff"]

    def diff(*arguments: str) -> str:
        return subprocess.run([*call, *arguments], cwd=made[0].root, capture_output=True, text=True, check=True).stdout

    assert json.loads(diff("latest~1", "latest", "--json")) == between("data", "failed").to_dict()
    text = diff(made[1]["nothing"].id, made[1]["parameter"].id)
    assert "What differs: parameter least (the same: data, code); a 2 → 1 (worse)." in text


def test_nothing_heavy_is_imported(made):
    project, _ = made
    code = (
        "import sys; from pokeml.compare import compare; from pokeml.project import find_project;"
        "from pokeml.record import read_runs; p = find_project(sys.argv[1]); print(compare(p, read_runs(p)));"
        "assert not {'pandas', 'numpy', 'matplotlib', 'sklearn'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(project.root)], capture_output=True, text=True)
    assert done.returncode == 0 and "Scores" in done.stdout, done.stderr
