"""Checks of backbones and methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from llmemb_bench.base.ids import PAD
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import (
    Backbone,
    Batch,
    Fitted,
    Method,
    Negatives,
    NextItem,
    Objective,
    Parts,
    Phase,
    Sampling,
    Trained,
    VectorMethod,
)
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.entries import entries
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing.case import Broken, Case, Skipped, close, renumbered, require, small_split
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import Value, backward, backward_of
from llmemb_bench.training.phases import configured, moving, phases_of
from llmemb_bench.values.padding import pad_right
from llmemb_bench.values.split import Split

N_ITEMS = 40
OVER_THE_BATCH = (
    "a recurrent layer or attention without batch_first=True, a BatchNorm, a mean over the first axis, "
    "or a state that is kept from one call to the next"
)
INTO_THE_FUTURE = "a causal mask, a convolution padded on both sides, a sum over the whole history"

# --- backbones ---


def _backbone(case: Case[Backbone]) -> Backbone:
    with torch_seed(0):
        return case.plugin(case.config)


def _others(x: Tensor) -> Tensor:
    """Other random vectors of the same shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(2))


def _sequences(case: Case[Backbone], *lengths: int) -> tuple[Tensor, Tensor]:
    """Random vectors and which positions are real."""
    longest = max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    x = torch.randn(len(lengths), longest, case.config.dim, generator=torch.Generator().manual_seed(1))
    return x, real


def _states(backbone: Backbone, x: Tensor, real: Tensor) -> Tensor:
    """With one seed a call, so that what dropout draws is the same for inputs of one shape."""
    with torch_seed(3):
        states: Tensor = backbone(x, real)
    finding = f"forward() returns a {type(states).__name__}, should return one tensor"
    require(isinstance(states, Tensor), finding, "an nn.GRU returns (states, last): take the first")
    return states


def _modes(backbone: Backbone) -> Iterator[str]:
    """The backbone in each mode, and how to call it."""
    for training, name in ((False, "eval mode"), (True, "training mode")):
        backbone.train(training)
        yield name


@torch.no_grad()
def every_position_has_one_finite_state(case: Case[Backbone]) -> None:
    backbone = _backbone(case).eval()
    for lengths in ((6, 3, 1), (case.config.max_len,)):
        x, real = _sequences(case, *lengths)
        given = x.clone()
        states = _states(backbone, x, real)
        found, right = list(states.shape), list(x.shape)
        require(found == right, f"vectors of shape {right} become states of shape {found}", "the end of forward()")
        require(torch.isfinite(states[real]).all(), "a state is not finite", "a division, a logarithm, a masked row")
        require(torch.equal(x, given), "forward() changes the vectors it is given", "operations in place: x += ...")


@torch.no_grad()
def changing_the_future_leaves_the_past_unchanged(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case), _sequences(case, 9, 9)
    if not backbone.task.is_causal:
        raise Skipped("a cloze task may look both ways")
    other = _others(x)
    for mode in _modes(backbone):
        before = _states(backbone, x, real)
        for position in range(1, 9):
            after = _states(backbone, torch.cat([x[:, :position], other[:, position:]], dim=1), real)
            finding = f"in {mode} the state at position {position - 1} depends on what comes after it"
            require(close(before[:, :position], after[:, :position]), finding, INTO_THE_FUTURE)


@torch.no_grad()
def the_past_changes_the_state(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 9)
    other = torch.cat([_others(x[:, :1]), x[:, 1:]], dim=1)
    moved = not close(_states(backbone, x, real)[:, 1:], _states(backbone, other, real)[:, 1:], atol=1e-7)
    require(moved, "no state depends on the events before it", "the axis over which the layer runs: [batch, len, dim]")


@torch.no_grad()
def a_hidden_position_sees_both_sides(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 9)
    if backbone.task.is_causal:
        raise Skipped("a next-item task may only look back")
    before = _states(backbone, x, real)[:, 4]
    for position in (0, 8):
        other = x.clone()
        other[:, position] = _others(x)[:, position]
        sees = not close(before, _states(backbone, other, real)[:, 4], atol=1e-6)
        require(
            sees, f"the state at position 4 does not depend on position {position}", "a causal mask in a cloze task"
        )


