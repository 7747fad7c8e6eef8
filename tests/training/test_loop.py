"""Training: the loss is what the formula says, early stopping keeps the best, NaN stops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_split
from llmemb_bench.contracts import Batch, Parts
from llmemb_bench.errors import DataError
from llmemb_bench.registry import find
from llmemb_bench.seeds import torch_seed
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.loop import ValidationScore, loss_of, train
from llmemb_bench.training.settings import TrainConfig


def configured(kind: str, name: str, **settings):
    found = find(kind, name).load()
    return found, found.config_type().model_validate(settings)


def plugin(kind: str, name: str, **settings):
    found, config = configured(kind, name, **settings)
    return found(config)


def world(backbone="sasrec", objective="bce", method="id_only", n_items=12, **settings):
    rng = np.random.default_rng(0)
    split = make_split([((np.arange(7) + rng.integers(n_items)) % n_items + 1).tolist() for _ in range(40)], n_items)
    with torch_seed(0):
        found, config = configured("methods", method, **settings)
        text = torch.nn.functional.pad(torch.randn(n_items, 10), (0, 0, 1, 0))
        teacher = torch.nn.functional.pad(torch.randn(n_items, 16), (0, 0, 1, 0))
        reader = plugin("backbones", backbone, dim=16, max_len=8, dropout=0.0)
        made = found(config, Parts(n_items, reader, text, teacher))
    goal = plugin("objectives", objective)
    return made, goal, TrainingBatches(split, reader, goal, 16)


def final_loss(method, objective, batches, epochs=30, seed=0, **settings):
    config = TrainConfig(epochs=epochs, learning_rate=0.01, **settings)
    with torch_seed(seed):
        return train(method, objective, batches, config, lambda: ValidationScore(0.0), seed)


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec", "bert4rec"])
@pytest.mark.parametrize("objective", ["bce", "cross_entropy"])
def test_every_backbone_learns_a_cyclic_world_with_every_objective(backbone, objective):
    method, goal, batches = world(backbone, objective)
    log = final_loss(method, goal, batches, epochs=80, patience=80)
    assert log.events[-1]["loss"] < 0.4 * log.events[0]["loss"]


def test_the_loss_of_a_batch_is_the_formula_by_hand():
    method, goal, _ = world()
    batch = Batch(
        rows=torch.tensor([3, 7, 9]),
        inputs=torch.tensor([[1, 2, 0]]),
        places=torch.tensor([0, 1]),
        positives=torch.tensor([1, 2]),
        negatives=torch.tensor([[0], [0]]),
    )
    vectors = method.table.weight[[2, 6, 8]]
    x = torch.cat([vectors[:2], torch.zeros(1, 16)])[None]
    states = method.backbone(x, torch.tensor([[True, True, False]]))[0, :2]
    hits = (states * vectors[1:]).sum(1)
    misses = (states * vectors[:1]).sum(1)
    by_hand = -torch.log(torch.sigmoid(hits)).mean() - torch.log(1 - torch.sigmoid(misses)).mean()
    torch.testing.assert_close(loss_of(method, goal, batch), by_hand)


def test_llmemb_keeps_its_table_frozen_and_adds_the_weighted_alignment():
    method, goal, batches = world(method="llmemb", alignment={"weight": 0.5})
    batch = next(batches.epoch(np.random.default_rng(0)))
    before = method.text.clone()
    vectors = method.items(batch.rows)
    rows = batch.positives.unique()
    left, right = method.goal[batch.rows[rows]], vectors[rows]
    logits, targets = left @ right.T / 2, (2 * (left @ left.T + right @ right.T) / 2).softmax(1)
    rowwise = -(targets * logits.log_softmax(1)).sum(1)
    columnwise = -(targets.T * logits.T.log_softmax(1)).sum(1)
    torch.testing.assert_close(method.auxiliary(batch, vectors), 0.5 * ((rowwise + columnwise) / 2).mean())
    final_loss(method, goal, batches, epochs=2)
    assert torch.equal(method.text, before)
    assert "text" not in dict(method.named_parameters())


def test_alignment_over_repeats_is_the_published_setting_and_differs():
    method, _, batches = world(method="llmemb")
    repeated, _, _ = world(method="llmemb", alignment={"over": "repeats"})
    batch = next(batches.epoch(np.random.default_rng(0)))
    values = [made.auxiliary(batch, made.items(batch.rows)) for made in (method, repeated)]
    assert len(batch.positives) > len(batch.positives.unique())
    assert not torch.isclose(*values)


def test_early_stopping_keeps_the_best_epochs_weights():
    method, goal, batches = world()
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    kept = []

    def validate() -> ValidationScore:
        kept.append({name: weight.clone() for name, weight in method.state_dict().items()})
        return ValidationScore(next(scores))

    log = train(method, goal, batches, TrainConfig(epochs=6, patience=3), validate, 0)
    assert (log.best_epoch, log.best_score, len(log.events)) == (2, 0.5, 5)  # the 0.9 is never reached
    for name, weight in method.state_dict().items():
        assert torch.equal(weight, kept[1][name])


def test_training_twice_gives_the_same_weights():
    results = []
    for _ in range(2):
        method, goal, batches = world()
        final_loss(method, goal, batches, epochs=3)
        results.append(method.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_a_nan_loss_stops_with_the_epoch_and_the_step():
    method, goal, batches = world()
    with torch.no_grad():
        method.table.weight[5] = float("nan")
    with pytest.raises(DataError, match="the loss is nan in epoch 1, step 1"):
        final_loss(method, goal, batches)


def test_the_published_bidirectional_attention_sees_its_own_target():
    """Row 1 of the known defects: the setting exists, and it is the one that leaks."""
    x, real = torch.randn(1, 6, 16), torch.ones(1, 6, dtype=torch.bool)
    other = x.clone()
    other[:, 5] *= -1
    for attention, leaks in (("causal", False), ("bidirectional", True)):
        with torch_seed(0):
            backbone = plugin("backbones", "sasrec", dim=16, attention=attention).eval()
        moved = not torch.allclose(backbone(x, real)[:, :5], backbone(other, real)[:, :5], atol=1e-6)
        assert moved == leaks
