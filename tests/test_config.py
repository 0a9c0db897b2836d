"""Layered configuration, as a user of Kedro knows it, with the line of every value."""

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from omegaconf import OmegaConf
from toy import Toy, ran

from pokeml.config import load_config, load_credentials
from pokeml.project import PokemlError, find_project

BASE = "conf/base/parameters.yml"


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path / "project")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Toy:
    """A project in which everything ran once; each test takes a copy."""
    made = Toy(tmp_path_factory.mktemp("config") / "project")
    made.run()
    return made


@pytest.fixture
def other(done, tmp_path) -> Toy:
    return Toy(tmp_path / "project", of=done)


def parameters(toy: Toy, env: str | None = None, **given):
    return load_config(find_project(toy.root), "parameters", env, given)


def test_base_then_environment(toy):
    toy.write("conf/prod/parameters.yml", "\nleast: 3.5\noptions: {kinds: {a: z}}\n")
    base, prod = parameters(toy, "base"), parameters(toy, "prod")
    assert (base.values["least"], base.place("least")) == (2.5, f"{BASE}, line 1")
    assert (prod.values["least"], prod.place("least")) == (3.5, "conf/prod/parameters.yml, line 2")
    assert prod.values["steps"] == [1, 2] and prod.place("steps") == f"{BASE}, line 8"
    assert prod.values["options"] == {"kinds": {"a": "z"}}  # replaced whole, as in Kedro
    assert toy.pokeml("run", "--env", "prod").returncode == 0
    assert toy.record()["parameters"]["least"] == 3.5


def test_local_overrides_base(toy):
    toy.write("conf/local/parameters.yml", "least: 1.5\n")
    assert toy.run()["parameters"]["least"] == 1.5
    toy.write("conf/local/catalog.yml", "words: {type: text.TextDataset, filepath: data/other.txt}\n")
    toy.write("data/other.txt", "mine")
    assert "label" in ran(toy.run()) and toy.datasets()["label.txt"].startswith(b"MINE")


def test_environment_from_the_variable(toy):
    toy.write("conf/prod/parameters.yml", "least: 3.5\n")
    toy.env["POKEML_ENV"] = "prod"
    record = toy.run()
    assert (record["env"], record["parameters"]["least"]) == ("prod", 3.5)
    toy.env["POKEML_ENV"] = "prdo"
    failed = toy.pokeml("run")
    assert failed.returncode == 2 and "Unknown environment 'prdo'. Did you mean prod?" in failed.stderr


def test_several_files_and_folders(toy):
    toy.write("conf/base/parameters/a/anything.yml", "_one: 1\nmore: 1\n")
    toy.write("conf/base/deep/er/parameters_x.yaml", "_one: 2\nyet: 2\n")
    toy.write("conf/base/parameters_y.json", json.dumps({"smile": "😀", "nested_json": {"a": [1]}}, indent="\t"))
    found = parameters(toy)
    assert [found.values[n] for n in ("more", "yet", "smile", "nested_json")] == [1, 2, "😀", {"a": [1]}]
    assert found.place("nested_json.a") == "conf/base/parameters_y.json, line 4"
    toy.write("conf/base/catalog/raw/files.yml", "more: {type: text.TextDataset, filepath: data/words.txt}\n")
    assert "more" in load_config(find_project(toy.root), "catalog").values


def test_defined_twice_is_refused(toy):
    toy.write("conf/base/deep/parameters_x.yml", "\nleast: 1\n")
    done = toy.pokeml("run")
    assert done.returncode == 2
    assert "'least' is defined twice: in conf/base/deep/parameters_x.yml, line 2, and in " + BASE in done.stderr
    toy.write("conf/base/deep/parameters_x.yml", "_base: 3.0\n")  # a helper may be in several, as in Kedro
    assert toy.pokeml("run", "--dry-run").returncode == 0


def test_globals(toy):
    toy.write("conf/base/globals.yml", "folder: data\nlimits:\n  least: 2.5\n")
    toy.write("conf/prod/globals.yml", "limits: {least: 9.5}\n")
    toy.write("conf/prod/parameters.yml", "")
    toy.replace(BASE, "least: 2.5", "least: ${globals:limits.least}")
    toy.replace("conf/base/catalog.yml", "data/words.txt", "'${globals:folder}/${globals:file, words.txt}'")
    assert toy.run()["parameters"]["least"] == 2.5
    assert parameters(toy).place("least") == f"{BASE}, line 1, from conf/base/globals.yml, line 3"
    assert parameters(toy, "prod").values["least"] == 9.5
    toy.write("conf/base/globals.yml", "folder: data\nlimits:\n  least: lots\n")
    told = toy.pokeml("run").stderr
    assert f"It is set in {BASE}, line 1, from conf/base/globals.yml, line 3." in told
    toy.write("conf/base/globals.yml", "folder: data\nlimit: 1\n")
    told = toy.pokeml("run").stderr
    assert (
        f"{BASE}, line 1: least cannot be resolved: globals*.yml sets no limits.least. There are: folder, limit."
        in told
    )


