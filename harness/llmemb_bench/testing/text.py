"""Checks of the kinds that stage 1 is made of: datasets, encoders, augmentations, losses."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from llmemb_bench.contracts import Augmentation, Dataset, Encoder, Loss, TextEncoder
from llmemb_bench.data.prepare import prepare
from llmemb_bench.data.recdata import Items, RecData
from llmemb_bench.seeds import torch_seed
from llmemb_bench.testing.case import Case, Skipped, small_items

# --- datasets ---


def _read(case: Case[Dataset]) -> RecData:
    return prepare(case.plugin(case.config), Path(tempfile.mkdtemp(dir=case.folder)))


def ids_are_dense_and_histories_in_time_order(case: Case[Dataset]) -> None:
    data = _read(case)
    assert sorted(set(data.items.tolist())) == list(range(1, data.n_items + 1))
    for user in range(data.n_users):
        times = data.times[data.offsets[user] : data.offsets[user + 1]]
        assert (np.diff(times) >= 0).all(), f"user {user} is out of order"


def reading_twice_gives_the_same(case: Case[Dataset]) -> None:
    first, second = _read(case), _read(case)
    assert first.catalogue == second.catalogue
    assert np.array_equal(first.items, second.items)
    assert np.array_equal(first.offsets, second.offsets)


def attributes_are_clean_lines(case: Case[Dataset]) -> None:
    for attributes in _read(case).catalogue.attributes:
        for name, value in attributes:
            assert value, f"{name} is empty"
            assert ";" not in value, f"{name} holds a semicolon"
            assert "\n" not in value, f"{name} holds a line break"


DATASETS = (ids_are_dense_and_histories_in_time_order, reading_twice_gives_the_same, attributes_are_clean_lines)

# --- encoders ---


def _reordered(items: Items, order: list[int]) -> Items:
    ids, attributes = [items.ids[place] for place in order], [items.attributes[place] for place in order]
    return Items.of(ids, attributes, items.prompt)


def an_item_has_one_finite_float32_vector(case: Case[Encoder]) -> None:
    items = small_items()
    vectors = _built(case).encode(items)
    assert vectors.dtype == np.float32
    assert len(vectors) == len(items)
    assert np.isfinite(vectors).all()


def the_order_of_items_changes_no_vector(case: Case[Encoder]) -> None:
    items, order = small_items(), np.random.default_rng(1).permutation(40).tolist()
    straight, reordered = _built(case).encode(items), _built(case).encode(_reordered(items, order))
    # A factorisation of the corpus keeps inner products, whatever the order.
    assert np.allclose((straight @ straight.T)[np.ix_(order, order)], reordered @ reordered.T, atol=1e-3)


def an_item_alone_has_the_vector_it_has_among_others(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case)
    items = small_items(8)
    together = encoder.encode(items)
    alone = [encoder.encode(_reordered(items, [row]))[0] for row in range(len(items))]
    assert np.allclose(together, np.stack(alone), atol=1e-5)


def padding_on_either_side_changes_no_vector(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case).eval()
    tokens = encoder.tokenize(small_items(1).texts())
    ids, real = tokens.batch([0])
    with torch.no_grad():
        plain = encoder(ids, real)
        for sides in ((0, 7), (7, 0), (3, 4)):
            padded = encoder(functional.pad(ids, sides, value=tokens.pad), functional.pad(real, sides, value=False))
            assert torch.allclose(plain, padded, atol=1e-5), f"padding {sides} changes it"


def a_seed_belongs_to_a_text_and_not_to_its_place(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case).train()
    tokens = encoder.tokenize(small_items(6).texts())
    rows, seeds = [4, 1, 0, 3, 5, 2], [11, 22, 33, 44, 55, 66]
    with torch.no_grad():
        together = encoder(*tokens.batch(rows), [seeds[row] for row in rows])
        alone = torch.cat([encoder(*tokens.batch([row]), [seeds[row]]) for row in rows])
        without = encoder(*tokens.batch(rows))
        measured = encoder.eval()(*tokens.batch(rows))
    assert torch.allclose(together, alone, atol=1e-5), "the draw depends on the batch"
    assert torch.allclose(without, measured, atol=1e-5), "something is random without seeds"


def a_text_that_is_too_long_is_reported_as_such(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case)
    short, long = encoder.tokenize(["one two", "one two " * encoder.max_tokens]).lengths()
    assert short <= encoder.max_tokens
    assert long == encoder.max_tokens + 1


def only_a_part_of_the_weights_is_trained(case: Case[Encoder]) -> None:
    weights = list(_text_encoder(case).parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    assert 0 < trained < sum(weight.numel() for weight in weights) / 2


def _built(case: Case[Encoder]) -> Encoder:
    with torch_seed(0):
        return case.plugin(case.config)  # type: ignore[call-arg]  # the contract: settings alone suffice


def _text_encoder(case: Case[Encoder]) -> TextEncoder:
    encoder = _built(case)
    if not isinstance(encoder, TextEncoder):
        raise Skipped("it has no weights to tune")
    return encoder


ENCODERS = (
    an_item_has_one_finite_float32_vector,
    the_order_of_items_changes_no_vector,
    an_item_alone_has_the_vector_it_has_among_others,
    padding_on_either_side_changes_no_vector,
    a_seed_belongs_to_a_text_and_not_to_its_place,
    a_text_that_is_too_long_is_reported_as_such,
    only_a_part_of_the_weights_is_trained,
)

# --- augmentations ---


def a_view_invents_nothing_and_is_never_empty(case: Case[Augmentation]) -> None:
    augmentation, rng = case.plugin(case.config), np.random.default_rng(0)
    for attributes in (*small_items().attributes, (("title", "alone"),)):
        words = {word for name, value in attributes for word in (name, *value.split())}
        for _ in range(20):
            view = augmentation.view(attributes, rng)
            assert view, "a view is empty"
            assert {word for name, value in view for word in (name, *value.split())} <= words, "a word was invented"


def the_same_generator_gives_the_same_view_and_another_another(case: Case[Augmentation]) -> None:
    augmentation, attributes = case.plugin(case.config), small_items().attributes[0]
    views = [augmentation.view(attributes, np.random.default_rng(seed)) for seed in range(30)]
    assert views == [augmentation.view(attributes, np.random.default_rng(seed)) for seed in range(30)]
    assert len(set(views)) > 1, "thirty seeds give one view"


AUGMENTATIONS = (a_view_invents_nothing_and_is_never_empty, the_same_generator_gives_the_same_view_and_another_another)

# --- losses ---


def _pairs() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(12, 8, generator=draw), torch.randn(12, 8, generator=draw)


def it_is_a_finite_scalar_with_finite_gradients(case: Case[Loss]) -> None:
    left, right = (vectors.requires_grad_() for vectors in _pairs())
    value = case.plugin(case.config)(left, right)
    assert value.shape == ()
    torch.autograd.backward(value)
    for vectors in (left, right):
        assert vectors.grad is not None, "one side has no gradient"
        assert torch.isfinite(vectors.grad).all()


def the_order_of_rows_does_not_matter(case: Case[Loss]) -> None:
    (left, right), loss = _pairs(), case.plugin(case.config)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(loss(left, right), loss(left[order], right[order]), rtol=1e-4)


def thirty_steps_pull_pairs_together(case: Case[Loss]) -> None:
    (left, right), loss = _pairs(), case.plugin(case.config)
    right.requires_grad_()
    before = _margin(left, right)
    optimizer = torch.optim.Adam([right], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(loss(left, right))
        optimizer.step()
    assert _margin(left, right) > before + 0.1, "pairs did not come closer than others"


def a_row_alike_to_all_is_no_negative_and_has_none(case: Case[Loss]) -> None:
    (left, right), loss = _pairs(), case.plugin(case.config)
    alike = torch.zeros(12, 12, dtype=torch.bool)
    alike[7] = alike[:, 7] = True
    alike[7, 7] = False

    def gradient(others: float) -> torch.Tensor:
        scaled = right.clone()
        scaled[torch.arange(12) != 7] *= others
        [found] = torch.autograd.grad(loss(left, scaled.requires_grad_(), alike), scaled)
        return found[7]

    assert torch.allclose(gradient(1.0), gradient(-2.0), atol=1e-5), "rows of one meaning are pushed apart"


def _margin(left: torch.Tensor, right: torch.Tensor) -> float:
    """Mean cosine of pairs minus that of the others."""
    cosines = functional.normalize(left) @ functional.normalize(right).T
    own = cosines.diagonal().mean()
    others = (cosines.sum() - cosines.diagonal().sum()) / (len(left) * (len(left) - 1))
    return (own - others).item()


LOSSES = (
    it_is_a_finite_scalar_with_finite_gradients,
    the_order_of_rows_does_not_matter,
    thirty_steps_pull_pairs_together,
    a_row_alike_to_all_is_no_negative_and_has_none,
)
