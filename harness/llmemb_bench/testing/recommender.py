"""Checks of the kinds that stage 2 is made of: backbones, methods, objectives, metrics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import (
    Backbone,
    Method,
    Metric,
    Negatives,
    Objective,
    Parts,
    Sampling,
    VectorMethod,
)
from llmemb_bench.data.padding import pad_right
from llmemb_bench.registry import entries
from llmemb_bench.seeds import torch_seed
from llmemb_bench.testing.case import Case, Skipped, small_split
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.settings import TrainConfig

# --- backbones ---


def _backbone(case: Case[Backbone]) -> Backbone:
    with torch_seed(0):
        return case.plugin(case.config)


def _sequences(case: Case[Backbone], *lengths: int) -> tuple[Tensor, Tensor]:
    """Random vectors and which positions are real."""
    longest = max(lengths)
    x = torch.randn(len(lengths), longest, case.config.dim, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(longest) < torch.tensor(lengths)[:, None]


@torch.no_grad()
def changing_the_future_leaves_the_past_unchanged(case: Case[Backbone]) -> None:
    if case.plugin.task != "next_item":
        raise Skipped("a cloze task may look both ways")
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 9, 9)
    before = backbone(x, real)
    for place in range(1, 9):
        other = x.clone()
        other[:, place:] *= -1  # a shift would vanish in a LayerNorm
        assert torch.allclose(before[:, :place], backbone(other, real)[:, :place], atol=1e-5), f"sees {place} early"


@torch.no_grad()
def a_hidden_place_sees_both_sides(case: Case[Backbone]) -> None:
    if case.plugin.task != "cloze":
        raise Skipped("a next-item task may only look back")
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 9)
    before = backbone(x, real)[:, 4]
    for place in (0, 8):
        other = x.clone()
        other[:, place] *= -1
        assert not torch.allclose(before, backbone(other, real)[:, 4], atol=1e-6), f"does not see {place}"


@torch.no_grad()
def more_padding_and_its_content_change_nothing(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 6, 3, 1)
    before = backbone(x, real)[real]
    padded, more = functional.pad(x, (0, 0, 0, 5)), functional.pad(real, (0, 5), value=False)
    noisy = torch.where(more[..., None], padded, torch.full_like(padded, 3.0))
    for other in (padded, noisy):
        assert torch.allclose(before, backbone(other, more)[more], atol=1e-5)


def gradients_are_finite_on_a_history_of_one_event(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).train(), _sequences(case, 1, 4)
    x.requires_grad_()
    torch.autograd.backward(backbone(x, real)[real].square().sum())
    for name, weight in [("x", x), *backbone.named_parameters()]:
        assert weight.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(weight.grad).all(), f"{name} has an infinite gradient"


@torch.no_grad()
def saved_weights_give_the_same_states(case: Case[Backbone]) -> None:
    backbone, (x, real) = _backbone(case).eval(), _sequences(case, 5, 2)
    with torch_seed(1):
        other = case.plugin(case.config).eval()
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(backbone(x, real), other(x, real))


def groups_of_histories_have_the_states_and_gradients_of_each_alone(case: Case[Backbone]) -> None:
    backbone = _backbone(case).eval()  # dropout draws otherwise where more is drawn for
    groups = [_sequences(case, *lengths) for lengths in ((7, 7), (5, 2, 1), (4,))]
    histories = [x[row][real[row]][None] for x, real in groups for row in range(len(x))]
    alone = torch.cat([backbone(x, torch.ones(x.shape[:2], dtype=torch.bool))[0] for x in histories])
    torch.autograd.backward(alone.square().sum())
    wanted = {name: weight.grad for name, weight in backbone.named_parameters()}
    backbone.zero_grad()
    together = backbone.forward_groups(torch.cat([x[real] for x, real in groups]), [real for _, real in groups])
    assert torch.allclose(together, alone, atol=1e-5), "other states than of each history alone"
    torch.autograd.backward(together.square().sum())
    for name, weight in backbone.named_parameters():
        found, right = weight.grad, wanted[name]
        assert found is not None, f"{name} has no gradient"
        assert right is not None, f"{name} has no gradient"
        assert torch.allclose(found, right, rtol=1e-3, atol=1e-4), f"{name} has another gradient"


def it_learns_one_batch_by_heart(case: Case[Backbone]) -> None:
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
    assert values[-1] < values[0] / 2, f"the loss went from {values[0]:.3f} to {values[-1]:.3f}"


BACKBONES = (
    changing_the_future_leaves_the_past_unchanged,
    a_hidden_place_sees_both_sides,
    more_padding_and_its_content_change_nothing,
    gradients_are_finite_on_a_history_of_one_event,
    saved_weights_give_the_same_states,
    groups_of_histories_have_the_states_and_gradients_of_each_alone,
    it_learns_one_batch_by_heart,
)

# --- methods ---


def _any_backbone() -> Backbone:
    """A small next-item backbone of the catalogue; which one does not matter to a method."""
    for entry in entries():
        if entry.kind == "backbones":
            plugin = entry.load()
            if issubclass(plugin, Backbone) and plugin.task == "next_item":
                return plugin(plugin.config_type().model_validate({"dim": 8, "max_len": 10}))
    raise Skipped("no backbone is installed")


def _method(case: Case[Method]) -> Method:
    split = small_split()
    with torch_seed(0):
        parts = Parts(
            n_items=split.data.n_items,
            backbone=_any_backbone() if "backbone" in case.plugin.needs else None,
            text=_table(16, split.data.n_items) if "text" in case.plugin.needs else None,
            teacher=_table(8, split.data.n_items) if "teacher" in case.plugin.needs else None,
        )
        method = case.plugin(case.config, parts)
    method.fit_counts(split)
    return method


def _table(dim: int, n_items: int) -> Tensor:
    return functional.pad(torch.randn(n_items, dim), (0, 0, 1, 0))


def _histories() -> Tensor:
    split = small_split()
    lengths = np.minimum(split.input_lengths("test"), 8)
    return torch.from_numpy(pad_right(split.data.items, split.data.offsets[split.users("test")], lengths))


@torch.no_grad()
def blocks_of_items_have_the_scores_of_the_whole(case: Case[Method]) -> None:
    method, histories = _method(case).eval(), _histories()
    method.begin_ranking()
    states = method.states(histories)
    whole = method.scores(states, slice(1, 41))
    assert whole.shape == (len(histories), 40)
    assert torch.isfinite(whole).all()
    parts = [method.scores(states, slice(first, min(first + 7, 41))) for first in range(1, 41, 7)]
    assert torch.equal(whole, torch.cat(parts, dim=1))


@torch.no_grad()
def more_padding_changes_no_score(case: Case[Method]) -> None:
    method, histories = _method(case).eval(), _histories()
    method.begin_ranking()
    plain = method.scores(method.states(histories), slice(1, 41))
    padded = method.scores(method.states(functional.pad(histories, (0, 2))), slice(1, 41))
    assert torch.allclose(plain, padded, atol=1e-5)


def every_trained_weight_gets_a_gradient(case: Case[Method]) -> None:
    method = _method(case).train()
    if not isinstance(method, VectorMethod):
        raise Skipped("it trains nothing")
    batches = TrainingBatches(small_split(), method.backbone, _PairwiseObjective(), TrainConfig(batch_size=4))
    batch = next(batches.epoch(0, 1))
    vectors = method.items(batch.rows)
    states = method.states_of(batch, vectors)
    torch.autograd.backward((states * vectors[batch.positives]).sum() + method.auxiliary(batch, vectors))
    for name, weight in method.named_parameters():
        if weight.requires_grad and name != "mask":  # the mask belongs to cloze tasks
            assert weight.grad is not None, f"{name} has no gradient"
            assert torch.isfinite(weight.grad).all(), f"{name} has an infinite gradient"


class _PairwiseObjective(Objective):
    """Only asks for one negative."""

    sampling = Sampling(count=1)

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, states: Tensor, vectors: Tensor, positives: Tensor, negatives: Negatives) -> Tensor:
        return states.sum()


METHODS = (
    blocks_of_items_have_the_scores_of_the_whole,
    more_padding_changes_no_score,
    every_trained_weight_gets_a_gradient,
)

# --- objectives ---


def _negatives(objective: Objective) -> Negatives:
    """Item 3 of three, as often as the objective asks for one, for each of two targets."""
    count = objective.sampling.count
    sets = 1 if objective.sampling.shared else 2
    expected = torch.full((sets, count), count / 3).log()
    return Negatives(torch.full((sets, count), 2), expected, None, n_items=3)


def a_better_positive_lowers_it_and_a_better_negative_raises_it(case: Case[Objective]) -> None:
    objective = case.plugin(case.config)
    states = torch.eye(4)[:2]
    negatives = _negatives(objective)
    wanted = torch.tensor([0, 1])

    def value(positive: float, negative: float) -> float:
        vectors = torch.zeros(3, 4)
        vectors[0, 0] = vectors[1, 1] = positive
        vectors[2, :2] = negative
        return float(objective(states, vectors, wanted, negatives).detach())

    assert value(1.0, 0.0) < value(0.5, 0.0) < value(0.0, 0.0)
    assert value(0.5, 1.0) > value(0.5, 0.5) > value(0.5, 0.0)


def it_is_a_mean_over_targets(case: Case[Objective]) -> None:
    """The harness weighs every target alike by multiplying means with the number of their targets."""
    objective = case.plugin(case.config)
    states, vectors = torch.split(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), [2, 3])
    negatives, wanted = _negatives(objective), torch.tensor([0, 1])
    once, twice = slice(0, 2), torch.tensor([0, 1, 0, 1])
    values = [objective(states[taken], vectors, wanted[taken], negatives.of(taken)).item() for taken in (once, twice)]
    assert abs(values[0] - values[1]) < 1e-5, f"the same targets twice give {values[1]:.4f} instead of {values[0]:.4f}"


def it_is_finite_with_finite_gradients_for_large_scores(case: Case[Objective]) -> None:
    objective = case.plugin(case.config)
    states = (50 * torch.eye(4)[:2]).requires_grad_()
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    negatives = _negatives(objective)
    value = objective(states, vectors, torch.tensor([0, 1]), negatives)
    assert value.shape == ()
    torch.autograd.backward(value)
    assert states.grad is not None
    assert vectors.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(states.grad).all()
    assert torch.isfinite(vectors.grad).all()


OBJECTIVES = (
    a_better_positive_lowers_it_and_a_better_negative_raises_it,
    it_is_a_mean_over_targets,
    it_is_finite_with_finite_gradients_for_large_scores,
)

# --- metrics ---


def the_first_rank_is_worth_one_and_none_less_than_the_next(case: Case[Metric]) -> None:
    gains = case.plugin(case.config).gain(np.arange(1, 1001))
    assert gains[0] == 1, f"rank 1 is worth {gains[0]}"
    assert (np.diff(gains) <= 0).all(), "a worse rank is worth more"
    assert (gains >= 0).all(), "a rank is worth less than nothing"


METRICS = (the_first_rank_is_worth_one_and_none_less_than_the_next,)
