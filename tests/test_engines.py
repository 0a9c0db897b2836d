"""What a reader sees does not depend on the engine: awkward notebooks through pokeml's and through papermill's own."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import processes_below, wait_for
from nbformat.v4 import new_code_cell, new_notebook

from pokeml.engine import Execution, can_be_warm, execute
from pokeml.helper import close_helper, the_helper
from pokeml.runs import thread_limits

ENGINES = ("pokeml", "papermill")
PRELOADED = ["joblib", "matplotlib.pyplot", "numpy", "pandas", "tqdm"]

# One notebook holds them all, in this order; errors are expected everywhere.
CASES = {
    "prints between displays": ["print('a'); display(1); print('b'); display(2); print('c')\n3"],
    "both streams": ["import sys\nfor i in range(3): print('o', i); print('e', i, file=sys.stderr)", "print(end='')"],
    "streams in pieces": ["print('a', end=''); sys.stdout.flush(); print('b', flush=True)", "sys.stderr.write('x')"],
    "images": [
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 2]);",
        "figure, axes = plt.subplots(); axes.plot([2, 1]); plt.show(); print('below')",
        "figure",
        "plt.plot([1]); 1 / 0",
        "plt.get_backend(), plt.get_fignums()",
    ],
    "rich outputs": [
        "from IPython.display import HTML, JSON, Latex, Markdown\ndisplay(HTML('<b>x</b>'), Latex('$x$'))",
        "Markdown('# x')",
        "JSON({'a': [1, None]})",
        "display({'text/plain': 'x', 'image/png': b'abc'}, raw=True)",
        "import pandas as pd; pd.DataFrame({'a': [1]})",
    ],
    "updates": [
        "one = display('one', display_id='k'); display('two', display_id='k', update=True)",
        "one.update('three'); display('again', display_id='k')",
    ],
    "clear_output": [
        "from IPython.display import clear_output\nprint('gone'); clear_output(); print('stays')",
        "print('gone'); display(1); clear_output(wait=True); display(2)",
        "print('stays'); clear_output(wait=True)",
    ],
    "progress": [
        "for i in range(3): print(f'\\r{i}', end=''); sys.stdout.flush()",
        "from tqdm import tqdm\nfor _ in tqdm(range(3), mininterval=0): pass",
    ],
    "widget": [
        "import comm\nstate = {'_model_module': 'm', '_model_module_version': '1', '_model_name': 'n', 'value': 1}\n"
        "widget = comm.create_comm(target_name='jupyter.widget', comm_id='w', data={'state': state})\n"
        "widget.send({'method': 'update', 'state': {'value': 2}})",
        "display({'application/vnd.jupyter.widget-view+json': {'model_id': 'w'}, 'text/plain': 'W'}, raw=True)",
    ],
    "warnings and logs": [
        "import logging, warnings; warnings.warn('careful'); warnings.warn('old', DeprecationWarning)",
        "logging.warning('logged'); logging.getLogger().setLevel(logging.DEBUG)",
        "1 / 0",
        "logging.getLogger().setLevel(logging.WARNING)",
    ],
    "errors": [
        "def f(x): return 1 / x\nf(0)",
        "def f(:",
        "class R:\n  def __repr__(self): raise ValueError('no repr')\nR()",
        "class H:\n  def _repr_html_(self): raise ValueError('no html')\nH()",
        "raise ExceptionGroup('group', [ValueError(1), TypeError(2)])",
        "raise KeyboardInterrupt",
        "sys.exit('bye')",
        "nothing",
        "import threading; thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()",
    ],
    "magics": [
        "%%time\npass",
        "%%capture captured\nprint('x'); display(3); print('y', file=sys.stderr)",
        "captured.show(); captured.stdout",
        "!echo shell; echo err >&2",
        "%%bash\necho bash",
        "%%sh\nexit 3",
        "%run script.py a b",
        "made",
        "%history -n 1-2",
        "%store",
        "%precision 3\n1.23456",
        "%nothing",
        "%who_ls function",
        "%lsmagic",
    ],
    "file descriptors": [
        "import os, subprocess; os.system('echo system')",
        "subprocess.run(['echo', 'run'])",
        "os.write(1, b'one\\n'); print('two'); display(3)",
        "_ = os.write(2, b'error\\n')",
        "import ctypes; c = ctypes.CDLL(None); c.puts(b'puts'); c.fflush(None)",
        "_ = os.write(1, '🐭'.encode() * 1000)",
        "sys.__stdout__.write('dunder'); sys.__stdout__.flush()",
        "sys.stdin.read(), sys.stdout.isatty(), sys.stdout.encoding, subprocess.run(['cat']).returncode",
        "import time; time.sleep(0.5)  # for what is late",
    ],
    "await": [
        "import asyncio, contextvars, time\nvariable = contextvars.ContextVar('v'); _ = variable.set(3)",
        "await asyncio.sleep(0.01); print('awaited'); variable.get()",
        "async def later(): await asyncio.sleep(0.1); print('later')\ntask = asyncio.create_task(later())",
        "await task",
        "await asyncio.to_thread(print, 'thread')",
    ],
    "refused": ["input()", "from getpass import getpass; getpass()", "%debug"],
    "names": [
        "__name__, sys.modules['__main__'].__dict__ is globals(), __doc__, __spec__, __loader__",
        "1 + 1",
        "_, _i, Out[max(Out)], In[1], sorted(name for name in globals() if not name.startswith('_'))",
        "type(get_ipython()), type(get_ipython().kernel), 'IPKernelApp' in get_ipython().config",
        "sys.path, sys.flags, sys.executable, sys.getrecursionlimit(), sys.warnoptions",
        "sorted({*os.environ} - {'PYDEVD_USE_FRAME_EVAL'}), _dh",
        "os.getcwd() == os.path.realpath(''), os.getpgrp() == os.getpid()",
        "%cd -q ..\n%cd -q -\nos.path.exists('script.py')",
        "started",
    ],
    "signals": [
        "import signal; {s.name: str(signal.getsignal(s)) for s in signal.Signals}",
        "signal.signal(signal.SIGTERM, lambda *a: print('term')); os.kill(os.getpid(), signal.SIGTERM)",
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
        "async def waits():\n  while True: await asyncio.sleep(0.1)",
        "asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGINT); await waits()",
    ],
    "text": ["print('🐭 ü \\udcff')", "'🐭 \\ud800'"],
    "threads": [
        "threads = [threading.Thread(target=print, args=(f'thread {i}\\n',), kwargs={'end': ''}) for i in range(3)]\n"
        "for thread in threads: thread.start(); thread.join()",
    ],
    "processes": [
        "import multiprocessing\nimport beside\nfrom joblib import Parallel, delayed\n"
        "from concurrent.futures import ProcessPoolExecutor\nfork = multiprocessing.get_context('fork')",
        "with fork.Pool(1) as pool: print(pool.map(beside.double, [1, 2]))",
        "with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(beside.square, [3]))",
        "with ProcessPoolExecutor(1) as pool: print(list(pool.map(beside.double, [4])))",
        "Parallel(2, backend='loky')(delayed(beside.double)(i) for i in range(2))",
        "Parallel(2, backend='threading')(delayed(print)(i) for i in [0])",
        "time.sleep(0.5)  # for what is late",
    ],
}
CHANGING = {  # what differs from one process to the next, or with its speed
    r"ipykernel_\d+": "ipykernel_N",
    r"0x[0-9a-f]{6,}": "0xN",
    r"(Thread|Task)-\d+": r"\1-N",
    r"(CPU times|Wall time): [^\\]*": r"\1: N",
    r"([\d.]+ ?|\?)it/s\] *": "N it/s]",
}


def notebook(*sources: str, tags: tuple = (), kernel: str = "python3") -> nbformat.NotebookNode:
    spec = {"name": kernel, "display_name": "Python 3", "language": "python"}
    cells = [new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
    return new_notebook(cells=cells, metadata={"kernelspec": spec})


def side_by_side(function, engines: tuple = ENGINES) -> list:
    """Call a function with each engine, all at once."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.delenv("PYTEST_CURRENT_TEST")  # where it is set, ipykernel does not look at file descriptors 1 and 2
        return [future.result() for future in [pool.submit(function, engine) for engine in engines]]


