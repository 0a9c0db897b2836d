"""Build the docs site from the notebooks: `python .docs/build.py`; see README.md beside it."""

import argparse
import hashlib
import inspect
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, cached_property
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NOTEBOOKS, SOURCE, CACHE, SITE = ROOT / "nbs", HERE / "source", HERE / "cache", ROOT / "_site"
PRELOAD = ["pandas", "sklearn.model_selection", "matplotlib.pyplot", "pokeml.runs", "nbdev"]
SECTIONS = {
    "tutorials": ("Tutorials", "Learn it by doing, from nothing."),
    "how_to": ("How-to guides", "Steps for what you want to do."),
    "concepts": ("Concepts", "Why it is as it is, and how it works."),
}
EXPORTS = {"export", "exports", "exporti"}
ELSEWHERE = "https?:|mailto:|data:|#"  # how a link begins that is left as it is
# Code, which is left alone; else a link of Markdown, or a picture, with its text and its target.
LINK = re.compile(rf"```.*?```|`[^`\n]*`|(!?)\[([^\]]*)\]\((?!{ELSEWHERE}|attachment:)([^)\s]+)\)", re.DOTALL)
PAGES = {  # beside the notebooks
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "data/README.md": "data/readme.md",
    "bench/README.md": "bench.md",
}
LISTED = {
    "tutorials": ("tour", "coming_from_kedro"),
    "example": ("model_card", "benchmarks"),
}  # of those in nbs/ itself
FOLD = '<summary aria-label="Pages below">'


def read(path: Path) -> dict[str, Any]:
    """Read a notebook, its sources as texts."""
    nb = json.loads(path.read_text("utf-8"))
    for cell in nb["cells"]:
        cell["source"] = "".join(cell["source"])
    return nb


def all_notebooks() -> list[Path]:
    """List the notebooks that are pages, but for stages: those are shown as the last run executed them."""
    found = [
        p
        for p in sorted(NOTEBOOKS.rglob("*.ipynb"))
        if not any(part[0] in "._" for part in p.relative_to(NOTEBOOKS).parts)
    ]
    return [path for path in found if path.relative_to(NOTEBOOKS).parts[0] not in ("explore", "stages")]


def directives(cell: dict[str, Any]) -> tuple[dict[str, str], str]:
    """Give nbdev's directives at the top of a cell, and its source without them, as nbdev reads them."""
    from fastcore.nbio import NbCell

    parsed = NbCell(0, cell)
    told = parsed.directives if cell["cell_type"] == "code" else {}
    parsed.remove_directives()
    return told, parsed.source if told else cell["source"]


# What a notebook was executed with


def _module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return (
        path.with_suffix(".py")
        if path.with_suffix(".py").is_file()
        else path / "__init__.py"
        if path.is_dir()
        else None
    )


def _imports(text: str) -> set[str]:
    relative = re.findall(r"^\s*from \.+([\w.]*) import", text, re.MULTILINE)
    return set(re.findall(r"\bpokeml(?:\.\w+)+", text)) | {f"pokeml.{name}" for name in relative if name}


