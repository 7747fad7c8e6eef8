"""Training batches: what is predicted from what, and negatives that are negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_split
from llmemb_bench.contracts import Parts
from llmemb_bench.errors import DataError
from llmemb_bench.ids import PAD, mask_id
from llmemb_bench.registry import find
from llmemb_bench.training.batches import TrainingBatches


def plugin(kind: str, name: str, **settings):
    found = find(kind, name).load()
    return found(found.config_type().model_validate(settings))


def batches(split, backbone="sasrec", objective="bce", batch_size=4, max_len=5, **settings):
    return TrainingBatches(
        split,
        plugin("backbones", backbone, dim=8, max_len=max_len),
        plugin("objectives", objective, **settings),
        batch_size,
    )


def global_ids(batch, n_items: int) -> np.ndarray:
    """The batch's inputs as catalogue ids."""
    table = np.concatenate([[PAD], batch.rows.numpy(), [mask_id(n_items)]])
    return table[batch.inputs.numpy()]


def test_every_position_predicts_the_next_training_event():
    split = make_split([[1, 2, 3, 4, 8, 9]], 9)
    (batch,) = batches(split).epoch(np.random.default_rng(0))
    assert global_ids(batch, 9).tolist() == [[1, 2, 3]]
    assert batch.rows[batch.positives].tolist() == [2, 3, 4]  # 8 and 9 are held out
    assert batch.places.tolist() == [0, 1, 2]


def test_a_long_history_keeps_its_latest_events():
    split = make_split([[1, 2, 3, 4, 5, 6, 7, 8, 9, 9]], 9)
    (batch,) = batches(split, max_len=3).epoch(np.random.default_rng(0))
    assert global_ids(batch, 9).tolist() == [[5, 6, 7]]
    assert batch.rows[batch.positives].tolist() == [6, 7, 8]


def test_every_user_with_two_training_events_is_seen_once_an_epoch(random_split):
    split = random_split(3, n_users=50)
    made = batches(split, batch_size=7)
    found = [int((row != PAD).sum()) for batch in made.epoch(np.random.default_rng(1)) for row in batch.inputs]
    wanted = np.minimum(split.n_train[split.n_train >= 2] - 1, 5)
    assert sorted(found) == sorted(wanted.tolist())
    assert len(list(made.epoch(np.random.default_rng(1)))) == len(made)


def test_negatives_are_uniform_items_outside_the_training_history():
    split = make_split([[1, 2, 3, 9, 9]] * 3000, 9)
    counts = np.zeros(10)
    for batch in batches(split, negatives=2, batch_size=500).epoch(np.random.default_rng(0)):
        counts += np.bincount(batch.rows[batch.negatives].ravel(), minlength=10)
    assert counts[[0, 1, 2, 3]].sum() == 0
    expectation = counts.sum() / 6
    # Chi-square with 5 degrees of freedom: 20.5 is the 0.1 % point. Item 9 is only held out, so it may be drawn.
    assert ((counts[4:] - expectation) ** 2 / expectation).sum() < 20.5


def test_a_user_with_every_item_in_training_is_an_error_and_not_a_hang():
    split = make_split([[1, 2, 3, 1, 2]], 3)
    with pytest.raises(DataError, match="has every item in training"):
        batches(split)
    batches(split, objective="cross_entropy")


def test_a_cloze_batch_hides_places_and_predicts_what_stood_there():
    split = make_split([[1, 2, 3, 4, 5, 6, 7]] * 200, 9)
    made = list(batches(split, backbone="bert4rec", batch_size=50).epoch(np.random.default_rng(0)))
    random_half, last_half = made[:4], made[4:]
    hidden = 0
    for batch in made:
        ids = global_ids(batch, 9)
        truth = np.broadcast_to([1, 2, 3, 4, 5], ids.shape)
        masked = ids == mask_id(9)
        assert (ids[~masked] == truth[~masked]).all()
        assert batch.places.tolist() == np.flatnonzero(masked).tolist()
        assert batch.rows[batch.positives].tolist() == truth[masked].tolist()
        assert masked.any(1).all()
        hidden += masked.sum()
    assert 0.5 < sum((global_ids(batch, 9) == mask_id(9)).mean() for batch in random_half) / 4 < 0.7
    assert all((global_ids(batch, 9) == mask_id(9)).tolist() == [[False] * 4 + [True]] * 50 for batch in last_half)


def test_a_cloze_model_ranks_at_a_position_that_it_was_trained_on():
    split = make_split([[1, 2, 3, 4, 5, 6, 7, 8, 9]], 9)
    made = batches(split, backbone="bert4rec", max_len=4)
    assert max(batch.inputs.shape[1] for batch in made.epoch(np.random.default_rng(0))) == 4
    method_type = find("methods", "id_only").load()
    backbone = plugin("backbones", "bert4rec", dim=8, max_len=4)
    method = method_type(method_type.config_type()(), Parts(n_items=9, backbone=backbone))
    assert method.max_len == 3  # and the mask is the fourth
    method.eval()
    with torch.no_grad():
        method.begin_ranking()
        assert method.states(torch.tensor([[1, 2, 3], [1, PAD, PAD]])).shape == (2, 8)


def test_the_same_seed_gives_the_same_epoch_and_another_another(random_split):
    split = random_split(1)
    made = batches(split)

    def epoch(seed: int) -> list[list[int]]:
        return [batch.rows.tolist() for batch in made.epoch(np.random.default_rng(seed))]

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