def test_globals_take_nothing_of_a_run(toy):
    toy.write("conf/base/globals.yml", "x: ${runtime_params:x, 1}\n")
    toy.replace(BASE, "least: 2.5", "least: ${globals:x}")
    told = toy.pokeml("run").stderr
    assert told.startswith("Error: conf/base/globals.yml, line 1: x cannot be resolved: globals hold for all runs")


def test_runtime_params(toy):
    toy.replace("conf/base/catalog.yml", "data/words.txt", "'data/${runtime_params:file, words.txt}'")
    toy.replace(BASE, "least: 2.5", "least: ${runtime_params:limits.least, 2.5}")
    toy.write("data/other.txt", "other")
    toy.run()
    assert toy.datasets()["label.txt"].startswith(b"SOME WORDS")
    record = toy.run("--params", "file=other.txt,limits.least=4.5")
    assert toy.datasets()["label.txt"].startswith(b"OTHER") and {"label", "clean"} <= ran(record)
    assert record["parameters"]["least"] == 4.5
    wrong = toy.pokeml("run", "--params", "fil=other.txt")
    assert wrong.returncode == 2 and "Unknown parameter 'fil' (--params)." in wrong.stderr
    toy.replace(BASE, "limits.least, 2.5", "limits.least")
    told = toy.pokeml("run").stderr
    assert f"{BASE}, line 1: least cannot be resolved: it needs a value for this run: --params limits.least=…" in told


def test_soft_merge(toy):
    toy.write("conf/prod/parameters.yml", "options:\n  kinds:\n    c: z\nnested: {offset: 0.5}\n")
    hard = parameters(toy, "prod")
    assert hard.values["options"] == {"kinds": {"c": "z"}} and hard.values["nested"] == {"offset": 0.5}
    toy.write("settings.ini", "[pokeml]\npackage = toy\nsoft_merge = parameters\n")
    soft = parameters(toy, "prod")
    assert soft.values["options"] == {"kinds": {"a": "x", "b": "y", "c": "z"}, "note": "unused"}
    assert soft.values["nested"] == {"offset": 0.5, "other": [1, 2]}
    assert soft.place("options.kinds.c") == "conf/prod/parameters.yml, line 3"
    assert soft.place("options.kinds.a") == f"{BASE}, line 6"
    assert soft.place("nested.other") == f"{BASE}, line 4"
    assert toy.pokeml("run", "--env", "prod").returncode == 0
    assert toy.record()["parameters"]["options"]["kinds"]["c"] == "z"


def test_merges_as_kedro_does(toy):
    kedro = pytest.importorskip("kedro.config")
    toy.write("conf/base/globals.yml", "half: 0.5\nfolders: {raw: data}\n")
    toy.write("conf/prod/globals.yml", "half: 0.25\n")
    toy.write("conf/base/parameters_more.yml", "a: {b: {c: 1, d: '${globals:half}'}, e: [1, 2]}\nf: ${a.b.c}\n")
    toy.write("conf/prod/parameters.yml", "a: {b: {c: 2}, e: [3]}\ng: ${runtime_params:g, 7}\n")
    for strategy, settings in {"destructive": "", "soft": "soft_merge = parameters\n"}.items():
        toy.write("settings.ini", f"[pokeml]\npackage = toy\n{settings}")
        loader = kedro.OmegaConfigLoader(
            str(toy.root / "conf"),
            env="prod",
            base_env="base",
            default_run_env="local",
            merge_strategy={"parameters": strategy},
            config_patterns={"globals": ["globals*", "**/globals*"]},
        )
        theirs = {k: v for k, v in loader["parameters"].items() if k != "f"}
        ours = {k: v for k, v in parameters(toy, "prod").values.items() if k != "f"}
        assert ours == theirs, strategy
        # A reference of base's is resolved after the merge, so that it follows the environment; Kedro's is not.
        assert (parameters(toy, "prod").values["f"], loader["parameters"]["f"]) == (2, 1)


