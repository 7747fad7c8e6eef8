"""What differs between settings, in as few words as tell them apart."""

from __future__ import annotations

import pytest

from llmemb_bench.report.differences import differences, in_words, with_detail
from llmemb_bench.report.rows import read_rows
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import write_run

BCE = {"use": "bce", "negatives": 1}
GBCE = {"use": "gbce", "negatives": 5, "t": 0.75}


@pytest.mark.parametrize(
    ("several", "words"),
    [
        ([{"a": 1}, {"a": 1}], ["", ""]),
        ([{"a": 1, "b": 2}, {"a": 1, "b": 3}], ["b=2", "b=3"]),
        ([{"scft": None}, {"scft": {"steps": 5}}], ["scft=none", "scft=set"]),
        ([{"on": True}, {"on": None}], ["on=True", "on=none"]),
        ([{"l": [BCE]}, {"l": [BCE, GBCE]}], ["l=[bce]", "l=[bce, gbce]"]),
        ([{"l": [BCE, GBCE]}, {"l": [BCE, GBCE | {"t": 0.5}]}], ["t=0.75", "t=0.5"]),  # the same plugins in a list
        ([{"l": []}, {"l": [BCE]}], ["l=[]", "l=[bce]"]),
        ([{"l": [1]}, {"l": [2]}], ["l=[1]", "l=[2]"]),
        ([{"o": BCE}, {"o": GBCE}], ["o=bce", "o=gbce"]),
        ([{"o": BCE}, {"o": GBCE}, {"o": GBCE | {"t": 0.5}}], ["o=bce", "o=gbce, t=0.75", "o=gbce, t=0.5"]),
        ([{"a": {"n": 1}, "b": {"n": 2}}, {"a": {"n": 3}, "b": {"n": 4}}], ["a.n=1, b.n=2", "a.n=3, b.n=4"]),
        ([{"new": 1, "a": 1}, {"a": 1}], ["", ""]),  # a version that had no such setting
        ([{"new": 1, "a": 1}, {"a": 2}], ["a=1", "a=2"]),
        ([{"file": "/" + "x" * 50 + "/a.csv"}, {"file": "b.csv"}], ["file=…" + "x" * 34 + "/a.csv", "file=b.csv"]),
        ([{"a": 1}, {"a": 1}, {"a": 2}], ["a=1", "a=1", "a=2"]),
        ([{}, {"a": 1}], ["", ""]),
    ],
)  # fmt: skip
def test_settings_are_told_apart_by_what_differs(several, words):
    assert [in_words(found) for found in differences(several)] == words


@pytest.mark.parametrize(
    ("label", "detail", "expected"),
    [("id_only", "", "id_only"), ("id_only", "a=1", "id_only (a=1)"), ("id_only (a=1)", "b=2", "id_only (a=1, b=2)")],
)
def test_a_detail_joins_those_that_a_label_has(label, detail, expected):
    assert with_detail(label, detail) == expected


def spec(seed: int = 1, **changes):
    """A resolved spec."""
    parts = {"encoder": {"use": "tfidf", "dim": 4}, "backbone": {"use": "sasrec", "dim": 8}, "epochs": 1, "patience": 9}
    parts |= changes
    train = {"epochs": parts["epochs"], "patience": parts["patience"], "validate_every": 1}
    return {
        "seeds": [seed],
        "matrix": {},
        "embeddings": {"encoder": parts["encoder"]},
        "recommender": {"backbone": parts["backbone"], "train": train},
    }


@pytest.mark.parametrize(
    ("changed", "labels"),
    [
        ({"epochs": 2}, ["m (epochs=1) x b x e", "m (epochs=2) x b x e"]),
        ({"backbone": {"use": "sasrec", "dim": 9}}, ["m x b (dim=8) x e", "m x b (dim=9) x e"]),
        ({"encoder": {"use": "tfidf", "dim": 9}}, ["m x b x e (dim=4)", "m x b x e (dim=9)"]),
        ({"seed": 2}, ["m (inputs=one) x b x e", "m (inputs=two) x b x e"]),  # other files, or other code
    ],
)
def test_a_difference_stands_with_the_part_that_it_is_of(changed, labels, tmp_path):
    named = {"method": "m", "backbone": "b", "encoder": "e"}
    for series, settings in (("one", spec()), ("two", spec(**changed))):
        enter(tmp_path, write_run(tmp_path, configuration=series, series=series, settings=settings, **named))
    rows = read_rows(tmp_path, [], [])
    assert list(dict.fromkeys(" x ".join((row.method, row.backbone, row.encoder)) for row in rows)) == labels
    assert {len(row.seeds) for row in rows} == {1}


def test_what_a_matrix_names_gets_only_the_details_that_it_lacks(tmp_path):
    for rate in (1, 2):
        for epochs in (3, 4):
            series = f"{rate}-{epochs}"
            label = f"id_only (learning_rate={rate})"
            enter(tmp_path, write_run(tmp_path, method=label, configuration=series, settings=spec(epochs=epochs)))
    found = {row.method for row in read_rows(tmp_path, [], [])}
    assert found == {f"id_only (learning_rate={rate}, epochs={epochs})" for rate in (1, 2) for epochs in (3, 4)}


def test_a_detail_never_gives_two_lines_one_name(tmp_path):
    """The third goes by what a matrix varied: the name that the second gets by its detail."""
    lines = {"id_only": [spec(), spec(epochs=3)], "id_only (epochs=3)": [spec(epochs=3, patience=5)]}
    series = 0
    for label, several in lines.items():
        for settings in several:
            series += 1
            enter(tmp_path, write_run(tmp_path, method=label, configuration=str(series), settings=settings))
    found = list(dict.fromkeys(row.method for row in read_rows(tmp_path, [], [])))
    assert found == [
        "id_only (epochs=1)",
        "id_only (epochs=3, patience=9)",
        "id_only (epochs=3, patience=5)",
    ]