def key_of(path: Path, nb: dict[str, Any]) -> str:
    """Hash what an execution depends on: the cells, the modules behind them, configuration, data, and versions.

    A notebook that starts commands, or names no module, may depend on all of the package.
    """
    sources = [cell["source"] for cell in nb["cells"]]
    text = "\n".join(sources)
    files = [ROOT / ".ci" / "lock.txt", *sorted((ROOT / "conf" / "base").rglob("*.yml"))]
    files += [
        p
        for folder in ("data/01_raw", "tests/data", "bench")
        for p in sorted((ROOT / folder).glob("*.*"))
        if p.suffix != ".py"
    ]
    is_wide = NOTEBOOKS / "docs" in path.parents or re.search(r"subprocess|%%bash|^!|CliRunner", text, re.MULTILINE)
    if is_wide:
        files += [*sorted((ROOT / "pokeml").rglob("*.py")), *sorted((NOTEBOOKS / "docs").glob("**/*.py"))]
        files += [NOTEBOOKS / "docs" / "how_to" / "01_own_project.ipynb"]
    else:
        left, seen = _imports(text), set()
        while left:
            file = _module_file(left.pop())
            if file and file not in seen:
                seen.add(file)
                left |= _imports(file.read_text("utf-8"))
        files += sorted(seen)
    digest = hashlib.sha256(json.dumps(sources).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def execute(path: Path, kept: Path) -> str:
    """Execute a notebook in this process as nbdev-test does, and keep it; give the error if there is one."""
    from execnb.shell import CaptureShell
    from nbdev.test import nb_test_cells

    os.environ["IN_TEST"] = "1"
    os.chdir(path.parent)
    nb = read(path)
    run = {cell.idx_ for cell in nb_test_cells(path)}
    shell = CaptureShell(path, mpl_format="retina")
    for number, cell in enumerate(nb["cells"]):
        if number not in run:
            continue
        cell["outputs"] = shell.run(cell["source"], stdout=True, stderr=True)
        if shell.exc:
            kind = type(shell.exc).__name__
            return f"{path.relative_to(ROOT)}, cell {number} ({cell.get('id', '')}): {kind}: {shell.exc}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(nb, default=str), "utf-8")
    beside.replace(kept)
    return ""


def execute_all(paths: list[Path], workers: int, is_all: bool = True) -> dict[Path, dict[str, Any]]:
    """Execute the notebooks that have changed, and give all with their outputs; end the build where a cell fails."""
    keys = {path: CACHE / f"{path.stem}-{key_of(path, read(path))}.json" for path in paths}
    todo = [path for path, kept in keys.items() if not kept.is_file()]
    print(f"Notebooks: {len(todo)} to execute, {len(paths) - len(todo)} from the cache", flush=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    failed = []
    with ProcessPoolExecutor(workers, context, max_tasks_per_child=1) as pool:  # each in a fork of its own
        running = {pool.submit(execute, path, keys[path]): path for path in todo}
        for done in as_completed(running):
            try:
                error = done.result()
            except Exception as raised:  # the process died; which notebook it was must be said
                error = f"{running[done].relative_to(ROOT)}: {raised}"
            print(f"  {'✗' if error else '✓'} {running[done].relative_to(ROOT)}", flush=True)
            failed += [error] if error else []
    if failed:
        sys.exit("\n".join(["The docs cannot be built: cells failed.", *failed]))
    for old in set(CACHE.glob("*.json")) - set(keys.values()) if is_all else []:
        old.unlink()
    return {path: json.loads(kept.read_text("utf-8")) for path, kept in keys.items()}


# From notebooks to sources


def clean(text: str) -> str:
    """Leave the folders of this machine out of a text."""
    return text.replace(str(ROOT), ".").replace(str(Path.home()), "~")


class Links:
    """Turns links between files of the repository into links of the site, or of the repository's own pages.

    Other files are not there for a reader of the site: of a link to one, such as an output's to a record in a folder
    that was temporary, the text is left.
    """

    def __init__(self, url: str):
        self.url = url
        self.pages: dict[Path, str] = {}

    @cached_property
    def tracked(self) -> set[str]:
        """The files that the repository's own pages show."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
        return set(listed.stdout.split("\0"))

    def to(self, target: str, at: Path, page: Path) -> str | None:
        """Say how a page refers to what a notebook or text that lies at `at` refers to; None if it cannot."""
        path, _, anchor = target.partition("#")
        file = (at.parent / unquote(path).replace(".html", ".ipynb")).resolve()
        if file in self.pages:
            cell = anchor.removeprefix("cell-id=")  # how JupyterLab names a cell
            anchor = anchor if cell == anchor else f"cell-{cell}" if cell in exported_cells(file) else ""
            return os.path.relpath(SOURCE / self.pages[file], page.parent) + (f"#{anchor}" if anchor else "")
        if self.url and file.is_relative_to(ROOT) and (name := file.relative_to(ROOT).as_posix()) in self.tracked:
            return f"{self.url}/blob/main/{name}"
        return None

    def rewrite(self, text: str, at: Path, page: Path) -> str:
        """Turn the links of a text in Markdown that lies at `at` into those of its page."""

        def turn(match: re.Match) -> str:
            mark, shown, target = match.groups()
            if target is None:  # code
                return match[0]
            if mark:
                shutil.copy(at.parent / target, page.parent)
                return f"![{shown}]({Path(target).name})"
            to = self.to(target, at, page)
            return f"[{shown}]({to})" if to else shown

        return LINK.sub(turn, text)

    def rewrite_html(self, html: str, at: Path, page: Path) -> str:
        """Turn the links of an output into those of its page."""

        def turn(match: re.Match) -> str:
            to = self.to(unescape(match[2]), at, page)
            name, mark, anchor = (to or "").partition("#")
            name = re.sub(r"\.(ipynb|md)$", ".html", name) if not name.startswith("http") else name
            return f'{match[1]} href="{escape(name + mark + anchor)}"' if to else match[1]

        return re.sub(rf'(<a\b[^>]*?) href="(?!{ELSEWHERE})([^"]*)"', turn, html)


@cache
def exported_cells(path: Path) -> set[str]:
    """Name the cells of a notebook that have a place of their own on its page."""
    if path.suffix != ".ipynb":
        return set()
    return {cell["id"] for cell in read(path)["cells"] if "id" in cell and directives(cell)[0].keys() & EXPORTS}


def safe_output(output: dict[str, Any], at: Path, page: Path, links: Links) -> dict[str, Any] | None:
    """Take out of an output what could run, load or send something, as the gallery of runs does, and mend its links."""
    from pokeml.notebook_page import safe_html

    output = json.loads(clean(json.dumps(output)))
    if "data" not in output:
        return output
    data = {name: "".join(value) if isinstance(value, list) else value for name, value in output["data"].items()}
    html = data.get("text/html")
    if html is not None and "<script" in html and "text/plain" in data:
        del data["text/html"]
    elif html is not None:
        data["text/html"] = links.rewrite_html(safe_html(html), at, page)
    if "text/markdown" in data:
        data["text/markdown"] = links.rewrite(data["text/markdown"], at, page)
    data = {name: value for name, value in data.items() if not name.startswith(("application/", "text/latex"))}
    return output | {"data": data, "metadata": output.get("metadata", {})} if data else None


def cells_of(nb: dict[str, Any], at: Path, page: Path, links: Links) -> Iterator[dict[str, Any]]:
    """Give the cells of a page: nbdev's directives kept to, commands as commands, outputs safe."""
    is_titled = False
    for cell in nb["cells"]:
        told, source = directives(cell)
        if told.keys() & {"hide", "default_exp"} or told.get("include") == "false" or not source.strip():
            continue
        if cell["cell_type"] != "code":
            text = links.rewrite(source, at, page)
            if not is_titled and text.startswith("# "):
                is_titled = True
            elif is_titled:  # a page has one title
                text = re.sub(r"^# ", "## ", text, flags=re.MULTILINE) if not text.startswith("```") else text
            yield {"cell_type": "markdown", "metadata": {}, "source": text}
            continue
        is_silent = "hide_output" in told or told.get("output") == "false"
        outputs = [] if is_silent else [safe_output(output, at, page, links) for output in cell.get("outputs", [])]
        outputs = [output for output in outputs if output]
        source = source.strip("\n")
        tags = ["remove-input"] if "hide_input" in told or told.get("echo") == "false" else []
        if match := re.match(r"%%(bash|writefile)([^\n]*)\n", source):
            name = match[2].strip() if match[1] == "writefile" else ""
            language = {".py": "python", ".yml": "yaml", ".toml": "toml", ".ini": "ini"}.get(
                Path(name).suffix, "bash" if not name else "text"
            )
            caption = f"`{name}`:\n\n" if name else ""
            body = source[match.end() :]
            yield {"cell_type": "markdown", "metadata": {}, "source": f"{caption}````{language}\n{body}\n````"}
            if name:
                continue
            tags, source = ["remove-input"], "pass"
        if told.keys() & EXPORTS:
            yield {"cell_type": "markdown", "metadata": {}, "source": f'<span id="cell-{cell.get("id", "")}"></span>'}
        yield {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {"tags": tags},
            "source": clean(source),
            "outputs": [o | {"execution_count": None} if o["output_type"] == "execute_result" else o for o in outputs],
        }


def write_page(nb: dict[str, Any], at: Path, page: Path, links: Links, before: str = "") -> None:
    """Write a notebook to the sources of the site."""
    page.parent.mkdir(parents=True, exist_ok=True)
    cells = list(cells_of(nb, at, page, links))
    if before and cells:
        cells.insert(1, {"cell_type": "markdown", "metadata": {}, "source": before})
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number}"
    spec = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    page.write_text(json.dumps({"cells": cells, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}), "utf-8")


def title_of(nb: dict[str, Any]) -> tuple[str, str]:
    """Give a notebook's title and the line that says what it is."""
    text = next(
        (c["source"] for c in nb["cells"] if c["cell_type"] == "markdown" and c["source"].startswith("# ")), "# "
    )
    title, _, rest = text.partition("\n")
    line = re.search(r"^> ?(.+(?:\n> ?.+)*)", rest, re.MULTILINE)
    said = re.sub(r"\n> ?", " ", line[1]) if line else next((part for part in rest.split("\n\n") if part.strip()), "")
    return title.lstrip("# ").strip(), " ".join(said.split())


def contents(title: str, said: str, groups: dict[str, list[tuple[str, str, str]]]) -> str:
    """Write a page that lists others in groups: their names, titles and what they say."""
    parts = [f"# {title}", said]
    for name, pages in groups.items():
        lines = [f"- [{page_title}](/{page}){f': {about}' if about else ''}" for page, page_title, about in pages]
        tree = "\n".join(f"/{page}" for page, _, _ in pages)
        parts += [f"## {name}"] if len(groups) > 1 else []
        parts += ["\n".join(lines), f"```{{toctree}}\n:hidden:\n:caption: {name}\n\n{tree}\n```"]
    return "\n\n".join(parts) + "\n"


def api_pages(notebooks: dict[Path, Any]) -> list[tuple[str, str, str]]:
    """Write a page for each module that the notebooks export, in the order of the layers."""
    import importlib
    import tomllib

    layers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0][
        "layers"
    ]
    modules = ["pokeml", *reversed([name for name in layers if name != "pokeml.__main__"])]
    inner = sorted((ROOT / "pokeml" / "pipelines").rglob("*.py"))
    names = [
        p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in inner if not p.stem.startswith("_")
    ]
    told = [directives(cell)[0].get("default_exp") for nb in notebooks.values() for cell in nb["cells"]]
    exported = {f"pokeml.{name}".removesuffix(".__init__") for name in told if name}
    pages = []
    for module in [*modules, *names]:
        if module not in exported:
            continue
        said = (inspect.getdoc(importlib.import_module(module)) or "").partition("\n")[0]
        page = SOURCE / "api" / f"{module}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(
            f"# `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n   :member-order: bysource\n```\n"
        )
        pages.append((f"api/{module}", module, said))
    return pages


