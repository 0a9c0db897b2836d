"""The package has no type errors, and the type checker of a user sees what pokeml takes and gives."""

import subprocess
import sys

from conftest import ROOT

PROGRAM = """\
import pokeml

run = pokeml.run(pipeline="data_engineering", params={"random_state": 1})
reveal_type(run.outputs["X_train"])
reveal_type(pokeml.load_catalog()["X_train"].name)
reveal_type(pokeml.Pipeline([pokeml.node(len, "a", "b")]) + pokeml.Pipeline([]))
pokeml.run(pipelin="data_engineering")
pokeml.node(len, inputs="a")
"""


def test_types_of_the_package_and_of_its_interface(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "pokeml", str(tmp_path / "program.py")],  # at once: it reads the libraries once
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    faults = [line for line in done.stdout.splitlines() if line.startswith("pokeml/")]
    assert not faults and "program.py:" in done.stdout, "\n".join(faults) or done.stdout + done.stderr
    told = [line.partition(": ")[2] for line in done.stdout.splitlines() if "program.py:" in line]
    assert told[:3] == [
        'note: Revealed type is "Any"',
        'note: Revealed type is "str"',
        'note: Revealed type is "pokeml.pipeline.Pipeline"',
    ]
    assert 'Unexpected keyword argument "pipelin" for "run"' in told[3]
    assert 'Missing positional argument "outputs" in call to "node"' in told[5]