def shown(nb: nbformat.NotebookNode, folder: Path) -> list[dict]:
    """Give the cells as a reader sees them, without what changes from run to run."""
    found = []
    for cell in nb.cells:
        outputs = []
        for output in map(dict, cell.get("outputs", [])):
            if outputs and output["output_type"] == "stream" and outputs[-1].get("name") == output["name"]:
                outputs[-1]["text"] += output["text"]  # how it was cut depends on the speed
            else:
                outputs.append(output)
        metadata = json.loads(json.dumps(cell.metadata))
        for name in ("duration", "start_time", "end_time"):
            metadata.get("papermill", {}).pop(name, None)
        metadata["execution"] = sorted(metadata.get("execution", {}))
        text = json.dumps([cell.cell_type, cell.get("execution_count"), outputs, metadata], ensure_ascii=False)
        for pattern, name in CHANGING.items():
            text = re.sub(pattern, name, text)
        found.append({"source": cell.source, "seen": json.loads(text.replace(str(folder), "FOLDER"))})
    return found


def about(nb: nbformat.NotebookNode) -> dict:
    """Give the notebook's metadata without times and paths."""
    metadata = json.loads(json.dumps(nb.metadata))
    for name in ("duration", "start_time", "end_time", "input_path", "output_path"):
        metadata["papermill"].pop(name)
    return metadata


