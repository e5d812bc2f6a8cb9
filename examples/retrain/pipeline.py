"""Retrains a classifier of wines whenever a new drop of measurements arrives.

penstock run pipeline.py -p raw=drops/week-1.csv       the first drop
penstock run pipeline.py -p raw=drops/week-1.csv       again: nothing is executed
penstock run pipeline.py -p raw=drops/week-2.csv       a new drop: what depends on what is new
penstock why                                           and why
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import confusion_matrix

from penstock.sdk import File, collect, current_run, each, pipeline, step, when

mpl.use("Agg")

TARGET = "cultivar"
# The first samples are the reference: every model is tested on them, none is trained on them, and new drops only add others.
REFERENCE = 48


class Schema(NamedTuple):
    """What the table is, whatever rows it holds."""

    features: list[str]
    labels: list[str]


class Splits(NamedTuple):
    train: pd.DataFrame
    test: pd.DataFrame


@step
def clean(raw: File) -> pd.DataFrame:
    """Drops repeated and incomplete rows and impossible measurements; orders by sample."""
    table = pd.read_csv(raw)
    table = table.dropna().drop_duplicates("sample", keep="last")
    table = table[(table.drop(columns=[TARGET]) >= 0).all(axis=1)]
    print(f"{len(table)} usable rows in {raw.path.name}")
    return table.sort_values("sample").reset_index(drop=True)


@step
def describe(table: pd.DataFrame) -> Schema:
    """Runs for every new drop, and nearly always finds the same: what depends on it alone is then a hit."""
    features = [str(name) for name in table.columns if name not in ("sample", TARGET)]
    return Schema(features, sorted(str(label) for label in table[TARGET].unique()))


@step
def dictionary(schema: Schema) -> str:
    """The data dictionary of the report, as HTML."""
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>number</td></tr>" for name in schema.features)
    labels = ", ".join(html.escape(label) for label in schema.labels)
    return f"<table><tr><th>column</th><th>kind</th></tr>{rows}<tr><td>{TARGET}</td><td>one of {labels}</td></tr></table>"


@step
def split(table: pd.DataFrame) -> Splits:
    is_reference = table["sample"] <= REFERENCE
    return Splits(table[~is_reference].reset_index(drop=True), table[is_reference].reset_index(drop=True))


@step
def baseline(test: pd.DataFrame) -> float:
    """What guessing the commonest label reaches. A new drop leaves the reference as it was, so this is a hit."""
    return float(test[TARGET].value_counts(normalize=True).max())


@step(retries=2, timeout="5m")
def train(data: pd.DataFrame, schema: Schema, *, trees: int, depth: int) -> RandomForestClassifier:
    model = RandomForestClassifier(n_estimators=trees, max_depth=depth, random_state=0)
    return model.fit(data[schema.features], data[TARGET])


@step
def evaluate(model: RandomForestClassifier, schema: Schema, test: pd.DataFrame) -> float:
    accuracy = float(model.score(test[schema.features], test[TARGET]))
    current_run().log_metric("accuracy", accuracy)
    return accuracy


@step
def pick_best(models: Sequence[Sequence[RandomForestClassifier]], scores: Sequence[Sequence[float]]) -> RandomForestClassifier:
    """The most accurate; of several, the first, which is the smallest."""
    best, chosen = -1.0, models[0][0]
    for row, row_scores in zip(models, scores, strict=True):
        for model, score in zip(row, row_scores, strict=True):
            if score > best:
                best, chosen = score, model
    return chosen


@step
def plot(model: RandomForestClassifier, schema: Schema, test: pd.DataFrame) -> File:
    """The confusion matrix, and which measurements the model goes by."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    matrix = confusion_matrix(test[TARGET], model.predict(test[schema.features]), labels=schema.labels)
    left.imshow(matrix, cmap="Blues")
    left.set(title="reference samples", xlabel="predicted", ylabel="true")
    left.set_xticks(range(len(schema.labels)), schema.labels)
    left.set_yticks(range(len(schema.labels)), schema.labels)
    for (row, column), count in np.ndenumerate(matrix):
        left.text(column, row, str(count), ha="center", va="center", color="white" if count > matrix.max() / 2 else "black")
    order = np.argsort(model.feature_importances_)
    right.barh([schema.features[i] for i in order], model.feature_importances_[order], color="#4878a8")
    right.set(title="importance")
    path = Path("plot.png")
    # matplotlib would write its version into the file: the same picture, other bytes.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
    return File(path)


@step
def report(
    accuracy: float,
    guessing: float,
    scores: Sequence[Sequence[float]],
    *,
    trees: Sequence[int],
    depths: Sequence[int],
    picture: File,
    columns: str,
) -> File:
    """One HTML file that needs no other."""
    image = base64.b64encode(picture.path.read_bytes()).decode()
    head = "".join(f"<th>depth {depth}</th>" for depth in depths)
    rows = ""
    for count, row in zip(trees, scores, strict=True):
        rows += f"<tr><th>{count} trees</th>{''.join(f'<td>{score:.3f}</td>' for score in row)}</tr>"
    path = Path("report.html")
    path.write_text(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Wine model</title>"
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{text-align:left;padding:0 1rem 0 0}</style>"
        f"<h1>Wine model</h1><p>Accuracy <b>{accuracy:.3f}</b> on the reference samples; guessing reaches {guessing:.3f}.</p>"
        f"<img alt='confusion matrix and importances' src='data:image/png;base64,{image}' width='100%'>"
        f"<h2>Candidates</h2><table><tr><th></th>{head}</tr>{rows}</table><h2>Columns</h2>{columns}</html>",
        encoding="utf-8",
    )
    return File(path)


@step
def publish(model: RandomForestClassifier, accuracy: float) -> str:
    """Only a model that is good enough gets here."""
    return f"published {model.n_estimators} trees of depth {model.max_depth}, accuracy {accuracy:.3f}"


@pipeline
def retrain(raw: File, trees: Sequence[int] = (5, 20), depths: Sequence[int] = (1, 2, 4), floor: float = 0.9) -> File:
    """Trains a model for every pair of `trees` and `depths`, picks the best and publishes it if it is good enough.

    :param raw: the measurements, a CSV file
    :param trees: how many trees the forests have
    :param depths: how deep their trees may grow
    :param floor: the accuracy that a model must reach to be published
    """
    table = clean(raw)
    schema = describe(table)
    parts = split(table)
    model = train(parts.train, schema, trees=each(trees), depth=each(depths))
    score = evaluate(model, schema, parts.test)
    scores = collect(collect(score))
    best = pick_best(collect(collect(model)), scores)
    accuracy = evaluate.options(name="final")(best, schema, parts.test)
    with when(accuracy >= floor):
        publish(best, accuracy)
    return report(
        accuracy,
        baseline(parts.test),
        scores,
        trees=trees,
        depths=depths,
        picture=plot(best, schema, parts.test),
        columns=dictionary(schema),
    )


if __name__ == "__main__":
    print(retrain.run(raw=File("drops/week-1.csv")).result())