@torch.no_grad()
def the_states_of_a_history_do_not_depend_on_its_batch(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case), _sequences(case, 6, 4, 6)
    other = _others(x)
    for mode in _modes(backbone):
        before = _states(backbone, x, real)
        for row in range(len(x)):
            company = other.clone()
            company[row] = x[row]
            finding = f"in {mode} the states of a history depend on the other histories of its batch"
            after = _states(backbone, company, real)[row]
            require(close(before[row][real[row]], after[real[row]]), finding, OVER_THE_BATCH)
    backbone.eval()
    together = _states(backbone, x, real)
    for row in range(len(x)):
        length = int(real[row].sum())
        alone = _states(backbone, x[row : row + 1, :length], real[row : row + 1, :length])[0]
        finding = "a history alone has different states than in a batch"
        require(close(together[row, :length], alone), finding, OVER_THE_BATCH)
    require(close(together, _states(backbone, x, real)), "the same call gives different states", OVER_THE_BATCH)


@torch.no_grad()
def more_padding_and_its_content_change_nothing(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 6, 3, 1)
    before = _states(backbone, x, real)[real]
    padded, more = functional.pad(x, (0, 0, 0, 5)), functional.pad(real, (0, 5), value=False)
    noisy = torch.where(more[..., None], padded, torch.full_like(padded, 3.0))
    for other, finding in ((padded, "more padding changes states"), (noisy, "what stands at padding changes states")):
        hint = "multiply by `real`, or mask by it, before positions are mixed"
        require(close(before, _states(backbone, other, more)[more]), finding, hint)


def gradients_are_finite_on_a_history_of_one_event(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).train(), _sequences(case, 1, 4)
    x.requires_grad_()
    torch.autograd.backward(backbone(x, real)[real].square().sum())
    for name, weight in [("x", x), *backbone.named_parameters()]:
        require(weight.grad is not None, f"{name} has no gradient", "a detach(), or a weight that forward() never uses")
        found = weight.grad if weight.grad is not None else weight
        require(torch.isfinite(found).all(), f"{name} has an infinite gradient", "a softmax over masked places only")


@torch.no_grad()
def saved_weights_give_the_same_states(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 5, 2)
    with torch_seed(1):
        other = case.plugin(case.config).eval()
    other.load_state_dict(backbone.state_dict())
    hint = "a tensor that is neither nn.Parameter nor buffer is not saved"
    require(torch.equal(backbone(x, real), other(x, real)), "saved and loaded, it has different states", hint)


def groups_of_histories_have_the_states_and_gradients_of_each_alone(case: Case[Backbone]) -> None:
    backbone = _backbone(case).eval()  # dropout draws otherwise where more is drawn for
    groups = [_sequences(case, *lengths) for lengths in ((7, 7), (5, 2, 1), (4,))]
    histories = [x[row][real[row]][None] for x, real in groups for row in range(len(x))]
    alone = torch.cat([backbone(x, torch.ones(x.shape[:2], dtype=torch.bool))[0] for x in histories])
    torch.autograd.backward(alone.square().sum())
    wanted = {name: weight.grad for name, weight in backbone.named_parameters()}
    backbone.zero_grad()
    together = backbone.forward_groups(torch.cat([x[real] for x, real in groups]), [real for _, real in groups])
    require(close(together, alone), "forward_groups() has different states than each history alone", OVER_THE_BATCH)
    torch.autograd.backward(together.square().sum())
    for name, weight in backbone.named_parameters():
        found, right = weight.grad, wanted[name]
        if found is None or right is None:
            require(found is right, f"{name} has a gradient in only one of forward() and forward_groups()")
        else:
            same = torch.allclose(found, right, rtol=1e-3, atol=1e-4)
            require(same, f"{name} has a different gradient in forward_groups() than for each history alone")