@pytest.fixture(scope="module", autouse=True)
def helper(tmp_path_factory):
    """A helper that has the libraries, and a profile with a startup file."""
    profile = tmp_path_factory.mktemp("ipython")
    (profile / "profile_default" / "startup").mkdir(parents=True)
    (profile / "profile_default" / "startup" / "00.py").write_text("started = __name__")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(profile))
        close_helper()
        the_helper().call("os:getpid", PRELOADED)
        yield
        close_helper()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Run all cases through both engines."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "beside.py").write_text(
        "def square(x):\n    print(f'child {x}\\n', end='', flush=True)\n    return x * x\n"
        "def double(x):\n    return 2 * x\n"
    )
    (folder / "script.py").write_text("import sys\nprint(__name__, sys.argv)\nmade = 3\n")
    nbformat.write(
        notebook(*(cell for cells in CASES.values() for cell in cells), tags=("raises-exception",)), folder / "in.ipynb"
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")
        patch.chdir(folder)
        for engine in ENGINES:
            with contextlib.suppress(papermill.PapermillExecutionError):
                name = None if engine == "papermill" else engine
                papermill.execute_notebook("in.ipynb", f"{engine}.ipynb", engine_name=name, progress_bar=False)
    notebooks = [nbformat.read(folder / f"{engine}.ipynb", 4) for engine in ENGINES]
    return [about(nb) for nb in notebooks], [shown(nb, folder) for nb in notebooks]


def test_metadata(both):
    (ours, theirs), _ = both
    assert ours == theirs and ours["widgets"]


@pytest.mark.parametrize("case", CASES)
def test_cells(both, case):
    _, (ours, theirs) = both
    ours, theirs = ([cell for cell in cells if cell["source"] in CASES[case]] for cells in (ours, theirs))
    assert len(ours) >= len(CASES[case])
    if case in ("file descriptors", "processes"):
        # papermill's kernel hears of those in a thread: in pieces, out of order, late, or never
        (ours, our_text), (theirs, their_text) = map(without_text, (ours, theirs))
        assert their_text and all(their_text[name] <= our_text[name] for name in their_text)
    assert ours == theirs


def without_text(cells: list[dict]) -> tuple[list, dict[str, Counter]]:
    """Take the streams out of cells; give the characters of each stream as well."""
    rest, text = [], defaultdict(Counter)
    for cell in cells:
        kind, count, outputs, metadata = cell["seen"]
        for output in outputs:
            text[output.get("name")].update(output.get("text", ""))
        rest.append([kind, count, [output for output in outputs if "text" not in output], metadata])
    return rest, text


def test_forked_processes_print(tmp_path):
    # With papermill's kernel this hangs now and then: a thread of it may hold a lock when the cell forks.
    nb = notebook(
        "import multiprocessing\nfork = multiprocessing.get_context('fork')\ndef say(x): print(f'child {x}')",
        *["print('before')\nwith fork.Pool(1) as pool: pool.map(say, [1, 2])\nprint('after')"] * 10,
    )
    ((failure, cells),) = side_by_side(lambda engine: run(tmp_path, engine, nb), ("pokeml",))
    for cell in cells[1:]:
        assert [output["text"] for output in cell["seen"][2]] == ["before\nchild 1\nchild 2\nafter\n"]


def test_what_is_written_to_a_file_descriptor_comes_in_its_place(tmp_path):
    nb = notebook("import os", *["os.write(1, b'one\\n'); print('two'); display(3); os.system('echo four')"] * 20)
    ((failure, cells),) = side_by_side(lambda engine: run(tmp_path, engine, nb), ("pokeml",))
    for cell in cells[1:]:
        one, three, four, zero = cell["seen"][2]
        assert (one["text"], four["text"]) == ("one\ntwo\n", "four\n")
        assert (three["data"], zero["data"]) == ({"text/plain": "3"}, {"text/plain": "0"})


def run(folder: Path, engine: str, nb: nbformat.NotebookNode, **options) -> tuple:
    """Run a notebook as `pokeml run` does, in a folder of its own."""
    folder = folder / engine
    folder.mkdir(exist_ok=True)
    nbformat.write(nb, folder / "in.ipynb")
    execution = Execution(folder / "in.ipynb", folder / "out.ipynb", {}, folder, engine=engine, **options)
    _, failure = execute(execution)
    wait_for(lambda: not processes_below(folder), 5)
    assert execution.engine == engine
    return failure, shown(nbformat.read(folder / "out.ipynb", 4), folder)


def test_the_threads_of_libraries_are_limited(tmp_path):
    # In a fork they are there already, and have read the environment of the helper.
    nb = notebook("import numpy, threadpoolctl; [pool['num_threads'] for pool in threadpoolctl.threadpool_info()]")
    for _, cells in side_by_side(lambda engine: run(tmp_path, engine, nb, env=thread_limits(os.cpu_count()))):
        assert cells[0]["seen"][2][0]["data"]["text/plain"] == "[1]"


FAULTS = {  # a kernel that dies at once may take what it has not sent yet with it, the number of the cell included
    "error": ("1 / 0", "ZeroDivisionError", "division by zero", {}),
    "syntax error": ("def f(:", "SyntaxError", "invalid syntax", {}),
    "sys.exit": ("import sys; sys.exit()", "SystemExit", "The cell ended the notebook", {}),
    "sys.exit with a status": ("import sys; sys.exit(3)", "SystemExit", "3", {}),
    "os._exit": ("import os, time; time.sleep(0.5); os._exit(3)", "KernelDied", "exit status 3", {}),
    "killed": ("import os, time; time.sleep(0.5); os.kill(os.getpid(), 9)", "KernelDied", "killed by SIGKILL", {}),
    "segmentation fault": (
        "import ctypes, time; time.sleep(0.5); ctypes.string_at(0)",
        "KernelDied",
        "killed by SIGSEGV",
        {},
    ),
    "out of memory": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2); bytearray(8 * 2**30)",
        "MemoryError",
        "",
        {},
    ),
    "time limit": ("import time; time.sleep(600)", "CellTimeout", "longer than 0.5 s", {"timeout": 0.5}),
    "time limit, swallowed": (
        "import time\ntry: time.sleep(600)\nexcept KeyboardInterrupt: pass",
        "CellTimeout",
        "longer than 0.5 s",
        {"timeout": 0.5},
    ),
    "time limit, deaf": (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)",
        "CellTimeout",
        "longer than 0.5 s",
        {"timeout": 0.5},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_failure(tmp_path, fault, monkeypatch):
    monkeypatch.setattr("pokeml.engine.GRACE", 2)
    source, kind, message, options = FAULTS[fault]
    nb = notebook(
        "import subprocess\nprint('begun')\nchild = subprocess.Popen(['sleep', '600'])", source, "print('no')"
    )
    (ours, our_cells), (theirs, their_cells) = side_by_side(lambda engine: run(tmp_path, engine, nb, **options))
    assert ours == theirs and our_cells == their_cells
    assert (ours.kind, ours.source) == (kind, source) and message in ours.message
    code = [cell["seen"] for cell in our_cells if cell["source"] in (c.source for c in nb.cells)]
    assert "begun" in str(code[0]) and code[2][2] == []


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(600)",
        "import asyncio; await asyncio.sleep(600)",
        "import subprocess; subprocess.run(['sleep', '600'])",
    ],
)
def test_interrupt(tmp_path, source):
    # A kernel of ipykernel 7.4 that awaits does not hear of it: tornado does not wake its loop.
    engines = ENGINES[:1] if "await" in source else ENGINES
    nb = notebook("print('begun')", f"print('here', flush=True); open('waiting', 'w').close()\n{source}", "print('no')")

    def interrupted(engine: str) -> tuple:
        folder = tmp_path / engine
        folder.mkdir()
        nbformat.write(nb, folder / "in.ipynb")
        execution = Execution(folder / "in.ipynb", folder / "out.ipynb", {}, folder, engine=engine)
        with ThreadPoolExecutor() as pool:
            running = pool.submit(execute, execution)
            wait_for((folder / "waiting").exists)
            time.sleep(0.3)
            execution.stop()
            _, failure = running.result(30)
        wait_for(lambda: not processes_below(folder), 5)
        assert execution.engine == engine
        return failure, shown(nbformat.read(folder / "out.ipynb", 4), folder)

    (ours, our_cells), *others = side_by_side(interrupted, engines)
    assert all(other == (ours, our_cells) for other in others)
    assert ours.kind in ("KeyboardInterrupt", "CancelledError") and ours.cell == 2
    assert "begun" in str(our_cells) and "here" in str(our_cells)