def test_credentials_from_the_environment(toy, monkeypatch):
    toy.write("conf/local/credentials.yml", "store:\n  user: ann\n  key: ${oc.env:TOY_KEY}\nplain: {key: s3cret}\n")
    toy.write("conf/base/credentials_more.yml", "shared: {user: '${globals:who}'}\n")
    toy.write("conf/base/globals.yml", "who: bob\n")
    monkeypatch.delenv("TOY_KEY", raising=False)
    secrets = load_credentials(find_project(toy.root))
    assert secrets.values["plain"] == {"key": "s3cret"} and secrets.values["shared"] == {"user": "bob"}
    with pytest.raises(PokemlError) as caught:  # not before it is used
        secrets.values["store"]
    told = "conf/local/credentials.yml, line 3: store.key cannot be resolved: Environment variable 'TOY_KEY' not found."
    assert str(caught.value) == told
    monkeypatch.setenv("TOY_KEY", "k3y")
    assert secrets.values["store"] == {"user": "ann", "key": "k3y"}
    assert "s3cret" not in repr(secrets) and "k3y" not in repr(secrets)
    toy.write("conf/local/credentials.yml", "plain: {key: s3cret\n")
    with pytest.raises(PokemlError) as caught:
        load_credentials(find_project(toy.root))
    assert str(caught.value).startswith("conf/local/credentials.yml, line 2 cannot be read")
    assert "s3cret" not in str(caught.value)


def test_credentials_are_kept_nowhere(toy):
    toy.write("conf/local/credentials.yml", "store: {key: s3cret}\n")
    toy.run()
    for path in (toy.root / "outputs").rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


@pytest.mark.parametrize("path", ["conf/base/parameters_env.yml", "conf/base/globals.yml", "conf/base/catalog_env.yml"])
def test_environment_variables_are_for_credentials_only(toy, path):
    toy.write(path, "x:\n  - ${ oc.env:HOME }\n")
    toy.replace(BASE, "least: 2.5", "least: ${globals:y, 2.5}")
    done = toy.pokeml("run")
    assert done.returncode == 2 and f"{path}, line 1: x reads an environment variable" in done.stderr


def test_nested_params(other):
    assert ran(other.run("--params", "nested.offset=0.75")) == {"scale", "total", "report"}  # scaled is not kept
    assert other.record()["parameters"]["nested.offset"] == 0.75
    wrong = other.pokeml("run", "--params", "nested.ofset=0.75,stepz=[1]")
    assert wrong.returncode == 2 and "Unknown parameter 'nested.ofset' (--params)." in wrong.stderr
    assert "Unknown parameter 'stepz' (--params). Did you mean steps?" in wrong.stderr  # both are told


def test_what_is_given_is_taken_as_it_is(toy):
    found = parameters(toy, steps=["${_base}", "${"], least="x")
    assert found.values["steps"] == ["${_base}", "${"] and found.values["factor"] == 3.0
    assert parameters(toy, _base=4.0).values["factor"] == 4.0
    assert parameters(toy, _base=4.0).place("factor") == f"{BASE}, line 3, from --params"


def test_planning_imports_no_omegaconf(other):
    """Where no `${…}` is, and the store has the files."""
    other.replace(BASE, "factor: ${_base}", "factor: 3.0")
    other.run()
    code = "import sys; from pokeml.cli import main; main(['run', '--dry-run'], standalone_mode=False)\n"
    code += "sys.exit('omegaconf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=other.root, env=other.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# pokeml params


def test_params_shows_what_was_replaced(other):
    other.write("conf/prod/parameters.yml", "least: 3.5\n")
    done = other.pokeml("params", "--env", "prod", "--params", "least=4.5", "least", "nested")
    assert done.stdout.splitlines() == [
        "least = 4.5   --params",
        "  replaces 3.5   conf/prod/parameters.yml, line 1",
        f"  replaces 2.5   {BASE}, line 1",
        "  first, node clean: least: float",
        f"nested.offset = 0.3   {BASE}, line 4",
        "  second, node total: offset: float",
    ]
    listed = json.loads(other.pokeml("params", "--json").stdout)
    factor = next(about for about in listed if about["name"] == "factor")
    assert factor["value"] == 3.0 and factor["set in"] == f"{BASE}, line 3, from {BASE}, line 2"
    assert [t["node"] for t in factor["takers"]] == ["scale"]


def test_params_tells_what_no_node_takes(other):
    other.write("conf/local/parameters.yml", "leest: 3.5\n")
    told = other.pokeml("params", "leest").stdout
    assert told == "leest = 3.5   conf/local/parameters.yml, line 1\n  no node takes it\n"
    assert "Unknown parameter 'factr'. Did you mean factor?" in other.pokeml("params", "factr").stderr


