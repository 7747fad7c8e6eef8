"""Training batches: what is predicted from what, and negatives that are negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.ids import PAD, mask_id
from llmemb_bench.contracts import Parts
from llmemb_bench.registry.entries import find
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.batches import TrainingBatches, split_by_length
from tests.helpers.plugins import plugin
from tests.helpers.some import some
from tests.helpers.splits import make_split


def batches(split, backbone="sasrec", objective="bce", batch_size=4, max_len=5, **given):
    return TrainingBatches(
        split,
        plugin("backbones", backbone, dim=8, max_len=max_len),
        plugin("objectives", objective, **given),
        TrainConfig(batch_size=batch_size),
    )


def rows_of(batch):
    """The histories of all groups."""
    return [row for group in batch.inputs for row in group]


def global_ids(batch, n_items: int) -> np.ndarray:
    """The batch's inputs as catalogue ids."""
    table = np.concatenate([[PAD], batch.rows.numpy(), [mask_id(n_items)]])
    (group,) = batch.inputs
    return table[group.numpy()]


def test_every_position_predicts_the_next_training_event():
    split = make_split([[1, 2, 3, 4, 8, 9]], 9)
    (batch,) = batches(split).epoch(0, 1)
    assert global_ids(batch, 9).tolist() == [[1, 2, 3]]
    assert batch.rows[batch.positives].tolist() == [2, 3, 4]  # 8 and 9 are held out
    assert batch.target_positions.tolist() == [0, 1, 2]


def test_a_long_history_keeps_its_latest_events():
    split = make_split([[1, 2, 3, 4, 5, 6, 7, 8, 9, 9]], 9)
    (batch,) = batches(split, max_len=3).epoch(0, 1)
    assert global_ids(batch, 9).tolist() == [[5, 6, 7]]
    assert batch.rows[batch.positives].tolist() == [6, 7, 8]


def test_every_user_with_two_training_events_is_seen_once_an_epoch(random_split):
    split = random_split(3, n_users=50)
    made = batches(split, batch_size=7)
    found = [int((row != PAD).sum()) for batch in made.epoch(1, 1) for row in rows_of(batch)]
    wanted = np.minimum(split.n_train[split.n_train >= 2] - 1, 5)
    assert sorted(found) == sorted(wanted.tolist())
    assert len(list(made.epoch(1, 1))) == len(made)


def drawn_ids(split, **settings) -> np.ndarray:
    """How often each item is drawn in an epoch."""
    counts = np.zeros(split.data.n_items + 1)
    for batch in batches(split, batch_size=500, **settings).epoch(0, 1):
        counts += np.bincount(batch.rows[batch.negatives.rows].ravel(), minlength=len(counts))
    return counts


def surprise(counts: np.ndarray, expected: np.ndarray) -> float:
    """Chi-square of counts against shares."""
    expected = counts.sum() * expected / expected.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_negatives_are_uniform_items_outside_the_training_history():
    split = make_split([[1, 2, 3, 9, 9]] * 3000, 9)
    counts = drawn_ids(split, negatives=2)
    assert counts[[0, 1, 2, 3]].sum() == 0
    # Chi-square with 5 degrees of freedom: 20.5 is the 0.1 % point. Item 9 is only held out, so it may be drawn.
    assert surprise(counts[4:], np.ones(6)) < 20.5


def test_a_share_of_the_negatives_is_drawn_by_training_popularity():
    split = make_split([[1, 2, 9, 9]] * 2000 + [[3, 3, 3, 4, 9, 9]] * 1000, 9)  # training: 1 and 2 2000, 3 3000, 4 1000
    counts = drawn_ids(split, objective="sampled_softmax", negatives=3, popularity=0.6)
    owners = {"first": np.array([0, 0, 3, 1, 0, 0, 0, 0, 0]) / 8, "second": np.array([2, 2, 0, 0, 0, 0, 0, 0, 0]) / 8}
    allowed = {"first": np.array([0, 0, 1, 1, 1, 1, 1, 1, 1]), "second": np.array([1, 1, 0, 0, 1, 1, 1, 1, 1])}
    expected = np.zeros(9)
    for owner, targets in (("first", 2000), ("second", 3000)):  # targets: one a history, and three
        chance = 0.6 * owners[owner] + 0.4 * allowed[owner] / 9
        expected += targets * chance / chance.sum()
    assert counts[0] == 0
    assert surprise(counts[1:], expected) < 26.1  # 8 degrees of freedom, 0.1 %