def test_a_kernel_is_left_in_order(tmp_path):
    nb = notebook(
        "file = open('open.txt', 'w'); file.write('buffered')",
        "import atexit; atexit.register(lambda: open('atexit.txt', 'w').close())",
        "import threading, time\ndef late():\n  time.sleep(0.5); open('thread.txt', 'w').close()",
        "threading.Thread(target=late).start()",
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(); pool.submit(print).result()",
    )
    start = time.monotonic()
    for _, cells in side_by_side(lambda engine: run(tmp_path, engine, nb)):
        assert len(cells) == 5
    assert time.monotonic() - start < 4.5  # 5 s is when a kernel that does not end is killed
    for engine in ENGINES:
        assert (tmp_path / engine / "open.txt").read_text() == "buffered"
        assert (tmp_path / engine / "atexit.txt").exists() and (tmp_path / engine / "thread.txt").exists()


def test_half_a_surrogate_pair_is_a_question_mark(tmp_path):
    # papermill's kernel loses the output, and writes a traceback of its own into the cell.
    nb = notebook("print('a\\ud800')", "raise ValueError('b\\ud800')")
    ((failure, cells),) = side_by_side(lambda engine: run(tmp_path, engine, nb), ("pokeml",))
    assert (failure.kind, failure.message) == ("ValueError", "b?") and "a?" in str(cells)


