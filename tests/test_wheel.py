"""The wheel, installed into a fresh virtual environment, runs a project without nbdev, JupyterLab or the source."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


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
    call(sys.executable, "-m", "build", "--wheel", "--outdir", "dist", cwd=source)
    return next((source / "dist").glob("*.whl"))


def test_wheel_holds_every_module_and_its_types(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pokeml").rglob("*.py")}
    assert len(modules) > 20
    assert modules | {"pokeml/py.typed"} <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_runs_a_project_in_a_fresh_environment(wheel, sample, tmp_path):
    venv.create(tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "venv" / "bin" / "python")]
    constraints = str(ROOT / ".ci" / "constraints.txt")
    # What is run compiles itself; all of it takes as long as the rest.
    call(*pip, "install", "--quiet", "--no-compile", "-c", constraints, str(wheel), cwd=tmp_path)
    installed = call(*pip, "list", cwd=tmp_path).lower()
    assert "papermill" in installed and "nbdev" not in installed and "jupyterlab" not in installed

    shutil.rmtree(sample.root / "pokeml")  # the project has notebooks, configuration and data; the code is installed
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "POKEML_PROJECT", "VIRTUAL_ENV")}
    script = str(tmp_path / "venv" / "bin" / "pokeml")
    assert call(script, "--version", cwd=tmp_path).startswith("pokeml ")
    done = call(script, "run", "--pipeline=pre_processing,data_engineering", cwd=sample.root, environment=environment)
    assert "completed" in done and (sample.root / "data/05_model_input/X_train.parquet").exists()
