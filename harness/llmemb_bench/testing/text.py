"""Checks of the kinds that SCFT is made of: encoders, augmentations, losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Augmentation, Encoder, Loss, TextEncoder
from llmemb_bench.testing.case import Case, Skipped, close, require, small_items
from llmemb_bench.text.encoding import encode_items, vectors_of
from llmemb_bench.values.recdata import Attributes, Items

COMPANY = (
    "a statistic over all items (mean, BatchNorm, vocabulary, whitening), the row of an item in place of its id or "
    "text; set `of_catalogue = True` where vectors are meant to depend on the whole catalogue"
)

# --- encoders ---


def _of(items: Items, rows: Sequence[int]) -> Items:
    ids, attributes = [items.ids[row] for row in rows], [items.attributes[row] for row in rows]
    return Items.of(ids, attributes, items.prompt)


def an_item_has_one_finite_float32_vector(case: Case[Encoder]) -> None:
    items = small_items()
    vectors, again = vectors_of(_built(case), items), vectors_of(_built(case), items)
    finding = f"encode() returns a {type(vectors).__name__}, should return a NumPy array"
    require(isinstance(vectors, np.ndarray), finding, ".numpy()")
    require(vectors.dtype == np.float32, f"vectors are {vectors.dtype}, should be float32", "astype(np.float32)")
    found = list(vectors.shape)
    require(len(found) == 2 and found[0] == len(items), f"{len(items)} items have vectors of shape {found}")
    require(found[1] > 0, "vectors have no dimension")
    require(np.isfinite(vectors).all(), "a vector is not finite", "a division by the length of an empty text")
    require(
        np.array_equal(vectors, again), "the same items encoded twice have different vectors", "a seed, hash() of text"
    )
    require((vectors != vectors[0]).any(), "all items have the same vector", "does it read the items it is given?")


def the_order_of_items_changes_no_vector(case: Case[Encoder]) -> None:
    items, order = small_items(), np.random.default_rng(1).permutation(40).tolist()
    straight, reordered = vectors_of(_built(case), items)[order], vectors_of(_built(case), _of(items, order))
    if case.plugin.of_catalogue:  # a factorisation of the catalogue keeps inner products, whatever the order
        straight, reordered = straight @ straight.T, reordered @ reordered.T
    same = np.allclose(straight, reordered, atol=1e-3 if case.plugin.of_catalogue else 1e-5)
    require(same, "items in another order have different vectors", "row r of the result belongs to row r of `items`")


def the_vector_of_an_item_does_not_depend_on_other_texts(case: Case[Encoder]) -> None:
    if case.plugin.of_catalogue:
        raise Skipped("its vectors are of the whole catalogue")
    items, long = small_items(), " ".join(["blue film"] * 60)
    attributes: list[Attributes] = [(("title", f"{long} {row}"),) for row in range(len(items))]
    vectors = vectors_of(_built(case), items)
    for row in (0, 7, 39):
        company = Items.of(items.ids, [*attributes[:row], items.attributes[row], *attributes[row + 1 :]], items.prompt)
        same = np.allclose(vectors[row], vectors_of(_built(case), company)[row], atol=1e-5)
        require(same, "the vector of an item depends on the texts of the others", COMPANY)


def the_vector_of_an_item_does_not_depend_on_the_others(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case)
    items = small_items(8)
    together = encode_items(encoder, items)
    alone = [encode_items(encoder, _of(items, [row]))[0] for row in range(len(items))]
    require(np.allclose(together, np.stack(alone), atol=1e-5), "an item alone has a different vector", COMPANY)


def padding_on_either_side_changes_no_vector(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case).eval()
    tokens = encoder.tokenize(small_items(1).texts())
    ids, real = tokens.batch([0])
    with torch.no_grad():
        plain = encoder(ids, real)
        for sides in ((0, 7), (7, 0), (3, 4)):
            padded = encoder(functional.pad(ids, sides, value=tokens.pad), functional.pad(real, sides, value=False))
            finding = f"{sides[0]} positions of padding before and {sides[1]} after a text change its vector"
            require(close(plain, padded), finding, "the attention mask, position ids, pooling by `real`")


def a_seed_belongs_to_a_text_and_not_to_its_position(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case).train()
    tokens = encoder.tokenize(small_items(6).texts())
    rows, seeds = [4, 1, 0, 3, 5, 2], [11, 22, 33, 44, 55, 66]
    with torch.no_grad():
        together = encoder(*tokens.batch(rows), [seeds[row] for row in rows])
        alone = torch.cat([encoder(*tokens.batch([row]), [seeds[row]]) for row in rows])
        without = encoder(*tokens.batch(rows))
        measured = encoder.eval()(*tokens.batch(rows))
    hint = "every draw comes from the text's own seed, none from torch's global generator"
    require(close(together, alone), "what is drawn for a text depends on the texts beside it", hint)
    require(close(without, measured), "without seeds something is random in training mode", hint)


def a_text_that_is_too_long_is_reported_as_such(case: Case[Encoder]) -> None:
    encoder = _text_encoder(case)
    most = encoder.max_tokens
    short, long = encoder.tokenize(["one two", "one two " * most]).lengths()
    require(short <= most, f"'one two' has {short} tokens, more than max_tokens ({most})")
    finding = f"a text longer than max_tokens has {long} tokens, should have {most + 1}"
    require(
        long == most + 1, finding, "tokenize() cuts at max_tokens + 1, so that the harness sees that it is too long"
    )


def only_a_part_of_the_weights_is_trained(case: Case[Encoder]) -> None:
    weights = list(_text_encoder(case).parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    whole = sum(weight.numel() for weight in weights)
    finding = f"{trained:,} of {whole:,} weights are trained, should be some and less than half"
    require(0 < trained < whole / 2, finding, "requires_grad of the base; the example should set lora")


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
    the_vector_of_an_item_does_not_depend_on_other_texts,
    the_vector_of_an_item_does_not_depend_on_the_others,
    padding_on_either_side_changes_no_vector,
    a_seed_belongs_to_a_text_and_not_to_its_position,
    a_text_that_is_too_long_is_reported_as_such,
    only_a_part_of_the_weights_is_trained,
)

# --- augmentations ---


def a_view_invents_nothing_and_is_never_empty(case: Case[Augmentation]) -> None:
    augmentation, rng = case.plugin(case.config), np.random.default_rng(0)
    for attributes in (*small_items().attributes, (("title", "alone"),)):
        words = {word for name, value in attributes for word in (name, *value.split())}
        for make in 10 * (augmentation.view, augmentation.second):
            view = make(attributes, rng)
            require(isinstance(view, tuple), f"a view is a {type(view).__name__}, should be a tuple of (name, value)")
            require(view and all(value.strip() for _, value in view), f"of {attributes} the view {view} is left")
            invented = {word for name, value in view for word in (name, *value.split())} - words
            require(not invented, f"a view holds words that the item does not: {', '.join(sorted(invented))}")


def the_same_generator_gives_the_same_view_and_another_another(case: Case[Augmentation]) -> None:
    augmentation, attributes = case.plugin(case.config), small_items().attributes[0]
    hint = "draw from `rng` only: no random.random(), no np.random.rand(), nothing kept from call to call"
    for make in (augmentation.view, augmentation.second):
        views, again = (
            {seed: make(attributes, np.random.default_rng(seed)) for seed in seeds}
            for seeds in (range(30), reversed(range(30)))
        )
        require(views == again, "the same generator gives a different view", hint)
        differ = len(set(views.values())) > 1
        finding = (
            f"thirty generators give {'several views' if differ else 'one view'}, and `draws` is {augmentation.draws}"
        )
        require(differ == augmentation.draws, finding, hint)


AUGMENTATIONS = (
    a_view_invents_nothing_and_is_never_empty,
    the_same_generator_gives_the_same_view_and_another_another,
)

# --- losses ---


def _pairs() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(12, 8, generator=draw), torch.randn(12, 8, generator=draw)


def it_is_a_finite_scalar_with_finite_gradients(case: Case[Loss]) -> None:
    left, right = _pairs()
    duplicates = ~torch.eye(12, dtype=torch.bool)
    for inputs, one, other, mask in (
        ("random vectors", left, right, None),
        ("vectors a thousand times as long", 1000 * left, 1000 * right, None),
        ("two views that are the same", left, left.clone(), None),
        ("two pairs only", left[:2], right[:2], None),
        ("rows that are all of one meaning", left, right, duplicates),
    ):
        _refuse_infinite(case, inputs, one, other, mask)


def _refuse_infinite(
    case: Case[Loss], inputs: str, one: torch.Tensor, other: torch.Tensor, duplicates: torch.Tensor | None
) -> None:
    hint = "a logarithm of 0, a square root at 0, a division, exp() of large scores: logsumexp, cross_entropy"
    sides = {"left": one.clone().requires_grad_(), "right": other.clone().requires_grad_()}
    with torch_seed(0):
        value = case.plugin(case.config)(*sides.values(), duplicates)
    require(value.shape == (), f"it has the shape {list(value.shape)}, should be one number", "mean() over rows")
    require(torch.isfinite(value), f"of {inputs} it is {value.item()}", hint)
    require(value.requires_grad, "it has no gradient", "a detach() or item() on the way")
    gradients = torch.autograd.grad(value, list(sides.values()), allow_unused=True)
    for name, gradient in zip(sides, gradients, strict=True):
        require(gradient is not None, f"`{name}` has no gradient", "a detach() or item() on the way")
        found = gradient if gradient is not None else value
        require(torch.isfinite(found).all(), f"of {inputs} `{name}` has an infinite gradient", hint)
        if inputs == "random vectors":
            require(found.any(), f"`{name}` has a gradient of zero", "a detach(), a factor 0, a hard argmax")


def the_order_of_rows_does_not_matter(case: Case[Loss]) -> None:
    (left, right), loss = _pairs(), case.plugin(case.config)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    given = left.clone(), right.clone()
    value, other = loss(left, right), loss(left[order], right[order])
    finding = f"the same pairs in another order give {other.item():.5f} instead of {value.item():.5f}"
    require(torch.allclose(value, other, rtol=1e-4), finding, "row i of left belongs to row i of right")
    unchanged = torch.equal(given[0], left) and torch.equal(given[1], right)
    require(unchanged, "it changes the vectors it is given", "operations in place: left /= left.norm()")


def thirty_steps_pull_pairs_together(case: Case[Loss]) -> None:
    (left, right), loss = _pairs(), case.plugin(case.config)
    right.requires_grad_()
    before = _margin(left, right)
    optimizer = torch.optim.Adam([right], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(loss(left, right))
        optimizer.step()
    after = _margin(left, right)
    finding = f"30 steps only bring the cosine of pairs, less that of others, from {before:.2f} to {after:.2f}"
    require(after > before + 0.1, finding, "the sign, and whether other rows are pushed away")


def a_duplicate_of_every_row_is_no_negative_and_has_none(case: Case[Loss]) -> None:
    if not case.plugin.has_negatives:
        raise Skipped("it has no negatives")
    (left, right), loss = _pairs(), case.plugin(case.config)
    duplicates = torch.zeros(12, 12, dtype=torch.bool)
    duplicates[7] = duplicates[:, 7] = True
    duplicates[7, 7] = False

    def gradient(others: float) -> torch.Tensor:
        scaled = right.clone()
        scaled[torch.arange(12) != 7] *= others
        [found] = torch.autograd.grad(loss(left, scaled.requires_grad_(), duplicates), scaled)
        return found[7]

    finding = "rows that mean the same (`duplicates`) are pushed apart"
    require(close(gradient(1.0), gradient(-2.0)), finding, "leave duplicates[i, j] out of the negatives of row i")


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
    a_duplicate_of_every_row_is_no_negative_and_has_none,
)