def references() -> list[tuple[str, str, str]]:
    """Write the references that are made from what there is: commands, settings, schemas."""
    from pydantic import TypeAdapter

    from pokeml.record import Run

    folder = SOURCE / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    command = "```{eval-rst}\n.. click:: pokeml.cli:main\n   :prog: pokeml\n   :nested: full\n```\n"
    (folder / "commands.md").write_text(
        f"# Commands\n\nAs `pokeml --help` and `pokeml COMMAND --help` tell it.\n\n{command}"
    )
    schema = json.loads((ROOT / "conf" / "parameters.schema.json").read_text("utf-8"))
    rows = []
    for name, about in schema["properties"].items():
        said = " ".join(str(about.get("description", "")).split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {said} | `{json.dumps(about.get('default'))[:60]}` |")
    settings = (ROOT / "settings.ini").read_text("utf-8")
    conf = re.sub(r"^#", "##", (ROOT / "conf" / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    parts = [
        f"# Configuration\n\n## `settings.ini`\n\nMarks a project's root. Every key, with its value here:\n\n```ini\n{settings}```",
        f"## `conf/`\n\n{conf}",
        "## Parameters of the example\n\nFrom the annotations and docstrings of its nodes: `pokeml params --schema`.",
        "\n".join(["| parameter | meaning | default |", "|---|---|---|", *rows]),
        f"### The whole schema\n\n```json\n{json.dumps(schema, indent=1)}\n```\n",
    ]
    (folder / "configuration.md").write_text("\n\n".join(parts), "utf-8")
    record = json.dumps(TypeAdapter(Run).json_schema(), indent=1, ensure_ascii=False)
    doc, stage = inspect.getdoc(Run), inspect.getdoc(sys.modules["pokeml.record"].StageRun)
    (folder / "run_json.md").write_text(
        f"# `run.json`\n\nThe record of a run, `outputs/runs/<run id>/run.json`.\n\n```text\n{doc}\n```\n\nEach of its `stages`:\n\n"
        f"```text\n{stage}\n```\n\n## JSON Schema\n\n```json\n{record}\n```\n"
    )
    return [
        ("reference/commands", "Commands", "Every command with its options."),
        ("reference/configuration", "Configuration", "settings.ini, conf/, the catalog, parameters."),
        ("reference/run_json", "run.json", "What a record of a run holds, with its JSON Schema."),
    ]


def last_run() -> Any:
    """Bring the example's run up to date, which takes no time where nothing has changed, and give its record."""
    from pokeml.project import find_project
    from pokeml.record import find_run

    print("The example's run", flush=True)
    done = subprocess.run([sys.executable, "-m", "pokeml", "run", "--quiet"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"The docs show the last run, and it failed.\n{done.stderr}")
    return find_run(find_project(ROOT))


def example_pages(run: Any, links: Links, notebooks: dict[Path, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Write the pages of the stages as the run executed them, and list all pages of the example."""
    commit = (run.git.get("commit") or "")[:10]
    stages = []
    for stage in run.stages:
        executed = ROOT / stage.executed
        at = ROOT / stage.notebook
        nb = read(executed)
        nb["cells"] = [c for c in nb["cells"] if "injected-parameters" not in c.get("metadata", {}).get("tags", [])]
        banner = f"*As run {executed.parent.name} executed it, commit {commit}: nothing on this page was typed in.*"
        page = SOURCE / links.pages[at]
        write_page(nb, at, page, links, banner)
        stages.append((str(Path(links.pages[at]).with_suffix("")), *title_of(nb)))
    groups = {"Functions": [p for p in notebooks if NOTEBOOKS / "pipelines" in p.parents]}
    groups["Data and results"] = [p for p in notebooks if NOTEBOOKS / "data" in p.parents]
    groups["Data and results"] += [NOTEBOOKS / f"{name}.ipynb" for name in LISTED["example"]]
    listed = {
        name: [(str(Path(links.pages[p]).with_suffix("")), *title_of(notebooks[p])) for p in paths if p in notebooks]
        for name, paths in groups.items()
    }
    return {"Stages, as the last run executed them": stages, **listed}


def write_sources(notebooks: dict[Path, Any], run: Any, url: str) -> None:
    """Write the sources of the site: the pages of these notebooks, and what is made from the rest of the repository."""
    links = Links(url)
    shown = {path: nb for path, nb in notebooks.items()}
    for path in [*shown, *sorted((NOTEBOOKS / "stages").glob("*.ipynb"))]:
        links.pages[path] = str(path.relative_to(NOTEBOOKS)).removeprefix("docs/")
    links.pages |= {ROOT / name: page for name, page in PAGES.items()}
    links.pages |= {ROOT / "README.md": "index.ipynb", ROOT / "conf" / "README.md": "reference/configuration.md"}
    shutil.rmtree(SOURCE, ignore_errors=True)
    for path, nb in shown.items():
        write_page(nb, path, SOURCE / links.pages[path], links)
    for name, page in PAGES.items():
        (SOURCE / page).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / page).write_text(links.rewrite((ROOT / name).read_text("utf-8"), ROOT / name, SOURCE / page), "utf-8")
    for name, (title, said) in SECTIONS.items():
        inner = sorted(p for p in shown if p.parent == NOTEBOOKS / "docs" / name)
        pages = [(f"{name}/{p.stem}", *title_of(shown[p])) for p in inner]
        more = [NOTEBOOKS / f"{stem}.ipynb" for stem in LISTED.get(name, ())]
        pages += [(path.stem, *title_of(shown[path])) for path in more if path in shown]
        (SOURCE / f"{name}.md").write_text(contents(title, said, {title: pages}), "utf-8")
    subprocess.run(
        [sys.executable, "-m", "pokeml", "viz", "-o", str(SOURCE / "viz.svg")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    picture = '![The example\'s pipelines, with the states of the last run](viz.svg)\n\n<a href="viz.html">The interactive picture</a>.'
    said = f"Predict a Pokémon's primary type from its statistics. The last run, {run.id}, as everything here shows it:\n\n{picture}"
    (SOURCE / "example.md").write_text(contents("The example", said, example_pages(run, links, shown)), "utf-8")
    own = [p for p in shown if p.parent == NOTEBOOKS and p.stem[0].isdigit()]
    machinery = [(p.stem, *title_of(shown[p])) for p in own]
    (SOURCE / "notebooks.md").write_text(
        contents("The notebooks", "All of pokeml, in the order in which it is built.", {"The notebooks": machinery})
    )
    (SOURCE / "api.md").write_text(
        contents("API", "Every public name of every module.", {"API": api_pages(shown)}), "utf-8"
    )
    more = [
        ("api", "API", "Every public name of every module."),
        ("notebooks", "The notebooks", "The source of all modules."),
    ]
    more += [
        ("changelog", "Changelog", "What is different."),
        ("contributing", "Contributing", "How to change something."),
        ("bench", "How it is measured", ""),
        ("data/readme", "Where the data come from", ""),
    ]
    (SOURCE / "reference.md").write_text(
        contents("Reference", "What there is, exactly.", {"Reference": references() + more}), "utf-8"
    )
    (SOURCE / "404.md").write_text(
        "---\norphan: true\n---\n\n# There is no such page\n\nBegin with the tour, or search.\n"
    )
    index = json.loads((SOURCE / "index.ipynb").read_text("utf-8"))
    tree = "\n".join([*SECTIONS, "example", "reference"])
    toc = {"cell_type": "markdown", "id": "toc", "metadata": {}, "source": f"```{{toctree}}\n:hidden:\n\n{tree}\n```"}
    index["cells"].append(toc)
    (SOURCE / "index.ipynb").write_text(json.dumps(index), "utf-8")


def finish(site: Path, url: str, notebooks: dict[Path, Any]) -> None:
    """Add what the generator does not make: the picture's page, sitemap, llms.txt, and nothing for GitHub to interpret."""
    subprocess.run(
        [sys.executable, "-m", "pokeml", "viz", "-o", str(site / "viz.html")], cwd=ROOT, check=True, capture_output=True
    )
    text = (site / "viz.html").read_text("utf-8")
    (site / "viz.html").write_text(
        re.sub(r'"root": "[^"]*"', f'"root": {json.dumps(f"{url}/blob/main/" if url else "")}', text), "utf-8"
    )
    (site / ".nojekyll").touch()
    for page in site.rglob("*.html"):  # the theme gives what folds the navigation no name for a screen reader
        text = page.read_text("utf-8")
        named = text.replace('<summary><span class="toctree-toggle"', f'{FOLD}<span class="toctree-toggle"')
        if named != text:
            page.write_text(named, "utf-8")
    base = os.environ.get("DOCS_URL", "").rstrip("/")
    pages = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html") if "_static" not in p.parts)
    listed = "".join(
        f"<url><loc>{base}/{page}</loc></url>"
        for page in pages
        if page not in ("404.html", "genindex.html", "search.html")
    )
    (site / "sitemap.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>\n'
    )
    about = title_of(read(NOTEBOOKS / "index.ipynb"))
    lines = [f"# {about[0]}", "", f"> {about[1]}", ""]
    for path, nb in notebooks.items():
        title, said = title_of(nb)
        page = str(path.relative_to(NOTEBOOKS)).removeprefix("docs/").removesuffix(".ipynb")
        lines.append(f"- [{title}]({base}/{page}.html){f': {said}' if said else ''}")
    (site / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")


def check_sources() -> list[str]:
    """Name what is wrong with the sources of the site, which takes seconds where a build takes minutes.

    Links between files that lead nowhere; notebooks that no page lists; docstrings that Sphinx does not understand.
    """
    wrong = []
    sources = [ROOT / "README.md", ROOT / "conf" / "README.md", *(ROOT / name for name in PAGES)]
    for path in [*sources, *all_notebooks(), *sorted((NOTEBOOKS / "stages").glob("*.ipynb"))]:
        cells = (
            read(path)["cells"]
            if path.suffix == ".ipynb"
            else [{"cell_type": "markdown", "source": path.read_text("utf-8")}]
        )
        texts = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
        if not any(re.match(r"# \S", text) for text in texts):
            wrong.append(f"{path.relative_to(ROOT)} has no title")
        for target in [match[3] for text in texts for match in LINK.finditer(text) if match[3]]:
            if not (path.parent / unquote(target.partition("#")[0]).replace(".html", ".ipynb")).exists():
                wrong.append(f"{path.relative_to(ROOT)}: {target} leads nowhere")
        is_listed = (
            path.parent != NOTEBOOKS or path.stem[0].isdigit() or path.stem in {"index", *sum(LISTED.values(), ())}
        )
        wrong += [] if is_listed else [f"{path.relative_to(ROOT)} is on no list of pages: LISTED in .docs/build.py"]
    return wrong + docstring_faults()


def docstring_faults() -> list[str]:
    """Name the docstrings that are no reStructuredText, as the pages of the API show them."""
    import ast
    import io

    from docutils.frontend import get_default_settings
    from docutils.parsers.rst import Parser
    from docutils.utils import new_document
    from sphinx.ext.napoleon import Config, NumpyDocstring

    parser, config = Parser(), Config(napoleon_use_rtype=False, napoleon_use_ivar=True)
    settings = get_default_settings(Parser)
    wrong = []
    for path in sorted((ROOT / "pokeml").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            text = ast.get_docstring(node) or ""
            if not re.search(r"[*`|\n]", text):  # nothing that could be markup
                continue
            settings.warning_stream = said = io.StringIO()
            parser.parse(str(NumpyDocstring(text, config)), new_document("docstring", settings))
            if said.getvalue():
                wrong.append(f"{path.relative_to(ROOT)}, line {node.lineno}, {node.name}: {said.getvalue().strip()}")
    return wrong


def check(site: Path) -> list[str]:
    """Name what is wrong with the site: links that lead nowhere, public names that the API leaves out."""
    import importlib

    wrong = []
    pages = {p: p.read_text("utf-8") for p in site.rglob("*.html") if "_static" not in p.parts}
    names = {p: set(re.findall(r"""\bid=["']([^"']+)""", text)) for p, text in pages.items()}
    for page, text in pages.items():
        if page.name == "viz.html":  # its links lead into the repository
            continue
        for link in set(re.findall(r"""<(?:a|img|link|script)\b[^>]*?\b(?:href|src)=["']([^"']+)""", text)):
            if re.match(r"[a-z]+:|//", link):
                continue
            target, _, anchor = unquote(link.partition("?")[0]).partition("#")
            file = (page.parent / target).resolve() if target else page
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or anchor and file in names and anchor not in names[file]:
                wrong.append(f"{page.relative_to(site)}: {link} leads nowhere")
    for page in (site / "api").glob("pokeml*.html"):
        module = importlib.import_module(page.stem)
        public = {n: getattr(module, n) for n in getattr(module, "__all__", [])}
        told = {n for n, it in public.items() if isinstance(it, type) or inspect.isroutine(it)}  # commands: reference
        told = {n for n in told if public[n].__module__ == page.stem}
        wrong += [f"api/{page.name} leaves out {n}" for n in sorted(told) if f"{page.stem}.{n}" not in names[page]]
    return wrong


def main() -> None:
    """Build the site."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--only", metavar="NAMES", help="For a trial: only these notebooks, and the modules that they export."
    )
    parser.add_argument("--out", type=Path, default=SITE, help="Where the site goes.")
    parser.add_argument("--workers", type=int, default=2, help="How many notebooks are executed at once.")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else None
    site = options.out.resolve()
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
    if wrong := check_sources() if only is None else []:
        sys.exit("\n".join(["The docs cannot be built.", *wrong]))
    run = last_run()
    paths = [path for path in all_notebooks() if only is None or path.stem in only]
    notebooks = execute_all(paths, options.workers, is_all=only is None)
    write_sources(notebooks, run, url)
    built = HERE / "build"  # MyST-NB leaves a folder beside what it builds
    shutil.rmtree(built, ignore_errors=True)
    quiet = [
        "-q",
        "-j",
        str(options.workers),
        "--keep-going",
        *([] if only else ["-W"]),
    ]  # in a trial, links to pages left out are no mistakes
    call = ["-m", "sphinx", *quiet, "-c", str(HERE), "-d", str(built / "doctrees"), str(SOURCE), str(built / "html")]
    if subprocess.run([sys.executable, *call], env=os.environ | {"REPOSITORY_URL": url}).returncode:
        sys.exit("The docs cannot be built: see the warnings above.")
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(built / "html", site)
    finish(site, url, notebooks)
    if wrong := check(site):
        sys.exit("\n".join(["The docs are not whole.", *wrong]))
    print(f"The site is in {site}: {len(list(site.rglob('*.html')))} pages", flush=True)


if __name__ == "__main__":
    main()
