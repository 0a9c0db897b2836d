"""What the models are worth beyond one split: ten splits of the rows, two populations, both worlds, references beside.

Everything is fitted on the training part alone, the choice of the pipeline's model included: in each split it is made
anew, by `choose_model` (mean macro-F1 over the folds) and the candidates of conf/base. Run by `make study`; writes
bench/scores.json, which nbs/model_card.ipynb reads. bench/README.md says more.
"""

import json
import logging
import multiprocessing
import os
import platform
import sys
import timeit
import warnings
from collections import Counter
from datetime import date
from importlib import metadata, util
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from pokeml.config import load_config
from pokeml.model_file import dump_model
from pokeml.pipelines.data_engineering import TARGET, create_model_input, split_data
from pokeml.pipelines.data_science import best_of, choose_model
from pokeml.pipelines.models.candidates import make_candidate
from pokeml.pipelines.models.steps import FillMissing, ScaleNumbers, SelectFeatures, TypesFromAgainst
from pokeml.pipelines.models.type_order import AllowedTypesClassifier, two_types
from pokeml.pipelines.pre_processing import clean_data
from pokeml.project import find_project

ROOT = Path(__file__).resolve().parents[1]
SCORES = ROOT / "bench" / "scores.json"
# 0 to 9 were looked at while the candidates were made, 100 to 109 before their list and the criterion were changed.
SEEDS = range(200, 210)
TEST_SHARE = 0.3
REPEATS = 1  # of the cross-validation; the pipeline's own two would double the time of forty choices
POPULATIONS = {
    "generations_1_to_6": {"title": "generations 1 to 6, not legendary", "generations": [1, 2, 3, 4, 5, 6]},
    "all_species": {"title": "all species", "generations": [1, 2, 3, 4, 5, 6, 7, 8, 9]},
}
SPLITS = {"random": "rows at random, by type", "families": "evolution lines kept together"}
GOALS = {
    "generations_1_to_6": {"accuracy": 0.95, "macro_f1": 0.885},
    "all_species": {"accuracy": 0.91, "macro_f1": 0.87},
}
ALL, BLIND = ["statistics", "against", "abilities"], ["statistics", "abilities"]
TITLES = {
    "majority": "the most frequent type",
    "article_rows_dropped": "the article's recipe, fitted on rows without a hole",
    "article": "the article's recipe, all rows",
    "forest": "random forest",
    "logistic": "logistic regression",
    "order_by_frequency": "decoded types, the more frequent order",
    "allowed_types_statistics": "decoded types, logistic regression with statistics",
    "type_order": "candidate type_order",
    "allowed_types": "candidate allowed_types",
    "extra_trees": "decoded types, extra trees with statistics and abilities",
    "pipeline_by_accuracy": "the choice, had accuracy decided between the candidates",
    "pipeline": "the pipeline's choice",
    "statistics_alone": "statistics alone",
    "extra_trees_without": "extra trees, statistics and abilities",
    "pipeline_without": "the pipeline's choice without against_*",
}
# What is shown of the candidates beside the choice among them.
ALONE = {
    "primary_type_models": {"article": "sk_learn_dt", "type_order": "type_order", "allowed_types": "allowed_types"},
    "statistics_models": {"statistics_alone": "statistics_alone"},
}
WITHOUT = ("statistics_alone", "extra_trees_without", "pipeline_without")
TREES = ("forest", "extra_trees", "extra_trees_without")  # a hundred each


