"""Every target has the same weight, whatever the length of its history: counted in the gradient itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from llmemb_bench.contracts import Objective, Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.entries import find
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.batches import TrainingBatches, even_edges
from llmemb_bench.training.gradients import backward
from tests.helpers.plugins import plugin
from tests.helpers.some import some
from tests.helpers.splits import make_split

DIM = 4


class CountsWeights(Objective):
    """Its gradient by a positive's vector is the weight of that target in each coordinate, and nothing else."""

    config: Config

    def forward(self, states, vectors, positives, negatives):
        return vectors[positives].sum(1).mean() + 0.0 * states.sum()


def world(lengths: list[int], config: TrainConfig, backbone: str = "sasrec", max_len: int = 40, **settings):
    """Histories in which every event is an item of its own, so that an item's gradient is one target's weight."""
    edges = np.concatenate([[0], np.cumsum([length + 2 for length in lengths])])
    split = make_split([list(range(start + 1, end + 1)) for start, end in pairwise(edges)], edges[-1])
    reader = plugin("backbones", backbone, dim=DIM, max_len=max_len, **settings)
    method_type = find("methods", "id_only").load()
    method = method_type(method_type.config_type()(), Parts(int(edges[-1]), reader))
    objective = CountsWeights(Config())
    return split, method, objective, TrainingBatches(split, reader, objective, config)


def weights_of_an_epoch(method, objective, batches, config, epochs: int = 1) -> np.ndarray:
    """[ids] the weight of each item as a target, summed over all steps; item 1 first."""
    for epoch in range(1, epochs + 1):
        for batch in batches.epoch(3, epoch):
            backward(method, objective, batch, config)
    gradient = method.table.weight.grad
    assert torch.equal(gradient, gradient[:, :1].expand_as(gradient))
    return gradient[:, 0].double().numpy() / epochs


def targets_of(split) -> np.ndarray:
    """[ids] 1 for the training events that can be predicted from others before them."""
    found = np.zeros(split.data.n_items)
    for start, count in zip(split.data.offsets[:-1], split.n_train, strict=True):
        found[start + 1 : start + count] = 1
    return found


LENGTHS = [1, 2, 2, 2, 3, 3, 5, 8, 13, 21, 34, 2, 2, 3, 40, 1, 1, 2, 7]  # training events


@pytest.mark.parametrize("targetless", ["leave_out", "count"])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"scores_mb": 1}])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_target_weighs_the_same_whatever_its_historys_length(batch_size, settings, targetless):
    config = TrainConfig(batch_size=batch_size, targetless=targetless, **settings)
    split, method, objective, batches = world(LENGTHS, config)
    weights = weights_of_an_epoch(method, objective, batches, config)
    expected = targets_of(split) / targets_of(split).sum() * len(batches)  # the mean weight of a step is one
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_a_batch_of_fewer_targets_weighs_them_like_every_other():
    config = TrainConfig(batch_size=18)
    split, method, objective, batches = world([2] * 18 + [20], config)
    weights = weights_of_an_epoch(method, objective, batches, config)
    assert [len(batch.target_positions) for batch in batches.epoch(3, 1)] in ([18, 19], [19, 18])
    np.testing.assert_allclose(weights[targets_of(split) > 0], 2 / 37, rtol=1e-6)


def test_batches_hold_equally_many_targets_as_far_as_whole_histories_allow():
    lengths = np.random.default_rng(0).geometric(0.1, size=4000) + 1
    _, _, _, batches = world(lengths.tolist(), TrainConfig(batch_size=32))
    found = np.array([len(batch.target_positions) for batch in batches.epoch(3, 1)])
    assert len(found) == len(batches) == 125
    assert found.sum() == np.minimum(lengths - 1, 40).sum()
    assert np.abs(found - batches.targets_per_step).max() < 2 * 40 + 0.03 * batches.targets_per_step
    assert np.std(found) < 0.06 * batches.targets_per_step  # of random users: 0.16


@pytest.mark.parametrize(("targets", "n_batches", "edges"), [
    ([1, 1, 1, 1, 1, 1], 3, [2, 4]),
    ([1, 1, 1, 1, 4, 4], 3, [4, 5]),
    ([1, 1, 1, 40], 4, [1, 2, 3]),
    ([40, 1, 1, 1], 4, [1, 2, 3]),
    ([1, 1, 1, 40], 2, [3]),
    ([7], 1, []),
])  # fmt: skip
def test_a_pool_is_cut_where_the_targets_are_even_and_nothing_is_left_empty(targets, n_batches, edges):
    assert even_edges(np.array(targets, dtype=float), n_batches).tolist() == edges


