"""What the training contract promises whatever the method: phases, weights of targets, tasks, similarities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.ids import PAD
from llmemb_bench.contracts import Backbone, Cosine, Extras, Negatives, NextItem, Phase, Reading, VectorMethod
from llmemb_bench.registry.scaffold import new_plugin
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing import run_checks
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.batches import POSITIONS_ASKED, TrainingBatches
from llmemb_bench.training.gradients import backward
from llmemb_bench.training.loop import ValidationScore, train
from tests.helpers.plugins import plugin
from tests.helpers.small_training import world
from tests.helpers.splits import make_split

OBJECTIVES = {
    "bce": {"negatives": 3},
    "gbce": {"negatives": 3},
    "sampled_softmax": {"negatives": 3},
    "cross_entropy": {},
}
UNTRAINED = '''"""wrong: weights that nobody trains."""

from llmemb_bench.registry.config import Config
from llmemb_bench.contracts import Method


class WrongConfig(Config):
    """None."""


class Wrong(Method):
    """Needs training and says not how."""

    config: WrongConfig
    needs = frozenset({"training"})
'''


def test_a_method_that_needs_training_and_has_no_phases_is_refused_by_name(package: Path):
    new_plugin("methods", "wrong", package).write_text(UNTRAINED)
    [result] = run_checks("methods", "wrong")
    assert "Wrong needs 'training' and has no phases(): derive it from VectorMethod or Trained" in result.reason


def test_a_method_with_phases_that_does_not_need_training_is_refused_too():
    with pytest.raises(TypeError, match=r"Quiet has phases\(\) and .*: add 'training' to its needs"):
        type("Quiet", (VectorMethod,), {"needs": frozenset({"backbone"})})


def trained(method, goal, batches, **settings):
    return train(method, goal, batches, TrainConfig(**settings), lambda: ValidationScore(0.5), 0)


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([], r"declares the phases \[\]; at least one"),
        ([Phase(name="a"), Phase(name="a")], r"declares the phases \['a', 'a'\]"),
        (
            [Phase(name="a", weights=("adapter.",))],
            "phase 'a' of IdOnly has no weight to train: .*the phase names 'adapter.'",
        ),
    ],
)
def test_phases_that_train_nothing_are_refused(phases, said):
    method, goal, batches = world()
    method.phases = lambda: phases
    with pytest.raises(SpecError, match=said):
        trained(method, goal, batches)


def test_frozen_weights_all_of_them_are_refused():
    method, goal, batches = world()
    method.requires_grad_(False)
    with pytest.raises(SpecError, match="the method lets none be trained"):
        trained(method, goal, batches)


def test_a_phase_moves_its_weights_and_no_others_on_its_own_schedule():
    method, goal, batches = world()
    begun: list[tuple[str, int]] = []

    def hook(name):
        return lambda epoch=0: begun.append((name, epoch))

    method.phases = lambda: [
        Phase(name="table", weights=("table",), epochs=2, batch_size=8, early_stopping=False, begin=hook("table")),
        Phase(name="rest", weights=("backbone.",), steps=4, begin=hook("rest"), begin_epoch=hook("rest")),
    ]
    before = {name: weight.clone() for name, weight in method.state_dict().items()}
    end = trained(method, goal, batches, epochs=50, patience=50)
    moved = {
        name.split(".")[0] for name, weight in method.state_dict().items() if not torch.equal(weight, before[name])
    }
    assert moved == {"table", "backbone"}
    assert [(event["phase"], event["step"]) for event in end.events] == [
        ("table", 5),  # 40 histories, 8 a step
        ("table", 10),
        ("rest", 3),
        ("rest", 4),
    ]
    assert ["validation" in event for event in end.events] == [False, True, True, True]
    assert begun == [("table", 0), ("rest", 0), ("rest", 1), ("rest", 2)]
    assert all(weight.requires_grad for weight in method.parameters())


def test_a_phase_that_measures_itself_keeps_what_it_measured_best():
    method, goal, batches = world()
    found: list[float] = []

    def measure() -> float:
        found.append(-float(method.table.weight.square().sum()))
        return found[-1]

    method.phases = lambda: [Phase(name="own", monitor=measure, epochs=3)]
    end = trained(method, goal, batches, learning_rate=0.01)
    assert end.best_score == max(found[:-1]) == found[-1]
    assert len(set(found)) > 2


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_weight_of_a_target_counts_what_it_costs_so_often(objective):
    states, vectors = torch.randn(2, 5, 4, dtype=torch.float64)
    states.requires_grad_()
    vectors.requires_grad_()
    positives, rows = torch.tensor([0, 2, 1, 4, 3]), torch.randint(5, (5, 3))
    negatives = Negatives(rows, torch.rand(5, 3, dtype=torch.float64), torch.rand(5, 3) < 0.7, 50)
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    goal = plugin("objectives", objective, **OBJECTIVES[objective])
    found = goal(states, vectors, positives, negatives, weights)
    alone = [
        goal(states[row : row + 1], vectors, positives[row : row + 1], negatives.of(torch.tensor([row])))
        for row in range(5)
    ]
    by_hand = sum(weight * cost for weight, cost in zip(weights, alone, strict=True)) / 5
    torch.testing.assert_close(found, by_hand)
    for left, right in zip(*(torch.autograd.grad(value, (states, vectors)) for value in (found, by_hand)), strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}], ids=str)
def test_weights_of_a_batch_reach_the_gradient_in_every_part(settings):
    method, goal, batches = world()
    batch = next(batches.epoch(0, 1))
    gradients = {}
    for weight in (None, 1.0, 2.0):
        method.zero_grad()
        weighted = (
            batch if weight is None else replace(batch, weights=torch.full((len(batch.target_positions),), weight))
        )
        backward(method, goal, weighted, TrainConfig(**settings))
        gradients[weight] = method.table.weight.grad.clone()
    torch.testing.assert_close(gradients[1.0], gradients[None])
    torch.testing.assert_close(gradients[2.0], 2 * gradients[None])


class EveryOther(NextItem):
    """A third party's task: only even positions are predicted."""

    def expected_targets(self, lengths):
        return lengths[None] // 2

    def read(self, histories, copies, n_items, rng):
        found = super().read(histories, copies, n_items, rng)
        return Reading(found.inputs, found.targets, found.predicted & (np.arange(found.targets.shape[1]) % 2 == 0))


