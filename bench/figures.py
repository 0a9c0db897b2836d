"""What is compared, and what each figure should come to."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from .measure import Contender, Trial, environment, run
from .projects import ROOT, enlarge, kedro_environment, make_chain, make_kedro_project, make_project, write_script

ROWS = 1_000_000
LARGE_STAGES = ("pre_processing", "data_engineering")
CHAINS = (50, 100, 200, 400)  # stages of five nodes
ENGINES = ("pokeml", "papermill")
FORCED = ["pokeml", "run", "--force"]


class Place:
    """The projects that are timed, each made when it is first asked for."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _copy(self, project: Path, name: str) -> Path:
        return Path(shutil.copytree(project, self.folder / name))

    @cached_property
    def project(self) -> Path:
        """The project, in which nothing has run."""
        return make_project(self.folder / "project")

    @cached_property
    def kedro(self) -> Path:
        """The Kedro project, in which nothing has run."""
        return make_kedro_project(self.folder / "kedro")

    @cached_property
    def done(self) -> Path:
        """The project after a run."""
        done = self._copy(self.project, "project-done")
        run(["pokeml", "run"], done, environment(done))
        return done

    @cached_property
    def kedro_done(self) -> Path:
        """The Kedro project after a run."""
        done = self._copy(self.kedro, "kedro-done")
        run(["kedro", "run"], done, environment(done, kedro_environment()))
        return done

    @cached_property
    def large(self) -> Path:
        """The project with a raw table of `ROWS` rows, after a run of the stages that are timed on it."""
        large = enlarge(self._copy(self.project, "large"), ROWS)
        write_script(large, LARGE_STAGES)
        run(["pokeml", "run", "--pipeline", ",".join(LARGE_STAGES)], large, environment(large))
        return large

    @cache  # noqa: B019 - there is one place
    def chain(self, stages: int) -> Path:
        """A project of so many stages after a run."""
        done = make_chain(self.folder / f"chain-{stages}", stages)
        run(["pokeml", "run"], done, environment(done))
        return done

    def check_same(self) -> None:
        """See that the script and Kedro write the datasets that pokeml writes; else the figures say nothing."""
        script = self._copy(self.project, "script-done")
        run(["python", "script.py"], script, environment(script))
        for peer in (script, self.kedro_done):
            run([sys.executable, ROOT / "bench" / "compare.py", self.done, peer], ROOT, environment(ROOT))


@dataclass(frozen=True)
class Figure:
    """One line of the table: a ratio of two contenders or, without `to`, the value of one."""

    name: str
    title: str
    of: str
    to: str | None = None
    goal: float | None = None  # for the median; None where it is only reported
    at_most: bool = True  # less is better
    of_memory: bool = False
    part: str | None = None  # of the values that the command tells

    def measured(self, trial: Trial) -> float:
        """Take from a trial what the figure is about."""
        if self.part:
            return trial.told[self.part]
        return trial.peak_mb if self.of_memory else trial.seconds

    def value(self, trials: Mapping[str, Trial]) -> float:
        """Take the figure from the trials of a round."""
        value = self.measured(trials[self.of])
        return value / self.measured(trials[self.to]) if self.to else value

    def is_met(self, median: float) -> bool | None:
        """Say whether the goal is met."""
        if self.goal is None:
            return None
        return median <= self.goal if self.at_most else median >= self.goal


@dataclass(frozen=True)
class Group:
    """Contenders that take turns, and the figures that come of it."""

    name: str
    contenders: Callable[[Place], list[Contender]]
    figures: list[Figure]
    rounds: int = 1  # for one of a group whose commands take longer
    most: int | None = None  # rounds at most
    memory: bool = False  # sampled as well
    warm_up: bool = True
    remark: Callable[[Place], str] | None = None
    profile: str | None = "pokeml"  # who is looked into if a goal is missed


