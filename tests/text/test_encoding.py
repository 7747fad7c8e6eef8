"""Texts to vectors: cut between words, batched by length, identical ones once, blocks that survive a kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.testing.case import small_items
from llmemb_bench.text.cutting import cut
from llmemb_bench.text.encoding import batches_by_length, encode_items
from llmemb_bench.values.recdata import Items, Prompt
from tests.helpers.small_models import TEXTS, encode, encoder


@pytest.fixture
def model(tmp_path):
    return encoder("causal_lm", tmp_path, max_tokens=24)


def test_identical_texts_are_encoded_once(model, monkeypatch):
    seen = []
    tokenize = model.tokenize
    monkeypatch.setattr(model, "tokenize", lambda texts: (seen.extend(texts), tokenize(texts))[1])
    encode(model, ["one", "two", "one", "one"])
    assert len(seen) == 2


def test_batches_hold_each_text_once_within_the_token_budget(model):
    tokens = model.tokenize(TEXTS)
    batches = batches_by_length(tokens, range(len(TEXTS)), 40)
    assert sorted(row for batch in batches for row in batch) == list(range(len(TEXTS)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(tokens.lengths()[batch]) <= 40


def described(**attributes: str) -> Items:
    return Items.of(["a"], [tuple(attributes.items())], Prompt("The item"))


def test_a_long_text_loses_whole_attributes_the_last_first(model):
    items = described(title="red soap " * 3, kind="thing", more="one two " * 20, last="film")
    shortened = cut(model, items, list(items.attributes))
    assert shortened.texts == [items.text((("title", "red soap " * 3), ("kind", "thing")))]
    assert shortened.n_cut == 1
    assert len(shortened.tokens.ids[0]) <= 24
    assert shortened.tokens.ids == model.tokenize(shortened.texts).ids


def test_a_first_attribute_that_is_too_long_is_cut_between_words(model):
    items = described(title="red blue soap film " * 9, kind="thing")
    [text] = cut(model, items, list(items.attributes)).texts
    shown = text.partition("title is ")[2].split()
    assert shown == ("red blue soap film " * 9).split()[: len(shown)]
    assert len(model.tokenize([text]).ids[0]) == 24


@pytest.mark.parametrize("length", [100, 100_000])
def test_a_text_of_very_many_tokens_is_cut(length, tmp_path):
    made = encoder("sentence_encoder", tmp_path, max_tokens=24)
    items = described(title="soap " * length)
    [ids] = cut(made, items, list(items.attributes)).tokens.ids
    assert len(ids) == 24
    assert np.isfinite(encode_items(made, items)).all()


def test_a_word_that_is_too_long_is_cut_inside(model):
    items = described(title="a(" * 300)  # one word, 600 tokens
    shortened = cut(model, items, list(items.attributes))
    shown = shortened.texts[0].partition("title is ")[2]
    assert ("a(" * 300).startswith(shown)
    assert shortened.tokens.ids == model.tokenize(shortened.texts).ids
    assert len(shortened.tokens.ids[0]) == 24


def test_an_instruction_that_leaves_no_room_is_refused(tmp_path):
    made = encoder("sentence_encoder", tmp_path, max_tokens=8, prefix="one " * 9)
    for items in (described(title="soap"), Items.of(["a"], [()], Prompt("The item"))):
        with pytest.raises(SpecError, match="max_tokens 8 leaves no room for a text: 'The item"):
            cut(made, items, list(items.attributes))


def test_texts_that_fit_are_left_alone(model):
    items = small_items()
    shortened = cut(model, items, list(items.attributes))
    assert (shortened.texts, shortened.n_cut) == (items.texts(), 0)


def test_an_empty_text_has_a_vector(tmp_path):
    for name in ("causal_lm", "sentence_encoder"):
        made = encoder(name, tmp_path / name)
        assert np.isfinite(encode_items(made, Items.of(["a"], [()], Prompt("")))).all()


def test_blocks_that_are_there_and_whole_are_not_encoded_again(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llmemb_bench.text.encoding.TEXTS_PER_BLOCK", 7)
    items, kept = small_items(30), tmp_path / "kept"
    kept.mkdir()
    whole = encode_items(model, items, kept)
    assert [path.name for path in sorted(kept.iterdir())] == [f"{block:06}.safetensors" for block in range(5)]
    damaged = bytearray((kept / "000003.safetensors").read_bytes())
    damaged[-3] ^= 1  # one bit of one number: a table of the right form that holds other vectors
    (kept / "000003.safetensors").write_bytes(damaged)
    encoded = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda ids, *rest: (encoded.append(len(ids)), forward(ids, *rest))[1])
    np.testing.assert_array_equal(encode_items(model, items, kept), whole)
    assert sum(encoded) == 7
    assert "000003.safetensors: is damaged (its bytes differ from those written); removed" in capsys.readouterr().err


def test_out_of_memory_halves_the_batch_and_changes_no_vector(model, monkeypatch, capsys):
    whole, forward = encode(model, TEXTS * 3), model.forward

    def small_only(ids, *rest):
        if ids.numel() > 30:
            raise torch.OutOfMemoryError("no room")
        return forward(ids, *rest)

    monkeypatch.setattr(model, "forward", small_only)
    np.testing.assert_allclose(encode(model, TEXTS * 3), whole, atol=1e-6)
    assert "out of memory: chunks of 1,024 tokens from now on (the result is the same)" in capsys.readouterr().err
    monkeypatch.setattr(model, "forward", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(DataError, match="one text of 24 tokens does not fit into memory alone"):
        encode(model, TEXTS)


def test_vectors_that_are_not_finite_are_not_kept(model, tmp_path):
    with torch.no_grad():
        next(model.parameters())[:] = float("nan")
    (tmp_path / "kept").mkdir()
    with pytest.raises(DataError, match="not finite"):
        encode_items(model, small_items(3), tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_an_error_that_is_no_lack_of_memory_is_not_hidden(model, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda *_: (_ for _ in ()).throw(RuntimeError("wrong shape")))
    with pytest.raises(RuntimeError, match="wrong shape"):
        encode(model, TEXTS)


def test_vectors_that_are_not_finite_stop_with_the_text(model):
    with torch.no_grad():
        next(model.parameters())[:] = float("nan")
    with pytest.raises(DataError, match="not finite numbers, the first is of: 'The item has"):
        encode_items(model, small_items(3))