def test_a_task_of_ones_own_says_what_is_predicted():
    split = make_split([[1, 2, 3, 4, 5, 6, 8, 9]], 9)
    reader, goal = plugin("backbones", "sasrec", dim=8), plugin("objectives", "bce")
    made = TrainingBatches(split, reader, goal, TrainConfig(), task=EveryOther())
    (batch,) = made.epoch(0, 1)
    assert batch.rows[batch.positives].tolist() == [2, 4, 6]
    assert batch.targets_per_step == 3.0


def test_a_target_knows_its_history_in_a_batch_and_in_its_parts():
    split = make_split([list(range(1, length + 3)) for length in (2, 5, 9, 3, 7, 2, 12)], 14)
    reader, goal = plugin("backbones", "sasrec", dim=8), plugin("objectives", "bce")
    (whole,) = TrainingBatches(split, reader, goal, TrainConfig()).epoch(0, 1)
    for batch in (whole, *(whole.micro_batch(number, 3) for number in range(3))):
        counts = split.n_train[batch.users] - 1
        assert batch.owners.tolist() == np.repeat(np.arange(len(batch.users)), counts).tolist()
        assert batch.last_targets.tolist() == (np.cumsum(counts) - 1).tolist()


def test_histories_that_are_asked_for_come_in_the_order_in_which_they_were_asked_for():
    method, _, batches = world()
    method.eval()
    asked = np.array([[3, 4, 0], [5, 0, 0], [1, 2, 3], [6, 7, 0]])
    batches.ask = lambda users, step, rng: Extras(histories={"own": asked})
    batch = next(batches.epoch(0, 1))
    with torch.no_grad():
        states = method.last_states(batch.histories["own"], method.items(batch.rows))
        method.begin_ranking()
        torch.testing.assert_close(states, method.states(torch.from_numpy(asked)))


@pytest.mark.parametrize("asked", [np.zeros((2, 3), dtype=np.int64), np.ones((1, 99), dtype=np.int64)])
def test_histories_that_no_model_reads_are_refused(asked):
    _, _, batches = world()
    batches.ask = lambda users, step, rng: Extras(histories={"own": asked})
    with pytest.raises(ValueError, match="histories 'own' in a batch"):
        next(batches.epoch(0, 1))
    batches.ask = lambda users, step, rng: Extras(histories={"own": np.ones((POSITIONS_ASKED + 1, 1), dtype=np.int64)})
    with pytest.raises(ValueError, match="1,048,576 together"):
        next(batches.epoch(0, 1))


def test_a_cosine_ranks_by_cosines_whatever_the_block():
    method, _, batches = world(n_items=40)
    method.eval()
    histories = torch.from_numpy(batches.split.training_histories(np.arange(9), 8))
    with torch.no_grad():
        method.begin_ranking()
        plain = method.states(histories).double()
        method.similarity = Cosine(0.5)
        method.begin_ranking()
        states = method.states(histories)
        scores = method.scores(states, slice(1, 41))
        blocks = [method.scores(states, slice(first, first + 8)) for first in range(1, 41, 8)]
        vectors = method.table.weight.double()
    right = plain @ vectors.T / plain.norm(dim=1, keepdim=True) / vectors.norm(dim=1) / 0.5
    torch.testing.assert_close(scores.double(), right, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.cat(blocks, dim=1), scores)


def test_a_fitted_recommender_stands_still_and_has_states_of_any_history():
    upstream = known(torch.nn.functional.pad(torch.randn(9, 8), (0, 0, 1, 0)))
    assert not any(weight.requires_grad for weight in upstream.method.parameters())
    assert torch.equal(upstream.vectors[0], torch.zeros(8))
    long = torch.randint(1, 10, (1, 25))
    ragged = torch.cat([torch.cat([long, torch.full((1, 5), PAD)], dim=1), torch.full((1, 30), PAD)])
    ragged[1, :2] = torch.tensor([3, 4])
    latest = long[:, -upstream.method.max_len :]
    torch.testing.assert_close(upstream.states(ragged)[:1], upstream.states(latest))
    torch.testing.assert_close(upstream.states(ragged)[1:], upstream.states(torch.tensor([[3, 4]])))


def test_a_task_that_is_a_word_is_refused_where_the_class_stands():
    with pytest.raises(TypeError, match=r"task of Old is 'cloze', should be a Task: NextItem\(\) or Cloze"):
        type("Old", (Backbone,), {"task": "cloze"})