def full(place: Place) -> list[Contender]:
    """The whole work: in a project where it ran before, and once more where nothing did."""
    place.check_same()
    return [
        Contender("pokeml", FORCED, place.done),
        Contender("first run", ["pokeml", "run"], place.project),
        Contender("script", ["python", "script.py"], place.project),
        Contender("kedro", ["kedro", "run"], place.kedro, prefix=kedro_environment()),
        Contender("papermill", ["sh", "papermill.sh"], place.project),
    ]


def empty_stage(place: Place) -> list[Contender]:
    """An empty notebook by papermill's two engines, each warm."""
    return [Contender(engine, ["python", "empty_stage.py", engine], place.project, reports=True) for engine in ENGINES]


def nothing_to_do(place: Place) -> list[Contender]:
    """A run after a run."""
    kedro = ["kedro", "run", "--only-missing-outputs"]
    return [
        Contender("kedro", kedro, place.kedro_done, fresh=False, prefix=kedro_environment()),
        Contender("pokeml", ["pokeml", "run"], place.done, fresh=False),
    ]


def version(place: Place) -> list[Contender]:
    """The start of the command line, in a project."""
    return [
        Contender("kedro", ["kedro", "--version"], place.kedro, fresh=False, prefix=kedro_environment()),
        Contender("pokeml", ["pokeml", "--version"], place.project, fresh=False),
    ]


def one_parameter(place: Place) -> list[Contender]:
    """Another value of one parameter in each round, 0.25 in the first, and a full run beside it."""
    return [
        Contender(
            "pokeml",
            lambda number: ["pokeml", "run", "--params", f"test_data_ratio={0.25 + number / 100:.2f}"],
            place.done,
            fresh=False,
        ),
        Contender("full run", FORCED, place.done),
    ]


def nodes_that_ran(place: Place) -> str:
    """Name the nodes that the last run with another parameter ran, from its record."""
    record = json.loads(max((place.done / "outputs" / "runs").glob("*/run.json")).read_text("utf-8"))
    ran = [n["name"] for s in record["stages"] for n in s["nodes"] if n["status"] == "ran"]
    return f"nodes that ran: {', '.join(ran)}"


def planning(place: Place) -> list[Contender]:
    """Chains of stages with nothing to do: the whole command, and the planning in it."""
    runs = [Contender(f"run {n}", ["pokeml", "run"], place.chain(n), fresh=False) for n in CHAINS]
    plans = [Contender(f"plan {n}", ["python", "plan.py"], place.chain(n), fresh=False, reports=True) for n in CHAINS]
    return runs + plans


def million_rows(place: Place) -> list[Contender]:
    """The first two stages on a large table."""
    return [
        Contender("pokeml", [*FORCED, "--pipeline", ",".join(LARGE_STAGES)], place.large),
        Contender("script", ["python", "script.py"], place.large),
    ]


def predict(place: Place) -> list[Contender]:
    """Answers in process, and the first one of the command."""
    first = ["pokeml", "predict", "--name", "Pikachu"]
    return [
        Contender("one", ["python", "predict_rows.py", "one"], place.done, fresh=False, reports=True),
        Contender("batch", ["python", "predict_rows.py", "batch"], place.done, fresh=False, reports=True),
        Contender("pokeml", first, place.done, fresh=False),
        Contender("skops", ["python", "load_skops.py"], place.done, fresh=False),
    ]


def service(place: Place) -> list[Contender]:
    """A service under load: one worker on one core, eight clients on another."""
    return [Contender("service", ["python", "service.py"], place.done, fresh=False, reports=True)]


def session(place: Place) -> list[Contender]:
    """What a notebook waits for before its first cell."""
    return [Contender("session", ["python", "load_ext.py"], place.done, fresh=False, reports=True)]


