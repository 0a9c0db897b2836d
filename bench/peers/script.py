"""The example as one plain script: the same functions, parameters and files, and nothing around them.

Run it in the root of a copy of the project; name stages to run only those: `python script.py pre_processing`.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import skops.io
import yaml

from pokeml.pipelines.data_engineering import create_model_input, split_data
from pokeml.pipelines.data_science import fit_best_model
from pokeml.pipelines.metrics import evaluate, plot_confusion, predict_test
from pokeml.pipelines.pre_processing import clean_data, report_cleaning

STAGES = ("pre_processing", "data_engineering", "data_science", "metrics")
DATA = Path("data")
INTERMEDIATE, FEATURE, MODEL_INPUT = DATA / "02_intermediate", DATA / "04_feature", DATA / "05_model_input"
MODELS, MODEL_OUTPUT, REPORTING = DATA / "06_models", DATA / "07_model_output", DATA / "08_reporting"


def write_json(value: dict, path: Path) -> None:
    """Write a mapping as JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def main(stages: list[str]) -> None:
    """Run the stages, which must be the first ones; values stay in memory, and each is written as the catalog says."""
    params = {}
    for path in sorted(Path("conf/base").rglob("parameters.yml")):
        params |= yaml.safe_load(path.read_text("utf-8"))
    for folder in (INTERMEDIATE, FEATURE, MODEL_INPUT, MODELS, MODEL_OUTPUT, REPORTING):
        folder.mkdir(exist_ok=True)

    pokemon = pd.read_csv(DATA / "01_raw" / "pokemon.csv")
    pokemon_clean = clean_data(pokemon, params["generations"], params["remove_legendary"])
    pokemon_clean.to_parquet(INTERMEDIATE / "pokemon_clean.parquet")
    cleaning_report = report_cleaning(pokemon, params["generations"], params["remove_legendary"])
    write_json(cleaning_report, REPORTING / "cleaning_report.json")
    del pokemon
    if "data_engineering" not in stages:
        return

    model_input, label_encoder = create_model_input(pokemon_clean)
    model_input.to_parquet(FEATURE / "model_input.parquet")
    skops.io.dump(label_encoder, MODELS / "label_encoder.skops")
    X_train, X_test, y_train, y_test = split_data(model_input, params["test_data_ratio"], params["random_state"])
    for name, table in {"X_train": X_train, "X_test": X_test, "y_train": y_train, "y_test": y_test}.items():
        table.to_parquet(MODEL_INPUT / f"{name}.parquet")
    if "data_science" not in stages:
        return

    names = ("primary_type_models", "model_packages", "cross_validation_folds", "random_state")
    classifier, model_comparison = fit_best_model(X_train, y_train, **{name: params[name] for name in names})
    skops.io.dump(classifier, MODELS / "primary_type_classifier.skops")
    model_comparison.to_csv(REPORTING / "model_comparison.csv", index=False)
    if "metrics" not in stages:
        return

    predictions = predict_test(classifier, X_test, y_test, label_encoder, pokemon_clean)
    predictions.to_parquet(MODEL_OUTPUT / "predictions.parquet")
    write_json(evaluate(predictions, y_train, label_encoder), REPORTING / "classification_metrics.json")
    figure = plot_confusion(predictions)
    figure.savefig(REPORTING / "confusion_matrix.png", metadata={"Software": None}, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    main(sys.argv[1:] or list(STAGES))
