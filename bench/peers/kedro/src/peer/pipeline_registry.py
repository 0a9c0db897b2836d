"""The pipelines of the example, in Kedro's words."""

from kedro.pipeline import Node, Pipeline

from pokeml.pipelines.data_engineering import create_model_input, split_data
from pokeml.pipelines.data_science import fit_best_model
from pokeml.pipelines.metrics import evaluate, plot_confusion, predict_test
from pokeml.pipelines.pre_processing import clean_data, report_cleaning


def register_pipelines() -> dict[str, Pipeline]:
    """Give the pipelines by name; `__default__` is what `kedro run` runs."""
    cleaning = ["pokemon_database", "params:generations", "params:remove_legendary"]
    splitting = ["model_input", "params:test_data_ratio", "params:random_state"]
    fitting = {name: name for name in ("X_train", "y_train")} | {
        name: f"params:{name}"
        for name in ("primary_type_models", "model_packages", "cross_validation_folds", "random_state")
    }
    predicting = ["primary_type_classifier", "X_test", "y_test", "label_encoder", "pokemon_clean"]
    pipelines = {
        "pre_processing": Pipeline(
            [
                Node(clean_data, cleaning, "pokemon_clean", name="clean_data"),
                Node(report_cleaning, cleaning, "cleaning_report", name="report_cleaning"),
            ]
        ),
        "data_engineering": Pipeline(
            [
                Node(create_model_input, "pokemon_clean", ["model_input", "label_encoder"], name="create_model_input"),
                Node(split_data, splitting, ["X_train", "X_test", "y_train", "y_test"], name="split_data"),
            ]
        ),
        "data_science": Pipeline(
            [Node(fit_best_model, fitting, ["primary_type_classifier", "model_comparison"], name="fit_best_model")]
        ),
        "metrics": Pipeline(
            [
                Node(predict_test, predicting, "predictions", name="predict_test"),
                Node(evaluate, ["predictions", "y_train", "label_encoder"], "classification_metrics", name="evaluate"),
                Node(plot_confusion, "predictions", "confusion_matrix", name="plot_confusion"),
            ]
        ),
    }
    return pipelines | {"__default__": sum(pipelines.values(), Pipeline([]))}
