"""The wheel, installed into a fresh virtual environment, runs a project without nbdev, JupyterLab or the source."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from conftest import ROOT
from toy import Toy
from uv import find_uv_bin

UV = find_uv_bin()


def call(*command: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pokeml", "pyproject.toml", "README.md", "LICENSE"):
        path = ROOT / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source)
    call(UV, "build", "--quiet", "--wheel", "--out-dir", "dist", cwd=source)
    return next((source / "dist").glob("*.whl"))


def test_wheel_holds_every_module_and_its_types(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pokeml").rglob("*.py")}
    assert len(modules) > 20
    assert modules | {"pokeml/py.typed", "pokeml/assets/predict.html"} <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_the_extension_of_jupyterlab(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    installed = {name.partition(".data/data/")[2] for name in names}
    extension = "share/jupyter/labextensions/pokeml"
    about = json.loads((ROOT / "pokeml/assets/lab/pokeml/package.json").read_text("utf-8"))
    assert {f"{extension}/package.json", f"{extension}/install.json", f"{extension}/static/style.css"} <= installed
    assert f"{extension}/{about['jupyterlab']['_build']['load']}" in installed
    assert "etc/jupyter/jupyter_server_config.d/pokeml.json" in installed
    assert wheel.name.split("-")[1] == about["version"], (
        "give pokeml/assets/lab/pokeml/package.json the version of pyproject.toml"
    )


def test_jupyterlab_finds_the_extension_in_order(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    share = next(tmp_path.glob("*.data")) / "data" / "share" / "jupyter"
    environment = os.environ | {"JUPYTER_PATH": str(share), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    call = [sys.executable, "-m", "jupyter", "labextension", "list"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    told = next(line for line in (done.stdout + done.stderr).splitlines() if " pokeml v" in line)
    assert "enabled" in told and "OK" in told, told


def install(folder: Path, *wanted: str) -> None:
    call(UV, "pip", "install", "-q", "--python", str(folder), "-c", str(ROOT / ".ci" / "lock.txt"), *wanted, cwd=folder)


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory) -> Path:
    """A new virtual environment with the wheel and no extra; the folder of its commands."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder)
    install(folder, str(wheel))
    return folder / "bin"


@pytest.fixture(scope="module")
def fresh(wheel, bare) -> Path:
    """The same environment, later, with what the example and `pokeml serve` need."""
    install(bare.parent, f"{wheel}[example,serve]")
    return bare


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment without what leads to this project."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "POKEML_PROJECT", "VIRTUAL_ENV")}


def test_wheel_alone_runs_what_has_no_model_and_no_figure(bare, tmp_path, environment):
    installed = call(UV, "pip", "list", "--python", str(bare / "python"), cwd=tmp_path).split()
    assert "pandas" in installed and not {"scikit-learn", "skops", "matplotlib", "scipy"} & {*installed}
    toy = Toy(tmp_path / "project")
    environment["PYTHONPATH"] = str(tmp_path / "lib")
    script = str(bare / "pokeml")
    assert "second" in call(script, "info", cwd=toy.root, environment=environment)
    assert "completed" in call(script, "run", cwd=toy.root, environment=environment)
    toy.write("conf/local/catalog.yml", "label: {type: sklearn.ModelDataset, filepath: data/made/label.skops}\n")
    done = subprocess.run([script, "run"], cwd=toy.root, env=environment, capture_output=True, text=True)
    told = "needs skops, which is not installed. Install it: pip install 'pokeml[model]'."
    assert done.returncode == 2 and told in done.stderr and "Run " not in done.stdout


def test_wheel_runs_a_project_in_a_fresh_environment(fresh, sample, tmp_path, environment):
    installed = call(UV, "pip", "list", "--python", str(fresh / "python"), cwd=tmp_path).lower()
    assert "papermill" in installed and "nbdev" not in installed and "jupyterlab" not in installed

    shutil.rmtree(sample.root / "pokeml")  # the project has notebooks, configuration and data; the code is installed
    script = str(fresh / "pokeml")
    assert call(script, "--version", cwd=tmp_path).startswith("pokeml ")
    done = call(script, "run", "--pipeline=pre_processing,data_engineering", cwd=sample.root, environment=environment)
    assert "completed" in done and (sample.root / "data/05_model_input/X_train.parquet").exists()


def test_dockerfile_serves_with_the_wheel_and_the_predictors_alone(
    wheel, fresh, made_predictors, tmp_path, environment
):
    """There may be no Docker here, so its steps are done by hand, in an empty folder."""
    text = made_predictors.pokeml("serve", "--dockerfile").stdout
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line[0] != "#"]
    steps = [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]
    by_name = dict(steps)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim", by_name["FROM"]) and by_name["USER"] == "10001:10001"

    (srv := tmp_path / "srv").mkdir()
    copied = [json.loads(rest) for step, rest in steps if step == "COPY"]
    assert copied[0] == [f"dist/{wheel.name}", "/tmp/"]
    for source, target in copied[1:]:
        shutil.copy(made_predictors.root / source, srv / target)
    assert sorted(p.name for p in srv.iterdir()) == ["api.yml", "predictor.skops", "statistics_predictor.skops"]

    frozen = call(UV, "pip", "freeze", "--python", str(fresh / "python"), cwd=tmp_path)
    installed = {line.lower() for line in frozen.splitlines()}
    words = shlex.split(by_name["RUN"])
    assert f"/tmp/{wheel.name}[serve]" in words
    pins = {word.lower().replace("-", "_") for word in words if "==" in word}
    assert len(pins) > 10 and pins <= {line.replace("-", "_") for line in installed}

    command = json.loads(by_name["CMD"])
    assert command[:6] == ["pokeml", "serve", "--host", "0.0.0.0", "--port", "8000"]
    command = [str(fresh / "pokeml"), "serve", "--port", "0", *command[6:]]
    with subprocess.Popen(command, cwd=srv, env=environment, stdout=subprocess.PIPE, text=True) as server:
        port = re.search(r"http://127.0.0.1:(\d+)", server.stdout.readline())[1]
        health = json.loads(re.search(r"CMD (.*)", by_name["HEALTHCHECK"])[1])
        call(str(fresh / "python"), *health[1:-1], health[-1].replace(":8000", f":{port}"), cwd=srv)
        with urlopen(f"http://127.0.0.1:{port}/examples?name=Bulbasaur") as answer:
            row = json.load(answer)["row"]
        with urlopen(f"http://127.0.0.1:{port}/predict", json.dumps(row).encode()) as answer:
            assert json.load(answer)["prediction"] == "grass"
        server.terminate()
        assert server.wait(60) == 0
