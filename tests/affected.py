"""Choose the tests that a change may touch, for `make check`.

A test is near to a change if few imports lie between them: 0 if its file, or the notebook it runs, was changed itself,
1 if that imports or names what was changed, 2 if it imports what imports that, and so on. Most tests also start
commands, which may need any module. Such a test counts as 3 if names tell that it belongs to the change
(`pokeml/serve_rows.py`, `tests/test_serve.py`), and else as the farthest. Of tests equally near the quickest come
first, by what the last run took, until the time is used.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grimp

FAR = 100
SAME_NAME = 3
UNKNOWN = 0.5  # seconds for a test that never ran here


def changed_files(root: Path) -> list[str]:
    """Name the files that differ from the last commit, or, if none does, from where the branch left main."""

    def git(*words: str) -> list[str]:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.splitlines()

    found = [*git("diff", "--name-only", "HEAD"), *git("ls-files", "--others", "--exclude-standard")]
    for main in ("origin/main", "main"):
        if not found and (base := git("merge-base", "HEAD", main)):
            found = git("diff", "--name-only", base[0])
    return found


def nearness(root: Path, changed: Sequence[str], files: Sequence[Path]) -> dict[Path, int]:
    """Tell for test files and notebooks how near a change is; leave out those that it cannot touch."""
    graph = grimp.build_graph("pokeml", cache_dir=None)
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in changed}
    level, near, distance = modules & graph.modules, {}, 1
    names = {name.split(".")[-1].partition("_")[0] for name in level}
    while level:
        near |= dict.fromkeys(level, distance)
        level = {other for name in level for other in graph.find_modules_that_directly_import(name)} - set(near)
        distance += 1
    for_all = bool(near) or any(path.startswith(("conf/", "data/")) for path in changed)
    helpers = {Path(path).stem for path in changed if re.fullmatch(r"(tests|nbs/docs)/[a-z]+\.py", path)}
    others = [Path(path).name for path in changed if not re.match(r"(pokeml|nbs|tests)/", path)]
    found = {}
    for file in files:
        text, stem = file.read_text("utf-8"), file.stem.removeprefix("test_")
        ways = [near[name] for name in set(re.findall(r"\bpokeml(?:\.\w+)+", text)) & set(near)]
        if file.relative_to(root).as_posix() in changed:
            ways.append(0)
        if set(re.findall(r"(?:from|import) (\w+)", text)) & helpers or any(name in text for name in others):
            ways.append(1)
        if stem == "shape" and changed:  # notebooks and modules in step
            ways.append(1)
        if re.findall(r"[a-z]+", stem)[0] in names:
            ways.append(SAME_NAME)
        if for_all and (file.suffix == ".py" or re.search(r"%%bash|subprocess", text)):
            ways.append(FAR)
        if ways:
            found[file] = min(ways)
    return found


def choose(root: Path, items: Sequence[Any], took: Mapping[str, float], seconds: float) -> tuple[list[Any], list[str]]:
    """Choose the tests for so many seconds, and say how much of what a change may touch that is."""
    changed = changed_files(root)
    file_of = {i.nodeid: i.callspec.params["path"] if "test_notebook[" in i.nodeid else i.path for i in items}
    near = nearness(root, changed, sorted(set(file_of.values())))
    touched = [test for test, file in file_of.items() if file in near]
    chosen, used = set(), 0.0
    for test in sorted(touched, key=lambda test: (near[file_of[test]], took.get(test, UNKNOWN))):
        if used + took.get(test, UNKNOWN) <= seconds:
            used += took.get(test, UNKNOWN)
            chosen.add(test)
    told = [f"{len(changed)} changed files may touch {len(touched)} tests, of which {len(chosen)} ran."]
    if left_out := set(touched) - chosen:
        nearest = sorted({file_of[test].stem for test in left_out if near[file_of[test]] < FAR})
        told.append("`make test` runs the others." + (f" The nearest are in {', '.join(nearest)}." if nearest else ""))
    return [item for item in items if item.nodeid in chosen], told