@pytest.mark.parametrize("shared", [False, True])
def test_the_log_q_correction_makes_the_estimated_sum_unbiased(shared):
    """The mean over many draws of sum_j exp(score_j) / expected_j is the sum over all items that are no positive."""
    split = make_split([[1, 2, 9, 9]] * 400 + [[3, 3, 3, 4, 9, 9]] * 200, 9)
    values = np.exp(np.linspace(-1, 1, 10))
    made = batches(split, objective="sampled_softmax", batch_size=600, negatives=4, popularity=0.5, shared=shared)
    estimates: dict[int, list[float]] = {1: [], 3: []}
    for epoch in range(1, 60):
        for batch in made.epoch(0, epoch):
            negatives = batch.negatives
            terms = values[batch.rows[negatives.rows].numpy()] / np.exp(negatives.log_expected.numpy())
            terms = terms * (np.ones(terms.shape) if negatives.allowed is None else negatives.allowed.numpy())
            firsts = batch.rows[batch.positives].numpy()  # 2 follows 1; 3 and 4 follow 3
            for first, of_target in zip(firsts, terms.sum(1), strict=True):
                estimates[1 if first == 2 else 3].append(of_target)
    for first, own in ((1, [1, 2]), (3, [3, 4])):
        expected = values[1:].sum() - values[own].sum()
        spread = np.std(estimates[first]) / np.sqrt(59 if shared else len(estimates[first]))
        assert abs(np.mean(estimates[first]) - expected) < 4 * spread


@settings(deadline=None, max_examples=40)
@given(
    histories=st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=12), min_size=1, max_size=12),
    shared=st.booleans(),
    popularity=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 99),
)
def test_no_negative_is_padding_or_of_the_users_training_history(histories, shared, popularity, seed):
    split = make_split([*histories, [1, 2, 3, 4, 5, 6, 7, 8, 7, 7, 1, 2]], 9)  # the last user leaves one item
    made = batches(split, objective="sampled_softmax", negatives=5, shared=shared, popularity=popularity)
    for batch in some(made.epoch(seed, 1)):
        ids = batch.rows[batch.negatives.rows].numpy()
        owners = [row for row, history in enumerate(rows_of(batch)) for _ in range(int((history != PAD).sum()))]
        for target, owner in enumerate(owners):
            user = int(batch.users[owner])
            own = set(split.data.history(user)[: split.n_train[user]].tolist())
            allowed = slice(None) if batch.negatives.allowed is None else batch.negatives.allowed[target].numpy()
            found = set(ids[0 if shared else target][allowed].tolist())
            assert not found & own
            assert found <= set(range(1, 10))


def test_a_user_who_leaves_one_item_gets_it_without_a_hang():
    split = make_split([[*range(1, 2000), 1, 1]], 2000)
    (batch,) = batches(split, max_len=5, negatives=3).epoch(0, 1)
    assert set(batch.rows[batch.negatives.rows].ravel().tolist()) == {2000}


def test_groups_hold_all_histories_with_little_padding():
    lengths = np.sort(np.random.default_rng(0).geometric(0.1, size=300)) + 1
    groups = [np.arange(300)[group] for group in split_by_length(lengths, 512)]
    assert np.concatenate(groups).tolist() == list(range(300))
    positions = sum(len(group) * lengths[group].max() for group in groups)
    assert 1 < len(groups) < 8
    assert positions < 1.5 * lengths.sum() < 0.5 * 300 * lengths.max()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), count=st.integers(1, 5), objective=st.sampled_from(["bce", "cross_entropy"]))