def test_schema_is_up_to_date():
    command = [sys.executable, "-m", "pokeml", "params", "--schema"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    kept = (ROOT / "conf/parameters.schema.json").read_text("utf-8")
    assert made.stdout == kept, "It is not: pokeml params --schema -o conf/parameters.schema.json"


def test_editors_find_the_schema_and_it_fits():
    jsonschema = pytest.importorskip("jsonschema")
    files = sorted((ROOT / "conf" / "base").rglob("parameters*.yml"))
    assert len(files) == 5
    for path in files:
        first, text = path.read_text("utf-8").split("\n", 1)
        assert first.startswith("# yaml-language-server: $schema=")
        schema = (path.parent / first.partition("=")[2]).resolve()
        assert schema == ROOT / "conf" / "parameters.schema.json"
        jsonschema.validate(OmegaConf.to_container(OmegaConf.create(text)), json.loads(schema.read_text("utf-8")))


# Logging

LOGGING = """\
version: 1
formatters: {plain: {format: "%(levelname)s %(name)s: %(message)s"}}
handlers:
  console: {(): pokeml.logs.console}
  file: {class: logging.handlers.RotatingFileHandler, filename: outputs/logs/info.log, formatter: plain, maxBytes: 90,
         backupCount: 1}
root: {level: INFO, handlers: [console, file]}
"""


def log_in_clean(toy: Toy) -> None:
    toy.replace("toy/pipelines/first.py", "import pandas as pd\n", "import logging\nimport pandas as pd\n")
    line = 'logging.getLogger(__name__).info("kept %d rows", len(raw))'
    toy.replace("toy/pipelines/first.py", "    rule = Rule(least)", f"    {line}\n    rule = Rule(least)")


def texts(toy: Toy) -> str:
    """Give all that stands in the outputs of the newest executed notebook of the first stage, without colours."""
    cells = json.loads((toy.records()[-1].parent / "01_first.ipynb").read_text("utf-8"))["cells"]
    return re.sub(r"<.*?>", "", json.dumps([o for cell in cells for o in cell.get("outputs", [])], ensure_ascii=False))


def test_logging_goes_into_the_file_and_the_notebook(toy):
    log_in_clean(toy)
    toy.write("conf/base/logging.yml", LOGGING)
    toy.run()
    log = toy.root / "outputs" / "logs" / "info.log"
    assert "INFO toy.pipelines.first: kept 9 rows\n" in log.read_text()
    assert "kept 9 rows" in texts(toy)
    log.write_text("x" * 90)
    toy.run("--force")
    assert log.with_suffix(".log.1").read_text() == "x" * 90 and "kept 9 rows" in log.read_text()


def test_logging_of_plain_papermill_and_of_an_environment(toy):
    log_in_clean(toy)
    toy.write("conf/base/logging.yml", LOGGING)
    toy.write("conf/prod/logging.yml", LOGGING.replace("info.log", "prod.log"))
    call = ["-m", "papermill", "nbs/stages/01_first.ipynb", "out.ipynb", "-p", "env", "prod"]
    toy.python(*call).check_returncode()
    assert [p.name for p in (toy.root / "outputs" / "logs").glob("*")] == ["prod.log"]
    assert "kept 9 rows" in (toy.root / "outputs/logs/prod.log").read_text()


def test_without_logging_yml_nothing_is_set_up(toy):
    log_in_clean(toy)
    toy.run()
    assert "kept 9 rows" not in texts(toy) and not (toy.root / "outputs" / "logs").exists()


def test_a_mistake_in_logging_yml_is_refused_with_its_line(toy):
    toy.write("conf/base/logging.yml", LOGGING.replace("formatter: plain", "formatter: plian"))
    done = toy.pokeml("run")
    assert done.returncode == 2 and not toy.records()
    assert done.stderr.startswith("Error: conf/base/logging.yml, line 5: logging cannot be set up: Unable to configure")


def test_nothing_to_do_sets_up_no_logging(other):
    other.write("conf/base/logging.yml", LOGGING)
    other.run()
    code = "import sys; from pokeml.cli import main; main(['run', '-q'], standalone_mode=False)\n"
    code += "sys.exit('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=other.root, env=other.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


WRITE = """\
import logging, sys
from pokeml.logs import set_logging
from pokeml.project import find_project
for i in range(500):
    if i % 100 == 0:
        set_logging(find_project())
    logging.getLogger(sys.argv[1]).info("line %04d", i)
"""


def test_processes_write_one_file_and_lose_no_line(toy):
    text = LOGGING.replace("handlers: [console, file]", "handlers: [file]").replace("backupCount: 1", "backupCount: 99")
    toy.write("conf/base/logging.yml", text)
    command = [sys.executable, "-c", WRITE]
    started = [subprocess.Popen([*command, name], cwd=toy.root, env=toy.env) for name in ("first", "second")]
    assert [process.wait() for process in started] == [0, 0]
    logs = list((toy.root / "outputs" / "logs").glob("info.log*"))
    lines = [line for path in logs for line in path.read_text().splitlines()]
    assert len(logs) > 2 and sorted(lines) == sorted(
        f"INFO {name}: line {i:04d}" for name in ("first", "second") for i in range(500)
    )
