"""`encoders compare`: encoders, poolings, prompts and tunings beside each other, from the command line."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import TextEncoder
from llmemb_bench.registry.kinds import EncoderChoice
from llmemb_bench.stages.views import SEED
from llmemb_bench.text.encoding import build_encoder, encode_views
from llmemb_bench.text.views import view_of
from llmemb_bench.values.recdata import Items
from tests.helpers.small_models import augmentation, encoder

SPEC = """\
version: 1
name: mine
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: causal_lm, checkpoint: ./model, lora: {rank: 2}}
"""
FIGURES = [
    "recall@1",
    "recall@10",
    "title_recall@1",
    "title_recall@10",
    "alignment",
    "uniformity",
    "mean_cosine",
    "dim",
    "effective_dim",
    "cooccurrence_ndcg@10",
]
SCFT = "{augmentations: [drop_attributes], loss: info_nce, steps: 3, batch_size: 6, learning_rate: 0.01}"


@pytest.fixture
def spec(tmp_path, events_csv):
    """Twenty items of a title, and for all but one a brand; a miniature decoder."""
    encoder("causal_lm", tmp_path / "model")
    lines = (tmp_path / "items.csv").read_text().splitlines()
    branded = [f"{line},{('one', 'red', 'soap')[place % 3]}" for place, line in enumerate(lines[1:-1])]
    (tmp_path / "items.csv").write_text("\n".join([f"{lines[0]},brand", *branded, f"{lines[-1]},"]) + "\n")
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path / "spec.yaml"


@pytest.fixture
def compare(cli, spec, tmp_path):
    def call(*words: str, matrix: str = ""):
        spec.write_text(SPEC + (f"matrix:\n{matrix}" if matrix else ""))
        return cli("encoders", "compare", spec, "--results", tmp_path / "results", "--progress", "none", *words)

    return call


def test_every_way_of_the_matrix_is_a_row_and_nothing_but_the_cache_is_written(compare, tmp_path, monkeypatch):
    matrix = f"  embeddings.scft: [null, {SCFT}]\n  recommender.method: [id_only, llmemb]\n"
    ran = compare("--format", "json", matrix=matrix)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    labels = [row.pop("encoder") for row in told["rows"]]
    assert labels[0] == "causal_lm (scft=None)"
    assert labels[1].startswith("causal_lm (scft=augmentations=")
    assert all(list(row) == FIGURES and None not in row.values() for row in told["rows"])
    assert len({json.dumps(row) for row in told["rows"]}) == 2
    assert told["asked"]["items"] == told["asked"]["paired"] == told["asked"]["neighbours"] == 20
    assert (told["asked"]["queries"], told["asked"]["queries_were_tuned_on"]) == (2, False)  # a tenth is held out
    assert [path.name for path in (tmp_path / "results").iterdir()] == [".cache"]

    monkeypatch.setattr("llmemb_bench.stages.vectors.encode", None)  # whoever encodes or tunes again fails
    monkeypatch.setattr("llmemb_bench.stages.views.encode_views", None)
    monkeypatch.setattr("llmemb_bench.stages.adapter.tune_and_save", None)
    assert compare("--format", "json", matrix=matrix).out == ran.out


def test_recall_is_what_a_loop_finds(compare, tmp_path):
    [row] = json.loads(compare("--format", "json").out)["rows"]
    made = build_encoder(
        TextEncoder, EncoderChoice("causal_lm", {"checkpoint": str(tmp_path / "model"), "lora": {"rank": 2}})
    )
    lines = list(csv.DictReader(io.StringIO((tmp_path / "items.csv").read_text())))
    numbers = _order_of_first_appearance(tmp_path)
    ordered = sorted(lines, key=lambda line: numbers[line["item"]])
    items = Items.of(
        [line["item"] for line in ordered],
        [tuple((name, line[name]) for name in ("title", "brand") if line[name]) for line in ordered],
    )
    order = generator(SEED, "compare").permutation(20).tolist()
    rng = generator(SEED, "views")
    views = [view_of(items, place, [augmentation()], rng) for place in order]
    told = [items.attributes[place] for place in order if len(items.attributes[place]) > 1]
    found, whole, titles, rests = (
        _directions(encode_views(made, items, of))
        for of in (views, list(items.attributes), [one[:1] for one in told], [one[1:] for one in told])
    )
    firsts = [int(np.argmax(whole @ query)) == place for query, place in zip(found, order, strict=True)]
    assert row["recall@1"] == pytest.approx(np.mean(firsts))
    near = [(rests @ title >= rests[place] @ title - 1e-6) for place, title in enumerate(titles)]
    other = [[one[1:] != of[1:] for one in told] for of in told]
    assert row["title_recall@1"] == pytest.approx(
        np.mean([not (a & b).any() for a, b in zip(near, np.array(other), strict=True)])
    )


def _directions(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)


def _order_of_first_appearance(folder) -> dict[str, int]:
    from llmemb_bench.registry.kinds import DatasetChoice
    from llmemb_bench.stages.cache import Cache
    from llmemb_bench.stages.dataset import PreparedData

    choice = DatasetChoice("table", {"events": str(folder / "events.csv"), "items": str(folder / "items.csv")})
    catalogue = PreparedData(Cache(folder / "other"), choice).result().catalogue
    return {item: place for place, item in enumerate(catalogue.ids)}


def test_words_and_ids_are_compared_too_and_what_an_encoder_cannot_say_stays_open(compare):
    matrix = "  embeddings.encoder: [{use: tfidf, dim: 8}, {use: random, dim: 8}]\n"
    ran = compare("--format", "csv", matrix=matrix)
    words, ids = csv.DictReader(io.StringIO(ran.out))
    assert (words.pop("encoder"), ids.pop("encoder")) == ("tfidf", "random")
    assert all(words.values())
    assert [name for name, value in ids.items() if not value] == FIGURES[:5]
    assert float(words["recall@1"]) > 0.5
    assert words["dim"] == ids["dim"] == "8"


def test_a_table_says_what_was_asked_of_how_many(compare):
    ran = compare("--items", "7", "--augmentation", "shuffle_attributes", "--augmentation", "mask_words")
    assert ran.code == 0, ran.err
    assert "causal_lm" in ran.out
    assert (
        "a view (shuffle_attributes + mask_words) of 7 items, which no tuning saw, finds its own among all 20"
        in ran.out
    )
    assert "nearest by text of 7 items" in ran.out


def test_prompts_are_compared_and_other_catalogues_are_not(compare, tmp_path):
    ran = compare("--format", "json", matrix='  dataset.instruction: ["The item: ", "Thing "]\n')
    assert [row["encoder"] for row in json.loads(ran.out)["rows"]] == [
        "causal_lm (instruction=The item: )",
        "causal_lm (instruction=Thing )",
    ]
    ran = compare(matrix="  dataset.min_item_events: [1, 9]\n")
    assert ran.code == 2
    assert "'causal_lm (min_item_events=9)' is of other items or events" in ran.err


@pytest.mark.parametrize(
    ("words", "matrix", "finding"),
    [
        (["--augmentation", "drop_atributes"], "", "did you mean 'drop_attributes'?"),
        ([], "  embeddings.encoder.pooling: [mean, lst]\n", "spec.yaml:7"),
        ([], "  embeddings.encoder.pooling: []\n", "is empty"),
        ([], f"  embeddings: [{{encoder: tfidf, scft: {SCFT}}}]\n", "has no weights to tune"),
        (["--set", "embeddings.encoder.checkpoint=./nowhere"], "", "--set embeddings.encoder.checkpoint=./nowhere: "),
    ],
)
def test_what_is_wrong_is_said_with_its_place(words, matrix, finding, compare):
    ran = compare(*words, matrix=matrix)
    assert ran.code in (2, 4)
    assert finding in ran.err
    assert "Traceback" not in ran.err