class OrderByFrequency(ClassifierMixin, BaseEstimator):
    """Of the types that a row allows, the one that came first more often: as that pair, else beside any other type."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "OrderByFrequency":
        """Count orders of pairs, and how often a type comes first and second."""
        allowed = X[:, :18] == 1
        rows = allowed.sum(axis=1) == 2
        a, b = two_types(allowed[rows])
        second = np.where(y[rows] == a, b, a)
        self.classes_ = np.arange(18)
        self.orders_ = Counter(zip(y[rows].tolist(), second.tolist(), strict=True))
        firsts, seconds = np.bincount(y[rows], minlength=18), np.bincount(second, minlength=18)
        self.firsts_ = (firsts + 0.5) / (firsts + seconds + 1)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Give the codes of the types."""
        a, b = two_types(X[:, :18] == 1)
        return np.array([self._first(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])

    def _first(self, a: int, b: int) -> int:
        counts = self.orders_[a, b], self.orders_[b, a]
        if counts[0] != counts[1]:
            return a if counts[0] > counts[1] else b
        return a if self.firsts_[a] >= self.firsts_[b] else b


def find_families() -> dict[int, int]:
    """Name a family for each species, by National Pokédex number: the least number of its evolution line.

    Regional forms belong to their species, so Perrserker, which a form of Meowth becomes, is of Meowth's family.
    """
    package = util.find_spec("poke_env")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("poke-env, which knows evolution lines, is not installed. Run: make setup")
    path = Path(package.submodule_search_locations[0]) / "data" / "static" / "pokedex" / "gen9pokedex.json"
    entries = [e for e in json.loads(path.read_text("utf-8")).values() if e.get("num", 0) > 0]
    numbers = {entry["name"]: entry["num"] for entry in entries}
    family = {number: number for number in numbers.values()}
    for entry in entries:
        for name in [*entry.get("evos", []), *([entry["prevo"]] if "prevo" in entry else [])]:
            one, two = family[entry["num"]], family[numbers[name]]
            if one != two:
                family = {number: min(one, two) if of in (one, two) else of for number, of in family.items()}
    return family


def split(model_input: pd.DataFrame, how: str, seed: int) -> tuple[pd.DataFrame, ...]:
    """Split off 30 % of the rows, type by type; `families` keeps evolution lines together."""
    if how == "random":
        return split_data(model_input, TEST_SHARE, seed)
    families = model_input.index.map(find_families())
    parts = StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(model_input, model_input[TARGET], families)
    is_test = np.zeros(len(model_input), dtype=bool)
    for _, rows in list(parts)[:3]:
        is_test[rows] = True
    assert not set(families[is_test]) & set(families[~is_test])
    X, y = model_input.drop(columns=TARGET), model_input[[TARGET]]
    return X[~is_test], X[is_test], y[~is_test], y[is_test]


def references() -> dict:
    """Make the references that have nothing to choose."""
    types = [SelectFeatures(["against", *BLIND]), TypesFromAgainst(), FillMissing()]
    statistics = [SelectFeatures(["against", "statistics"]), TypesFromAgainst(), FillMissing(), ScaleNumbers()]
    article = [SelectFeatures(["statistics", "against"]), FillMissing()]
    return {
        "majority": DummyClassifier(),
        "forest": make_pipeline(*article, RandomForestClassifier(100, random_state=0)),
        "logistic": make_pipeline(*article, ScaleNumbers(), LogisticRegression(max_iter=2000)),
        "order_by_frequency": make_pipeline(SelectFeatures(["against"]), TypesFromAgainst(), OrderByFrequency()),
        "allowed_types_statistics": make_pipeline(*statistics, AllowedTypesClassifier()),
        "extra_trees": make_pipeline(*types, ExtraTreesClassifier(100, random_state=0)),
        "extra_trees_without": make_pipeline(
            SelectFeatures(BLIND), FillMissing(), ExtraTreesClassifier(100, random_state=0)
        ),
    }


def fit_candidate(
    entry: dict, name: str, scores: pd.DataFrame, packages: list[str], seed: int, X: pd.DataFrame, codes: np.ndarray
) -> Pipeline:
    """Fit one candidate by the best of its grid on the folds, where `scores` come from."""
    model, _ = make_candidate(entry, packages, seed, list(X), len(X))
    best = scores.loc[scores["candidate"] == name, "best_params"].iloc[0]
    model["classifier"].set_params(**json.loads(best))
    return model.fit(X, codes)


def read_pokemon(population: str) -> tuple[pd.DataFrame, dict]:
    """Read the species of a population, and the parameters of conf/base."""
    config = load_config(find_project(ROOT), "parameters", env="base").values
    raw = pd.read_csv(ROOT / "data" / "01_raw" / "pokemon.csv")
    is_all = population == "all_species"
    return clean_data(raw, POPULATIONS[population]["generations"], remove_legendary=not is_all), config


def score_split(task: tuple[str, str, int]) -> dict:
    """Fit everything on the training part of one split, and score it on the test part."""
    population, how, seed = task
    warnings.simplefilter("ignore")
    pokemon, config = read_pokemon(population)
    model_input, label_encoder = create_model_input(pokemon)
    X_train, X_test, y_train, y_test = split(model_input, how, seed)
    codes = y_train[TARGET].to_numpy()
    whole = pokemon.notna().all(axis=1)  # what dropna() of the whole table leaves
    names = ("model_packages", "cross_validation_folds")
    given = [*(config[key] for key in names), REPEATS, seed]
    chosen, models = {}, {}
    with threadpool_limits(limits=1):
        rows = X_train.index[whole.loc[X_train.index]]
        article = {"sk_learn_dt": config["primary_type_models"]["sk_learn_dt"]}
        models["article_rows_dropped"], _ = choose_model(
            X_train.loc[rows], y_train.loc[rows], label_encoder, article, "primary_type_models", ALL, *given
        )
        for name, parameter, groups in (
            ("pipeline", "primary_type_models", ALL),
            ("pipeline_without", "statistics_models", BLIND),
        ):
            models[name], scores = choose_model(
                X_train, y_train, label_encoder, config[parameter], parameter, groups, *given
            )
            chosen[name] = scores.loc[scores["is_chosen"], "candidate"].iloc[0]
            shown = dict(ALONE[parameter])
            if name == "pipeline":
                means = scores.groupby("candidate", sort=False)["accuracy"].mean()
                shown["pipeline_by_accuracy"] = chosen["pipeline_by_accuracy"] = means.index[best_of(means.to_list())]
            for title, candidate in shown.items():
                entry = config[parameter][candidate]
                models[title] = fit_candidate(entry, candidate, scores, config["model_packages"], seed, X_train, codes)
        for name, model in references().items():
            models[name] = model.fit(X_train, codes)
        answers = {name: models[name].predict(X_test) for name in TITLES}
    truth = y_test[TARGET].to_numpy()
    return {
        "task": task,
        "rows": [len(X_train), len(X_test)],
        "chosen": chosen,
        "accuracy": {name: float((answer == truth).mean()) for name, answer in answers.items()},
        "macro_f1": {
            name: float(f1_score(truth, answer, average="macro", zero_division=0)) for name, answer in answers.items()
        },
    }


def measure_costs() -> list[dict]:
    """Say how long models take for one row, and how large their files are: no score is looked at for this."""
    pokemon, config = read_pokemon("generations_1_to_6")
    model_input, _ = create_model_input(pokemon)
    X, codes = model_input.drop(columns=TARGET), model_input[TARGET].to_numpy()
    row, costs = X.to_numpy()[:1], []
    models = {
        name: make_candidate(config["primary_type_models"][name], config["model_packages"], 0, list(X), len(X))[0]
        for name in ("type_order", "allowed_types")
    }
    models |= {name: model for name, model in references().items() if name in TREES}
    with threadpool_limits(limits=1):
        for name, model in models.items():
            model.fit(X, codes)
            seconds = np.median(timeit.repeat(lambda model=model: model.predict_proba(row), number=1, repeat=200))
            size = len(dump_model(model))
            costs.append(
                {"name": name, "title": TITLES[name], "ms": round(float(seconds) * 1e3, 2), "kb": round(size / 1e3)}
            )
    return costs


def summary(values: list[float]) -> dict:
    """Say mean and standard deviation over the splits, and each of them."""
    return {
        "mean": round(float(np.mean(values)), 4),
        "std": round(float(np.std(values, ddof=1)), 4),
        "values": [round(value, 4) for value in values],
    }


def gather(population: str, how: str, splits: list[dict]) -> dict:
    """Put the splits of one population together; differences are paired: the pipeline's choice less the reference."""
    results = []
    for name, title in TITLES.items():
        of = "pipeline_without" if name in WITHOUT else "pipeline"
        result = {"name": name, "title": title, "features": "without_against" if name in WITHOUT else "with_against"}
        for score in ("accuracy", "macro_f1"):
            values = [s[score][name] for s in splits]
            gains = [s[score][of] - value for s, value in zip(splits, values, strict=True)]
            better = sum(gain > 1e-9 for gain in gains)
            result[score] = summary(values) | {"gain": summary(gains) | {"splits_better": better}}
        results.append(result)
    chosen = {name: dict(Counter(s["chosen"][name] for s in splits)) for name in splits[0]["chosen"]}
    rows = [int(np.mean([s["rows"][i] for s in splits])) for i in (0, 1)]
    return {
        "population": population,
        "title": POPULATIONS[population]["title"],
        "split": how,
        "split_title": SPLITS[how],
        "rows": {"training": rows[0], "test": rows[1]},
        "chosen": chosen,
        "results": results,
    }


def goals_of(groups: list[dict]) -> list[dict]:
    """Say which goals are reached: by the means over the random splits, and where families are kept together."""
    goals = []
    for group in groups:
        [pipeline] = [result for result in group["results"] if result["name"] == "pipeline"]
        for score, goal in GOALS[group["population"]].items():
            mean = pipeline[score]["mean"]
            of = {"population": group["population"], "split": group["split"], "score": score}
            goals.append(of | {"goal": goal, "mean": mean, "met": mean >= goal})
    return goals


def main() -> None:
    """Score all splits in two processes, and write what came out."""
    logging.disable(logging.INFO)
    costs = measure_costs()  # first, while nothing else runs
    tasks = [(population, how, seed) for population in POPULATIONS for how in SPLITS for seed in SEEDS]
    if "--quick" in sys.argv:
        tasks = [task for task in tasks if task[2] in SEEDS[:2]]
    scored: dict[tuple[str, str], list[dict]] = {}
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        for i, result in enumerate(pool.imap(score_split, tasks), 1):
            population, how, seed = result["task"]
            scored.setdefault((population, how), []).append(result)
            print(
                f"{i} of {len(tasks)}: {population}, {how}, split {seed}: {result['macro_f1']['pipeline']:.3f}",
                flush=True,
            )
    groups = [gather(population, how, splits) for (population, how), splits in scored.items()]
    study = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("numpy", "scipy", "scikit-learn", "pandas")},
        "splits": len(scored[tasks[0][0], tasks[0][1]]),
        "test_share": TEST_SHARE,
        "cross_validation_repeats": REPEATS,
        "costs": costs,
        "goals": goals_of(groups),
        "groups": groups,
    }
    path = ROOT / ".bench" / "scores.json" if "--quick" in sys.argv else SCORES
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(study, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for group in groups:
        print(f"\n{group['title']}, {group['split_title']}")
        for result in group["results"]:
            scores = [f"{result[s]['mean']:.3f} ± {result[s]['std']:.3f}" for s in ("macro_f1", "accuracy")]
            print(f"  {result['title']:66} {' / '.join(scores)}")
    for goal in study["goals"]:
        told = "met" if goal["met"] else "missed"
        print(f"{goal['population']}, {goal['split']}: {goal['score']} {goal['mean']:.3f} of {goal['goal']}: {told}")
    print(f"Written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