def test_the_parts_of_a_batch_hold_each_target_once(seed, count, objective):
    rng = np.random.default_rng(seed)
    split = make_split(
        [rng.integers(1, 10, size=length).tolist() for length in rng.integers(1, 30, size=9)] + [[1, 2, 3, 4]], 12
    )
    made = batches(split, objective=objective, batch_size=9, max_len=20)
    for batch in some(made.epoch(seed, 1)):
        whole = read(batch)
        parts = [reading for number in range(count) for reading in read(batch.micro_batch(number, count))]
        assert sorted(parts) == sorted(whole)


def read(batch) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """User, input and positive of each target, and its negatives."""
    owners = np.repeat(batch.users.numpy(), 1)
    flat = [(int(owners[row]), int(item)) for row, history in enumerate(rows_of(batch)) for item in history]
    found = []
    for target, place in enumerate(batch.target_positions.tolist()):
        negatives = tuple(batch.negatives.rows[target].tolist()) if batch.negatives.count else ()
        found.append((*flat[place], int(batch.positives[target]), negatives))
    return found


def test_an_epoch_can_begin_at_any_batch(random_split):
    made = batches(random_split(3, n_users=50), batch_size=7, negatives=2)
    whole = [read(batch) for batch in made.epoch(5, 2)]
    assert [read(batch) for batch in made.epoch(5, 2, skip=3)] == whole[3:]


def test_the_published_gru4rec_predicts_the_last_training_event_only():
    split = make_split([[1, 2, 3, 4, 8, 9], [5, 6, 8, 9]], 9)
    found = TrainingBatches(
        split, plugin("backbones", "gru4rec", dim=8, targets="last"), plugin("objectives", "bce"), TrainConfig()
    )
    (batch,) = found.epoch(0, 1)
    assert sorted(batch.rows[batch.positives].tolist()) == [4, 6]


def test_a_user_with_every_item_in_training_is_an_error_and_not_a_hang():
    split = make_split([[1, 2, 3, 1, 2]], 3)
    with pytest.raises(DataError, match="has every item in training"):
        batches(split)
    batches(split, objective="cross_entropy")


def test_a_cloze_batch_hides_places_and_predicts_what_stood_there():
    split = make_split([[1, 2, 3, 4, 5, 6, 7]] * 200, 9)
    made = list(batches(split, backbone="bert4rec", batch_size=50).epoch(0, 1))
    for batch in made:
        ids = global_ids(batch, 9)
        truth = np.broadcast_to([1, 2, 3, 4, 5], ids.shape)
        masked = ids == mask_id(9)
        assert (ids[~masked] == truth[~masked]).all()
        assert batch.target_positions.tolist() == np.flatnonzero(masked).tolist()
        assert batch.rows[batch.positives].tolist() == truth[masked].tolist()
        assert masked.any(1).all()
    # Each history once with its last place hidden, once with 0.6 of five places (the last where that would hide none);
    # both kinds stand in every batch.
    masked = np.concatenate([global_ids(batch, 9) == mask_id(9) for batch in made])
    expected = (200 * 1 + 200 * (0.6 * 5 + 0.4**5)) / (400 * 5)
    assert abs(masked.mean() - expected) < 4 * np.sqrt(0.24 / (200 * 5)) / 2
    alone = [(global_ids(batch, 9) == mask_id(9)).sum(1) == 1 for batch in made]
    assert all(0.2 < found.mean() < 0.9 for found in alone)


def test_a_cloze_model_ranks_at_a_position_that_it_was_trained_on():
    split = make_split([[1, 2, 3, 4, 5, 6, 7, 8, 9]], 9)
    made = batches(split, backbone="bert4rec", max_len=4)
    assert max(group.shape[1] for batch in made.epoch(0, 1) for group in batch.inputs) == 4
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
        return [batch.rows.tolist() for batch in made.epoch(seed, 1)]

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