def it_overfits_one_batch(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 6, 4, 2)
    wanted = torch.arange(int(real.sum())) % 7
    table = torch.randn(7, case.config.dim, generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam(backbone.parameters(), lr=5e-3)
    values = []
    for _ in range(80):
        value = functional.cross_entropy(backbone(x, real)[real] @ table.T, wanted)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        values.append(value.item())
    finding = f"80 steps on one batch only bring the loss from {values[0]:.3f} to {values[-1]:.3f}"
    require(values[-1] < values[0] / 2, finding, "initial weights, gradients that stop on the way")


BACKBONES = (
    every_position_has_one_finite_state,
    changing_the_future_leaves_the_past_unchanged,
    the_past_changes_the_state,
    a_hidden_position_sees_both_sides,
    the_states_of_a_history_do_not_depend_on_its_batch,
    more_padding_and_its_content_change_nothing,
    gradients_are_finite_on_a_history_of_one_event,
    saved_weights_give_the_same_states,
    groups_of_histories_have_the_states_and_gradients_of_each_alone,
    it_overfits_one_batch,
)

# --- methods ---


def _any_backbone(dim: int = 8) -> Backbone:
    """A small next-item backbone of the catalogue; which one does not matter to a method."""
    for entry in entries():
        if entry.kind == "backbones":
            plugin = entry.load()
            if issubclass(plugin, Backbone):
                made = plugin(plugin.config_type().model_validate({"dim": dim, "max_len": 10}))
                if made.task == NextItem():
                    return made
    raise Skipped("no backbone is installed")


class _Known(VectorMethod):
    """A recommender of given item vectors."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__(Config(), Parts(len(vectors), _any_backbone(vectors.shape[1])))
        self.table = nn.Embedding(len(vectors), vectors.shape[1], _weight=vectors)

    def items(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.table(ids - 1)
        return vectors

    def tables(self) -> list[nn.Embedding]:
        return [self.table]


def known(table: Tensor) -> Fitted:
    """A fitted recommender with these item vectors [ids, dim] (row 0 is padding) and some backbone."""
    with torch_seed(0):
        return Fitted(_Known(table[1:]))


def _tables(case: Case[Method]) -> dict[str, Tensor]:
    """Vectors of 40 items by what they come from, the text or an upstream recommender; row 0 is padding."""
    draw = torch.Generator().manual_seed(0)
    widths = {"text": 16} | dict.fromkeys(case.plugin.upstream(case.config), 8)
    return {
        name: functional.pad(torch.randn(N_ITEMS, dim, generator=draw), (0, 0, 1, 0)) for name, dim in widths.items()
    }


def _method(case: Case[Method], split: Split | None = None, other: Mapping[str, Tensor] | None = None) -> Method:
    """The method on a split, with some of its tables replaced."""
    needs, split, tables = case.plugin.needs, split or small_split(), _tables(case) | dict(other or {})
    text = tables.pop("text")
    upstream = {name: known(table) for name, table in tables.items()}
    with torch_seed(0):
        backbone = _any_backbone() if "backbone" in needs else None
        parts = Parts(split.data.n_items, backbone, text if "text" in needs else None, upstream)
        method = case.plugin(case.config, parts)
    method.fit_counts(split)
    return method


def _trained(case: Case[Method]) -> Trained:
    method = _method(case)
    if not isinstance(method, Trained):
        raise Skipped("it trains nothing")
    return method


def _vector_method(case: Case[Method]) -> VectorMethod:
    method = _trained(case)
    if not isinstance(method, VectorMethod):
        raise Skipped("its score is not a product of a state and a vector")
    return method


def _histories(split: Split | None = None) -> Tensor:
    split = split or small_split()
    lengths = np.minimum(split.input_lengths("test"), 8)
    return torch.from_numpy(pad_right(split.data.items, split.data.offsets[split.users("test")], lengths))


def _batch(method: VectorMethod) -> Batch:
    batches = batches_of(method, small_split(), _PairwiseObjective(), TrainConfig(batch_size=12))
    if batches is None:
        raise Skipped("it has no backbone")
    return method.prepared(batch := next(batches.epoch(0, 1)), method.items(batch.rows))


@torch.no_grad()
def _scores(method: Method, histories: Tensor) -> Tensor:
    method.eval().begin_ranking()
    return method.scores(method.states(histories), slice(1, N_ITEMS + 1))


@torch.no_grad()
def blocks_of_items_have_the_scores_of_the_whole(case: Case[Method]) -> None:
    method, histories = _method(case).eval(), _histories()
    method.begin_ranking()
    states = method.states(histories)
    whole = method.scores(states, slice(1, N_ITEMS + 1))
    found, right = list(whole.shape), [len(histories), N_ITEMS]
    require(found == right, f"{right[0]} states and items 1 to {N_ITEMS} have scores of shape {found}, not {right}")
    require(torch.isfinite(whole).all(), "a score is not finite", "a division by a count of zero, a logarithm")
    blocks = [slice(first, min(first + 7, N_ITEMS + 1)) for first in range(1, N_ITEMS + 1, 7)]
    parts = torch.cat([method.scores(states, block) for block in blocks], dim=1)
    hint = "column 0 of a block belongs to item `items.start`; ids start at 1"
    require(torch.equal(whole, parts), "an item has a different score in a block than in the whole catalogue", hint)


@torch.no_grad()
def more_padding_changes_no_score(case: Case[Method]) -> None:
    method, histories = _method(case), _histories()
    given = histories.clone()
    plain, padded = _scores(method, histories), _scores(method, functional.pad(histories, (0, 2)))
    require(close(plain, padded), "more padding after a history changes its scores", "item 0 is padding, no item")
    require(torch.equal(given, histories), "states() changes the histories it is given", "operations in place")


@torch.no_grad()
def the_scores_of_a_history_do_not_depend_on_its_batch(case: Case[Method]) -> None:
    method, histories = _method(case), _histories()
    together = _scores(method, histories)
    alone = torch.cat([_scores(method, histories[row : row + 1]) for row in range(len(histories))])
    require(close(together, alone), "a history alone has different scores than among others", OVER_THE_BATCH)


def every_trained_weight_gets_a_gradient(case: Case[Method]) -> None:
    method, objective, config = _trained(case).train(), _PairwiseObjective(), TrainConfig(batch_size=12)
    batches = batches_of(method, small_split(), objective, config)
    for phase in phases_of(method):
        with moving(method, phase):
            source = phase.batches or (batches and batches.of(phase, configured(phase, config)))
            if source is None:
                raise Broken(f"phase '{phase.name}' has no batches -> without a backbone a phase brings its own")
            _begin(method, phase)
            batch = next(iter(source.epoch(0, 1)))
            value = backward_of(phase.loss, batch) if phase.loss else _backward(method, objective, batch, config)
            require(torch.isfinite(value.loss), f"the loss of phase '{phase.name}' is {value.loss.item()}")
            _require_gradients(method, phase)
        method.zero_grad()


def _begin(method: Trained, phase: Phase) -> None:
    """What comes before the first step of a phase."""
    method.eval()
    with torch.no_grad(), torch_seed(0):
        if phase.begin:
            phase.begin()
        if phase.begin_epoch:
            phase.begin_epoch(1)
    method.train()


def _backward(method: Trained, objective: Objective, batch: object, config: TrainConfig) -> Value:
    finding = "only a VectorMethod has a loss on the training histories"
    if not (isinstance(method, VectorMethod) and isinstance(batch, Batch)):
        raise Broken(f"a phase has no loss of its own -> {finding}")
    return backward(method, objective, batch, config)


def _require_gradients(method: Trained, phase: Phase) -> None:
    for name, weight in method.named_parameters():
        if not weight.requires_grad or name == "mask":  # the mask belongs to cloze tasks
            continue
        hint = f"phase '{phase.name}': a detach(), a weight that nothing uses; requires_grad=False where it should stay"
        require(weight.grad is not None, f"{name} has no gradient", hint)
        found = weight.grad if weight.grad is not None else weight
        require(torch.isfinite(found).all(), f"{name} has an infinite gradient")


@torch.no_grad()
def states_and_scores_are_float32_where_the_weights_are(case: Case[Method]) -> None:
    method, histories = _method(case).eval(), _histories()
    method.begin_ranking()
    states = method.states(histories)
    for name, found in (("states", states), ("scores", method.scores(states, slice(1, N_ITEMS + 1)))):
        finding = f"{name}() are {found.dtype} on {found.device}, should be float32 on {method.device}"
        hint = "a count of more than 2^24 has no float32 of its own: keep the order, not the number"
        require(found.dtype == torch.float32 and found.device == method.device, finding, hint)


@torch.no_grad()
def a_score_is_the_product_of_state_and_vector(case: Case[Method]) -> None:
    method, histories = _vector_method(case), _histories()
    scores = _scores(method, histories)
    vectors = method.similarity.of_vectors(method.items(torch.arange(1, N_ITEMS + 1)))
    product = method.states(histories) @ vectors.T
    found, right = list(product.shape), list(scores.shape)
    require(found == right, f"states @ items(1..{N_ITEMS}).T has the shape {found}, the scores have {right}")
    hint = "items(ids) gives vectors of ids 1..n_items, and scores() column 0 is item `items.start`"
    require(close(scores, product, atol=1e-4), "scores are not the products of states and item vectors", hint)


@torch.no_grad()
def training_and_ranking_have_the_same_states(case: Case[Method]) -> None:
    method = _vector_method(case).eval()
    if not isinstance(method.task, NextItem):
        raise Skipped("it trains on hidden items")
    batch = _batch(method)
    trained = method.states_of(batch, method.items(batch.rows))
    prefixes = [row[: position + 1] for group in batch.inputs for row in group for position in range(group.shape[1])]
    histories = pad_sequence(
        [batch.rows[prefixes[position] - 1] for position in batch.target_positions.tolist()], batch_first=True
    )
    method.begin_ranking()
    trained = method.similarity.of_states(method.ranking_states(trained, (histories != PAD).sum(1)))
    hint = "both read the history up to the event before the target"
    finding = "states_of() in training gives different states than states() in ranking after the same history"
    require(close(trained, method.states(histories), atol=1e-4), finding, hint)


def _item_tables(case: Case[Method]) -> list[str]:
    """Which tables of vectors, a row an item, the method is given."""
    needed = [name for name in _tables(case) if name != "text" or "text" in case.plugin.needs]
    if not needed:
        raise Skipped("it has no vectors from text or an upstream recommender")
    return sorted(needed)


def row_i_of_text_and_teacher_belongs_to_item_i(case: Case[Method]) -> None:
    _vector_method(case)
    for table in _item_tables(case):
        plain = _noisy(case)
        used = _losses(plain) != _losses(_noisy(case, {table: _tables(case)[table].flip(1)}))
        for item in (1, 2, 7, 20, N_ITEMS - 1, N_ITEMS):
            distances = (plain.catalogue() - _noisy(case, {table: _moved(case, table, item)}).catalogue()).norm(dim=1)
            moved = int(distances.argmax()) + 1 if distances.max() > 1e-6 else None
            finding = f"row {item} of `parts.{table}` moves the vector of item {moved} more than that of item {item}"
            look = "row 0 is padding, row i is item i: text[ids], or text[1:][ids - 1]"
            require(moved in (item, None) or _vectors_follow_their_items(case), finding, look)
            used = used or moved is not None
        require(used, f"it needs '{table}', but neither a vector nor the auxiliary loss depends on it")


@torch.no_grad()
def _vectors_follow_their_items(case: Case[Method]) -> bool:
    """Whether items have the same vectors under other numbers: a method that looks at all rows at once, as whitening
    does, may move other items more than the one whose row is another."""
    other, number = _under_other_numbers(case)
    return close(other.catalogue()[number[1:] - 1], _noisy(case).catalogue(), atol=1e-3)


@torch.no_grad()
def _under_other_numbers(case: Case[Method]) -> tuple[VectorMethod, Tensor]:
    """The method of `_noisy` where the same items have other numbers, and the number there of each id."""
    order = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(2))
    taken, number = functional.pad(order + 1, (1, 0)), functional.pad(order.argsort() + 1, (1, 0))
    tables = {name: table[taken] for name, table in _tables(case).items()}
    other = _noisy(case, tables, renumbered(small_split(), order.numpy()))
    rows = {N_ITEMS: order, N_ITEMS + 1: taken}  # of weights with a row an item, and of those with one for padding too
    for weight, own in zip(other.parameters(), _noisy(case).parameters(), strict=True):
        weight.copy_(own[rows[len(own)]] if own.dim() and len(own) in rows else own)
    return other, number


@torch.no_grad()
def _losses(method: VectorMethod) -> list[float]:
    """What each phase takes beside the objective, of a batch."""
    batches = batches_of(method, small_split(), _PairwiseObjective(), TrainConfig(batch_size=12))
    found = []
    for phase in phases_of(method):
        source = phase.batches or (batches and batches.of(phase, TrainConfig(batch_size=12)))
        batch = next(iter(source.epoch(0, 1))) if source else None
        if phase.loss:
            found.append(float(phase.loss(batch)))
        elif isinstance(batch, Batch):
            vectors = method.items(batch.rows)
            batch = method.prepared(batch, vectors)
            more = method.history_loss(batch, method.states_of(batch, vectors), vectors)
            found += [float(method.auxiliary(batch, vectors)), 0.0 if more is None else float(more)]
    return found


def _moved(case: Case[Method], table: str, item: int) -> Tensor:
    """A table with another vector of one item."""
    found = _tables(case)[table]
    found[item] += 0.3 * torch.randn(found.shape[1], generator=torch.Generator().manual_seed(item))
    return found


def _noisy(case: Case[Method], other: Mapping[str, Tensor] | None = None, split: Split | None = None) -> VectorMethod:
    """With noise on all weights: one that starts at zero would hide what it is multiplied with."""
    method, draw = _method(case, split, other), torch.Generator().manual_seed(5)
    if not isinstance(method, VectorMethod):
        raise Skipped("it trains nothing")
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    return method.eval().requires_grad_(False)


def _auxiliary(method: VectorMethod, batch: Batch) -> float:
    """The auxiliary loss of a batch."""
    vectors = torch.randn(len(batch.rows), method.width, generator=torch.Generator().manual_seed(6))
    return float(method.auxiliary(batch, vectors))


def the_auxiliary_loss_reads_the_rows_of_its_items(case: Case[Method]) -> None:
    _vector_method(case)
    _item_tables(case)
    (other, number), plain = _under_other_numbers(case), _noisy(case)
    batch = _batch(plain)
    found, right = _auxiliary(other, replace(batch, rows=number[batch.rows])), _auxiliary(plain, batch)
    finding = f"the auxiliary loss of the same items under other numbers is {found:.5f} instead of {right:.5f}"
    require(
        abs(found - right) < 1e-4 * max(1, abs(right)), finding, "batch.rows are item ids: row i of a table is item i"
    )


def renumbering_the_items_changes_no_score(case: Case[Method]) -> None:
    if list(_method(case).parameters()):
        raise Skipped("its weights start at random")
    order = np.random.default_rng(2).permutation(N_ITEMS)
    split = renumbered(small_split(), order)
    taken = torch.from_numpy(np.concatenate([[0], order + 1]))
    tables = {name: table[taken] for name, table in _tables(case).items()}
    plain = _scores(_method(case), _histories())[:, torch.from_numpy(order)]
    hint = "ids start at 1: row or column i - 1 of an array without padding belongs to item i"
    finding = "the same items under other numbers have different scores, so a score belongs to another item"
    require(close(plain, _scores(_method(case, split, tables), _histories(split)), atol=1e-4), finding, hint)


class _PairwiseObjective(Objective):
    """Only asks for one negative."""

    sampling = Sampling(count=1)

    def __init__(self) -> None:
        super().__init__(Config())

    def forward(
        self,
        states: Tensor,
        vectors: Tensor,
        positives: Tensor,
        negatives: Negatives,
        weights: Tensor | None = None,
    ) -> Tensor:
        return (states * functional.embedding(positives, vectors)).sum(1).mean()


METHODS = (
    states_and_scores_are_float32_where_the_weights_are,
    blocks_of_items_have_the_scores_of_the_whole,
    more_padding_changes_no_score,
    the_scores_of_a_history_do_not_depend_on_its_batch,
    every_trained_weight_gets_a_gradient,
    a_score_is_the_product_of_state_and_vector,
    training_and_ranking_have_the_same_states,
    row_i_of_text_and_teacher_belongs_to_item_i,
    the_auxiliary_loss_reads_the_rows_of_its_items,
    renumbering_the_items_changes_no_score,
)