def test_20_megabytes(tmp_path):
    nb = notebook("print('x' * 20_000_000)")
    for engine in ENGINES:  # one after the other: nbclient gives output 4 s to arrive
        ((failure, cells),) = side_by_side(lambda engine: run(tmp_path, engine, nb), (engine,))
        assert failure is None and len(cells[0]["seen"][2][0]["text"]) == 20_000_001


def test_a_stage_sees_nothing_of_another(tmp_path):
    first = notebook(
        "import os, random, sys, wave\nimport numpy\nnumpy.random.seed(1); random.seed(1); made = 1",
        "os.environ['MADE'] = '1'; sys.path.append('made'); os.chdir('/'); numpy.made = 1",
    )
    second = notebook(
        "import os, sys; print('made' in globals(), 'wave' in sys.modules, 'MADE' in os.environ, 'made' in sys.path)",
        "os.getcwd()",
        "import random, numpy; print(random.random(), numpy.random.rand()); hasattr(numpy, 'made')",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")
        run(tmp_path, "pokeml", first)
        (_, one), (_, two) = run(tmp_path, "pokeml", second), run(tmp_path, "pokeml", second)
    assert one[0]["seen"][2][0]["text"] == "False False False False\n"
    assert [cell["seen"][2][-1]["data"]["text/plain"] for cell in one[1:]] == ["'.'", "False"]
    random_numbers = [cells[2]["seen"][2][0]["text"].split() for cells in (one, two)]
    assert random_numbers[0][0] != random_numbers[1][0] and random_numbers[0][1] != random_numbers[1][1]


@pytest.mark.parametrize("source", ["time.sleep(600)", "while True: pass"])
def test_nothing_outlives_a_killed_run(tmp_path, source):
    nb = notebook(
        f"import subprocess, time\nsubprocess.Popen(['sleep', '600']); open('waiting', 'w').close()\n{source}"
    )
    nbformat.write(nb, tmp_path / "in.ipynb")
    command = ["-m", "papermill", "--engine", "pokeml", "--no-progress-bar", "in.ipynb", "out.ipynb"]
    process = subprocess.Popen([sys.executable, *command], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "waiting").exists)
    assert len(processes_below(tmp_path)) == 4  # papermill, its helper, the kernel, and what the cell has started
    process.kill()
    process.wait()
    wait_for(lambda: not processes_below(tmp_path), 5)