def test_what_a_method_says_of_each_history_weighs_them_alike_whatever_their_length():
    class SaysOfEach(find("methods", "id_only").load()):
        def history_loss(self, batch, states, vectors):
            owned = states[batch.last_targets].sum() * 0
            return vectors[batch.positives[batch.last_targets]].sum(1).mean() + owned

    config = TrainConfig(batch_size=4, accumulate=2)
    split, _, objective, batches = world(LENGTHS, config)
    method = SaysOfEach(SaysOfEach.config_type()(), Parts(split.data.n_items, batches.backbone))
    for batch in batches.epoch(3, 1):
        backward(method, objective, replace(batch, targets_per_step=float("inf")), config)
    weights = method.table.weight.grad[:, 0].numpy()
    able = split.n_train >= 2
    last = (split.data.offsets[:-1] + split.n_train - 1)[able]
    np.testing.assert_allclose(weights[last], len(batches) / able.sum(), rtol=1e-6)
    assert np.count_nonzero(weights) == able.sum()


def test_a_backbone_that_predicts_last_events_only_weighs_users_alike():
    config = TrainConfig(batch_size=4)
    split, method, objective, batches = world(LENGTHS, config, "gru4rec", targets="last")
    weights = weights_of_an_epoch(method, objective, batches, config)
    last = split.data.offsets[:-1] + split.n_train - 1
    expected = np.zeros(split.data.n_items)
    expected[last[split.n_train >= 2]] = len(batches) / (split.n_train >= 2).sum()
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_hidden_places_of_a_cloze_task_weigh_alike_in_expectation():
    """An event is hidden with chance h, the last one once more for certain, and alone where nothing else was hidden."""
    config, hidden, epochs = TrainConfig(batch_size=12), 0.3, 200
    split, method, objective, batches = world(LENGTHS, config, "bert4rec", hidden=hidden)
    weights = weights_of_an_epoch(method, objective, batches, config, epochs)
    chance = np.zeros(split.data.n_items)
    for start, count in zip(split.data.offsets[:-1], split.n_train, strict=True):
        if count >= 2:
            chance[start : start + count] = hidden
            chance[start + count - 1] += 1 + (1 - hidden) ** count
    expected = chance / chance.sum() * len(batches)
    spread = np.sqrt(hidden * (1 - hidden) / epochs) * len(batches) / chance.sum()  # of one event's mean
    assert np.abs(weights - expected).max() < 5 * spread
    by_length = [weights[split.data.offsets[user] : split.data.offsets[user] + 2].mean() for user in (9, 10, 14)]
    np.testing.assert_allclose(by_length, hidden / chance.sum() * len(batches), rtol=0.25)


def test_users_without_a_target_take_a_place_in_a_batch_where_that_is_asked_for():
    """The published code: 72 steps an epoch on Fashion, of which we take 31."""
    lengths = [1] * 30 + [3] * 10
    steps = {}
    for targetless in ("leave_out", "count"):
        config = TrainConfig(batch_size=4, targetless=targetless)
        _, _, _, batches = world(lengths, config)
        made = list(batches.epoch(0, 1))
        steps[targetless] = len(batches)
        assert sum(len(batch.target_positions) for batch in made) == 20
        assert all(len(batch.target_positions) for batch in some(made))
    assert steps == {"leave_out": 3, "count": 10}


@pytest.mark.parametrize(
    ("shown", "expected"), [([0.0, 0.0], (1, 0)), ([0.1, 0.1], (0.8, 0.1)), ([0.5, 0.0], (0.5, 0))]
)
def test_hidden_places_show_mask_random_item_or_themselves(shown, expected):
    """BERT's 80/10/10: what is predicted stays the hidden item; the copies with the last place hidden keep the mask."""
    config = TrainConfig(batch_size=4000)
    _, _, _, batches = world([20] * 400, config, "bert4rec", hidden=0.5, shown=shown)
    (batch,) = batches.epoch(0, 1)
    (group,) = batch.inputs
    read, wanted = group.ravel()[batch.target_positions], batch.positives + 1
    owners = torch.div(batch.target_positions, group.shape[1], rounding_mode="floor")
    chosen = torch.bincount(owners)[owners] > 1  # one place in a history: hidden for being the last
    masked = (read[chosen] == len(batch.rows) + 1).double().mean().item()
    own = (read[chosen] == wanted[chosen]).double().mean().item()
    assert abs(masked - expected[0]) < 0.03
    assert abs(own - expected[1]) < 0.03
    assert (read[~chosen] == len(batch.rows) + 1).all()


def test_copies_with_random_places_hidden_and_with_the_last_one_are_in_the_same_batches():
    config = TrainConfig(batch_size=40)
    _, _, _, batches = world([20] * 200, config, "bert4rec", hidden=0.5)
    for batch in some(batches.epoch(0, 1)):
        single = torch.bincount(batch.owners) == 1
        assert 0.25 < single.double().mean() < 0.75
