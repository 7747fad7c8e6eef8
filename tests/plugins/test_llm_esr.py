"""LLM-ESR against a plain writing of its equations, what it refuses, and what its settings change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import CellFacts, Parts
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import backward
from llmemb_plugins.methods import _similar_users, _states
from llmemb_plugins.methods._similar_users import nearest, profiles
from llmemb_plugins.methods._states import Slices, end_states
from tests.helpers.plain_training import assert_same_gradients, gradients, history_of, plain_bce, plain_states
from tests.helpers.plugins import configured, plugin
from tests.helpers.splits import make_split

USERS, ITEMS, TEXT_DIM, DIM = 11, 9, 10, 8


def small(backbone: str = "sasrec", dropout: float = 0.0, **settings):
    """The method on eleven users over nine items, an objective, and its batches."""
    rng = np.random.default_rng(0)
    lengths = (4, 5, 7, 9, 4, 6, 8, 5, 4, 7, 9)
    split = make_split([rng.integers(1, ITEMS + 1, size=length).tolist() for length in lengths], ITEMS)
    given = {"similar": 3, "weight": 0.5, "refresh": 1, **settings}
    with torch_seed(0):
        reader = plugin("backbones", backbone, dim=DIM, max_len=6, dropout=dropout)
        text = functional.pad(torch.randn(ITEMS, TEXT_DIM), (0, 0, 1, 0))
        base = {"base": known(functional.pad(torch.randn(ITEMS, DIM), (0, 0, 1, 0)))}
        found, config = configured("methods", "llm_esr", **given)
        method = found(config, Parts(ITEMS, reader, text, base if given.get("ids") == "upstream" else {}))
        with torch.no_grad():
            for weight in method.parameters():  # nothing hides behind a start at zero
                weight.add_(0.2 * torch.randn(weight.shape))
    method.fit_counts(split)
    objective = plugin("objectives", "bce", negatives=2)
    return method, objective, batches_of(method, split, objective, TrainConfig(batch_size=16))


def begin(method) -> None:
    """What comes before the first step."""
    [phase] = method.phases()
    phase.begin()
    if phase.begin_epoch:
        method.eval()
        phase.begin_epoch(1)
        method.train()


def plain_attention(
    asks: torch.Tensor, answers: torch.Tensor, out: torch.nn.Linear, heads: int, *, causal: bool
) -> torch.Tensor:
    """Position after position, head after head; each view as [len, 3 dim] of its queries, keys and values."""
    queries, keys, values = asks[:, :DIM], answers[:, DIM : 2 * DIM], answers[:, 2 * DIM :]
    width, rows = queries.shape[1] // heads, []
    for place in range(len(asks)):
        seen = place + 1 if causal else len(asks)
        mixed = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            weights = torch.exp(keys[:seen, part] @ queries[place, part] / math.sqrt(width))
            mixed.append((weights[:, None] * values[:seen, part]).sum(0) / weights.sum())
        rows.append(out.weight @ torch.cat(mixed) + out.bias)
    return torch.stack(rows)


def plain_state(method, vectors: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
    """[len, 2 dim] of one history; `vectors` [ids, 2 dim]."""
    ids, text = vectors[history].chunk(2, dim=1)
    if method.config.cross != "none":
        at = method.positions.weight[: len(history)]
        ids, text = (math.sqrt(DIM) * view + at for view in (ids, text))
        causal, heads = method.config.attention == "causal", method.config.heads
        cross = method.cross
        of_ids, of_text = ids @ cross.project_ids.weight.T, text @ cross.project_text.weight.T
        found = (
            plain_attention(of_text, of_ids, cross.out_ids, heads, causal=causal),
            plain_attention(of_ids, of_text, cross.out_text, heads, causal=causal),
        )
        ids, text = found if method.config.cross == "replace" else (ids + found[0], text + found[1])
    return torch.cat([plain_states(method.backbone, view) for view in (ids, text)], dim=1)


def plain_vectors(method) -> torch.Tensor:
    first, second = method.adapter.first, method.adapter.second
    adapted = second.weight @ (first.weight @ method.text.T + first.bias[:, None]) + second.bias[:, None]
    vectors = torch.cat([method.table.weight, adapted.T], dim=1)
    return torch.cat([torch.zeros(1, 2 * DIM), vectors])


def plain_similar(method, user: int) -> list[int]:
    """The three users whose summed text is nearest, by counting."""
    text = method.text.double().numpy()
    means = [np.mean([text[item - 1] for item in history_of(method.split, other, 99)], 0) for other in range(USERS)]
    cosines = {
        other: means[user] @ means[other] / np.linalg.norm(means[user]) / np.linalg.norm(means[other])
        for other in range(USERS)
        if other != user
    }
    return sorted(cosines, key=lambda other: -cosines[other])[:3]


def plain_loss(method, batch, given: torch.Tensor) -> torch.Tensor:
    """In float64; `given` [users, width] are the states that the goals are means of."""
    vectors = plain_vectors(method)
    drawn = []
    for user in batch.users.tolist():
        goal = sum(given[other] for other in plain_similar(method, user)) / 3
        read = history_of(method.split, user, 7)[:-1]  # the last training event is predicted only
        drawn.append((plain_state(method, vectors, read)[-1] - goal).square().mean())
    objective = plain_bce(lambda history: plain_state(method, vectors, history), vectors, batch)
    return objective + method.config.weight * torch.stack(drawn).sum() / batch.histories_per_step


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [{}, {"refresh": "epoch"}, {"refresh": 2}, {"cross": "add", "heads": 1}, {"cross": "none"}, {"weight": 0.0}],
    ids=str,
)
def test_value_and_gradient_are_those_of_a_plain_float64_writing(settings, accumulate):
    method, objective, batches = small(**settings)
    begin(method)
    batch = next(batches.epoch(0, 1))
    value = backward(method, objective, batch, TrainConfig(accumulate=accumulate)).loss.item()
    found = gradients(method)
    method.double()
    with torch.no_grad():
        vectors = plain_vectors(method)
        given = [plain_state(method, vectors, history_of(method.split, user))[-1] for user in range(USERS)]
    loss = plain_loss(method, batch, torch.stack(given))
    assert value == pytest.approx(loss.item(), rel=1e-5)
    torch.autograd.backward(loss)
    assert_same_gradients(found, gradients(method))


def test_targets_are_refreshed_every_so_many_steps_and_stand_still_between():
    method, _, batches = small(refresh=2, dropout=0.5)
    begin(method)
    made = []
    for batch in [batch for epoch in range(1, 6) for batch in batches.epoch(0, epoch)]:  # one step an epoch
        with torch.no_grad():
            method.table.weight.add_(0.1)  # as a step would
        before = method.goals.clone()
        goal = method.prepared(batch, method.items(batch.rows)).of_users["goal"]
        assert method.training
        made.append(torch.equal(before, method.goals))
        known = np.unique(method.similar)
        assert torch.allclose(method.goals[known], method.states_of_users(known), atol=1e-5) != made[-1]
        torch.testing.assert_close(goal, method.goals[torch.from_numpy(method.similar[batch.users])].mean(1))
    assert made == [False, True, False, True, False]


def test_each_epoch_refreshes_half_of_the_targets_by_turns():
    method, _, _ = small(refresh="epoch")
    begin(method)
    known, renewed = np.unique(method.similar), []
    for epoch in (2, 3):
        with torch.no_grad():
            method.table.weight.add_(0.1)
        before = method.goals.clone()
        method.phases()[0].begin_epoch(epoch)
        renewed.append(np.flatnonzero((method.goals != before).any(1).numpy()))
    assert abs(len(renewed[0]) - len(renewed[1])) <= 1
    assert sorted(np.concatenate(renewed)) == known.tolist()


def test_states_of_many_users_are_those_of_each_alone(monkeypatch):
    method, _, _ = small(dropout=0.5)
    whole = method.states_of_users(np.arange(USERS))
    monkeypatch.setattr(_states, "POSITIONS", 12)
    torch.testing.assert_close(method.states_of_users(np.arange(USERS)), whole)
    alone = [end_states(method, Slices.of_users(method.split, np.array([user]), 6)) for user in range(USERS)]
    torch.testing.assert_close(torch.cat(alone), whole)
    method.eval().begin_ranking()
    ranked = [method.states(history_of(method.split, user)[None])[0] for user in range(USERS)]
    torch.testing.assert_close(torch.stack(ranked), whole)


def test_nearest_users_do_not_depend_on_the_blocks(monkeypatch):
    vectors = torch.randn(300, 7, generator=torch.Generator().manual_seed(0))
    cosines = functional.cosine_similarity(vectors[:, None].double(), vectors[None].double(), dim=2)
    right = cosines.fill_diagonal_(-2).argsort(dim=1, descending=True)[:, :6]
    assert torch.equal(nearest(vectors, 6), right)
    monkeypatch.setattr(_similar_users, "ASKING", 7)
    monkeypatch.setattr(_similar_users, "COMPARED", 4)  # fewer than are asked for
    assert torch.equal(nearest(vectors, 6), right)


def test_a_profile_is_the_mean_text_of_training_events_and_of_nothing_else():
    split = make_split([[1, 1, 3, 2, 2], [2, 3, 1], [3]], 3)
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    assert profiles(split, text).tolist() == [pytest.approx([7 / 3, 5 / 3]), [0.0, 1.0], [5.0, 5.0]]


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_a_view_sees_the_past_of_the_other_one_unless_it_is_told_otherwise(attention):
    method, _, _ = small(attention=attention)
    method.eval().begin_ranking()
    history, other = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 5, 6]])
    vectors = method.catalogue()
    before, after = (method._encoded(ids, vectors)[0, 1] for ids in (history, other))
    assert torch.allclose(before, after, atol=1e-6) == (attention == "causal")
    changed = method._encoded(torch.tensor([[6, 2, 3, 4]]), vectors)[0, 1]
    assert not torch.allclose(before, changed, atol=1e-3)


def test_a_cloze_backbone_reads_both_views_from_both_sides():
    method, objective, batches = small("bert4rec")
    assert backward(method, objective, next(batches.epoch(0, 1)), TrainConfig()).loss.isfinite()
    method.eval()
    vectors = method.catalogue()
    before, after = (method._encoded(torch.tensor([ids]), vectors)[0, 1] for ids in ([1, 2, 3], [1, 2, 4]))
    assert not torch.allclose(before, after, atol=1e-4)


def test_ids_start_at_the_principal_components_or_at_a_fitted_recommender():
    method, _, _ = small(start_length=2.0)
    begin(method)
    text = method.text.double().numpy()
    centred = text - text.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    components = left[:, :DIM] * sizes[:DIM]
    components *= 2.0 / np.sqrt(np.square(components).sum(1).mean())
    found = method.table.weight.detach().double().numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(components), atol=1e-5)  # each component's sign is free
    method, _, _ = small(ids="upstream")
    begin(method)
    torch.testing.assert_close(method.table.weight, method.base.vectors[1:])
    assert "base" not in {name.split(".")[0] for name in method.state_dict()}
    random, _, _ = small(ids="random")
    before = random.table.weight.clone()
    begin(random)
    assert torch.equal(random.table.weight, before)


def test_only_text_stands_still():
    method, objective, batches = small()
    backward(method, objective, next(batches.epoch(0, 1)), TrainConfig())
    assert {name for name, weight in method.named_parameters() if not weight.grad.any()} == {"mask"}
    assert not method.text.requires_grad
    assert set(method.state_dict()) - set(dict(method.named_parameters())) == {"goals"}


def test_what_it_cannot_work_with_is_said_in_one_line():
    found, config = configured("methods", "llm_esr")
    [few] = found.refuses(config, CellFacts(10, 9, 16))
    assert str(few) == "recommender.method.similar: 10 users have no 10 others each -> at most 9"
    [many] = found.refuses(config, CellFacts(200_001, 9, 16))
    assert str(many).startswith("recommender.method.weight: similar users are found exactly, among 200,000 users at")
    _, off = configured("methods", "llm_esr", weight=0)
    assert found.refuses(off, CellFacts(2, 9, 16)) == ()
    with pytest.raises(DataError, match="11 users with training events have no 11 others each -> at most 10"):
        small(similar=11)
    with pytest.raises(SpecError, match="share the width 8 evenly, 3 do not -> a backbone whose dim is a multiple"):
        small(heads=3)
    with pytest.raises(SpecError, match="ids: text takes 8 dimensions of 9 text vectors with 5 each"):
        found(config, Parts(ITEMS, plugin("backbones", "sasrec", dim=DIM), torch.ones(ITEMS + 1, 5)))