SERVICE = "`pokeml serve`, 1 worker on 1 core, 8 clients"
MILLION = "`pre_processing` and `data_engineering` on 1,000,000 rows / plain script"
GROUPS = (
    Group(
        "version",
        version,
        [Figure("--version, Kedro", "`kedro --version` / `pokeml --version`", "kedro", "pokeml", 4, at_most=False)],
        rounds=4,
    ),
    Group(
        "session",
        session,
        [
            Figure("load_ext", "`%load_ext pokeml` in a started IPython, s", "session", None, 0.15, part="seconds"),
            Figure("load_ext, libraries", "of them pandas and other large libraries", "session", None, 0, part="heavy"),
        ],
        rounds=4,
    ),
    Group(
        "empty",
        empty_stage,
        [Figure("empty stage, papermill", "an empty stage with its record / papermill's fresh kernel", *ENGINES, 0.1)],
    ),
    Group(
        "full",
        full,
        [
            Figure("full run, script", "full run, all forced / plain script", "pokeml", "script", 1.1),
            Figure("full run, Kedro", "full run, all forced / `kedro run`", "pokeml", "kedro", 1.0),
            Figure("first run, script", "first run in a fresh clone / plain script", "first run", "script"),
            Figure("full run, papermill", "full run, all forced / naive papermill", "pokeml", "papermill", 0.35),
            Figure(
                "memory, Kedro", "peak memory of the full run / `kedro run`", "pokeml", "kedro", 1.2, of_memory=True
            ),
        ],
        most=3,
        memory=True,
        warm_up=False,  # all have just run, to see that they do the same
    ),
    Group(
        "nothing",
        nothing_to_do,
        [
            Figure(
                "nothing to do, Kedro",
                "nothing to do: `kedro run --only-missing-outputs` / `pokeml run`",
                *("kedro", "pokeml", 8),
                at_most=False,
            )
        ],
        rounds=2,
    ),
    Group(
        "parameter",
        one_parameter,
        [
            Figure(
                "one parameter, full run", "one parameter changed (`test_data_ratio`) / full run", "pokeml", "full run"
            )
        ],
        most=3,
        warm_up=False,
        remark=nodes_that_ran,
    ),
    Group(
        "planning",
        planning,
        [
            Figure("planning", "planning 200 stages of 5 nodes with nothing to do, s", "plan 200", None, 0.3),
            Figure("growth", "planning 400 stages / 50 stages (linear: 8)", "plan 400", "plan 50", 8),
            Figure("planning and all", "`pokeml run` of 200 stages with nothing to do, s", "run 200"),
        ],
        profile="run 200",
    ),
    Group(
        "million",
        million_rows,
        [
            Figure("1,000,000 rows, script", f"{MILLION}: time", "pokeml", "script", 1.15),
            Figure(
                "memory, 1,000,000 rows, script", f"{MILLION}: peak memory", "pokeml", "script", 1.25, of_memory=True
            ),
        ],
        most=3,
        memory=True,
        warm_up=False,
    ),
    Group(
        "predict",
        predict,
        [
            Figure("one prediction", "one prediction in process, median, ms", "one", None, 1.0, part="median_ms"),
            Figure("one prediction, p99", "one prediction in process, p99, ms", "one", part="p99_ms"),
            Figure(
                "batch, estimator",
                "`predict` of 100,000 raw rows / the bare estimator on ready features",
                *("batch", None, 1.5),
                part="ratio",
            ),
            Figure(
                "batch, estimator in blocks",
                "`predict` of 100,000 raw rows / the bare estimator, 4,096 rows at a time as `predict` asks it",
                "batch",
                part="ratio_in_blocks",
            ),
            Figure(
                "first answer, skops",
                "`pokeml predict --name Pikachu` / importing scikit-learn and loading the file with skops",
                *("pokeml", "skops", 1.3),
            ),
        ],
    ),
    Group(
        "service",
        service,
        [
            Figure(
                "service, rate",
                f"{SERVICE}: requests a second",
                *("service", None, 300),
                at_most=False,
                part="rate",
            ),
            Figure("service, p99", f"{SERVICE}: p99, ms", "service", None, 50, part="p99_ms"),
            Figure("service, errors", f"{SERVICE}: errors in 20,000 requests", "service", None, 0, part="errors"),
            Figure(
                "service, memory",
                f"{SERVICE}: memory after 20,000 requests / before",
                *("service", None, 1.1),
                part="memory_growth",
            ),
        ],
        most=2,
        warm_up=False,
        profile=None,
    ),
)