def test_a_helper_that_crashes_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "crashes.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    close_helper()
    nbformat.write(notebook("6 * 7"), tmp_path / "in.ipynb")
    execution = Execution(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, tmp_path, preload=["crashes"])
    nb, failure = execute(execution)
    close_helper()
    assert failure is None and execution.engine == "papermill" and "42" in str(nb.cells[0].outputs)


def test_what_a_library_does_on_import_is_not_undone_by_a_stage(tmp_path, monkeypatch):
    (tmp_path / "restless.py").write_text(
        "import atexit, os, subprocess, sys, tempfile\n"
        "folder = tempfile.TemporaryDirectory()\n"
        "child = subprocess.Popen(['sleep', '0.2'])\n"
        "here = os.getcwd()\n"
        "atexit.register(lambda: open('at_exit.txt', 'w').close())\n"
        "def say(text, file=sys.stdout): print(text, file=file)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    nb = notebook(
        "import os, restless, time; time.sleep(0.5)",
        "print('before'); restless.say('said'); print('after', os.path.isdir(restless.folder.name))",
    )
    close_helper()
    for _ in range(2):
        ((_, cells),) = side_by_side(lambda engine: run(tmp_path, engine, nb, preload=["restless"]), ("pokeml",))
        assert cells[1]["seen"][2][0]["text"] == "before\nsaid\nafter True\n"
    assert not (tmp_path / "pokeml" / "at_exit.txt").exists()  # the helper's, not the stage's
    close_helper()


def test_a_fork_has_a_helper_of_its_own(tmp_path):
    code = (
        "import os\nfrom pokeml.helper import close_helper, in_helper\n"
        "mine = in_helper('os:getppid')\n"
        "if os.fork() == 0:\n"
        "    assert in_helper('os:getppid') not in (mine, os.getpid())\n"
        "    close_helper()\n    os._exit(0)\n"
        "assert os.wait()[1] == 0 and in_helper('os:getppid') == mine\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


@pytest.mark.parametrize(
    ("warm", "changes"),
    [
        (True, {}),
        (True, {"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}),
        (False, {"argv": [sys.executable, "-X", "utf8", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}),
        (False, {"argv": ["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}),
        (False, {"argv": ["R", "--slave", "-e", "IRkernel::main()"], "language": "R"}),
        (False, {"env": {"X": "1"}}),
    ],
)
def test_only_our_own_python_is_warm(tmp_path, monkeypatch, warm, changes):
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Own",
        "language": "python",
    }
    folder = tmp_path / "kernels" / "own"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec | changes))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert can_be_warm("own") == warm
    if "env" in changes:  # runs all the same
        nbformat.write(notebook("import os; os.environ['X']", kernel="own"), tmp_path / "in.ipynb")
        execution = Execution(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, tmp_path)
        nb, failure = execute(execution)
        assert failure is None and execution.engine == "papermill" and "'1'" in str(nb.cells[0].outputs)
