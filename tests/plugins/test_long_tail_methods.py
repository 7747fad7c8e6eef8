"""MELT and CITIES against plain writings of their equations, and what they do with tail users and items."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Cosine, Parts
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import backward, backward_of
from llmemb_bench.training.phases import moving
from tests.helpers.plain_training import assert_same_gradients, gradients, history_of, plain_bce, plain_states
from tests.helpers.plugins import configured, plugin
from tests.helpers.splits import make_split

ITEMS, DIM, LONGEST = 9, 8, 6
LENGTHS = (3, 4, 5, 7, 9, 4, 11, 8, 5, 4, 7, 9)


def small(name: str, lengths=LENGTHS, **settings):
    """The method on twelve users over nine items, an objective, and its batches."""
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, ITEMS + 1)
    split = make_split([(rng.choice(ITEMS, n, p=chances / chances.sum()) + 1).tolist() for n in lengths], ITEMS)
    with torch_seed(0):
        reader = plugin("backbones", "sasrec", dim=DIM, max_len=LONGEST, dropout=0.0)
        base = known(functional.pad(torch.randn(ITEMS, DIM), (0, 0, 1, 0)))
        base.method.backbone = plugin("backbones", "sasrec", dim=DIM, max_len=LONGEST, dropout=0.0)
        base.method.requires_grad_(False)
        found, config = configured("methods", name, **settings)
        method = found(config, Parts(ITEMS, reader, None, {"base": base}))
    method.fit_counts(split)
    objective = plugin("objectives", "bce", negatives=2)
    return method, split, objective, batches_of(method, split, objective, TrainConfig(batch_size=6))


def noisy(method: nn.Module) -> None:
    """Nothing hides behind a start at zero."""
    with torch_seed(1), torch.no_grad():
        for weight in method.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape))


def training_of(split) -> list[list[int]]:
    return [history_of(split, user, 99).tolist() for user in range(split.data.n_users)]


def contexts_of(histories: list[list[int]], item: int) -> list[list[int]]:
    """Up to the item, and from it on read backwards; at most six events, the item last."""
    found = []
    for history in histories:
        for place, event in enumerate(history):
            if event == item:
                found.append(history[: place + 1][-LONGEST:])
                if len(history) > 1:
                    found.append(history[place:][::-1][-LONGEST:])
    return found


def plain_state(method, history: list[int]) -> torch.Tensor:
    return plain_states(method.backbone, method.table.weight[torch.tensor(history) - 1])


def both(method, history: list[int]) -> torch.Tensor:
    """f + W_U f at the end."""
    state = plain_state(method, history)[-1]
    return state + method.branch_users.weight @ state + method.branch_users.bias


# --- MELT ---


def test_melts_value_and_gradient_are_those_of_a_plain_float64_writing():
    method, split, objective, batches = small("melt", tail_users=0.5, tail_items=0.5, curriculum=10)
    noisy(method)
    method.epoch.fill_(3)
    histories, counts = training_of(split), split.popularity
    lengths = [len(history) for history in histories]
    few_user, few_item = int(np.quantile(lengths, 0.5)), int(np.quantile(counts[counts > 0], 0.5))
    assert (method.few_of_user, method.few_of_item) == (few_user, few_item)
    batch = next(batches.epoch(0, 1))
    value = backward(method, objective, batch, TrainConfig()).loss.item()
    found = gradients(method)
    method.double()

    def asked(name: str) -> list[list[int]]:
        taken = batch.histories[name]
        rows = [row[row > 0] for group in taken.inputs for row in group]
        return [batch.rows[rows[place] - 1].tolist() for place in taken.order.tolist()]

    heads = [user for user in batch.users.tolist() if lengths[user] > few_user]
    assert asked("whole") == [histories[user][-LONGEST:] for user in heads]
    of_users = 0
    for user, short in zip(heads, asked("short"), strict=True):
        assert short == histories[user][-len(short) :]
        assert 1 <= len(short) < few_user
        gap = (
            method.branch_users.weight @ plain_state(method, short)[-1]
            + method.branch_users.bias
            - plain_state(method, histories[user][-LONGEST:])[-1]
        )
        events = min(lengths[user], LONGEST)
        slope = math.pi / (2 * max(LONGEST - few_user - 1, 1)) * (events - few_user - 1)
        of_users = of_users + abs(math.sin(math.pi / 2 * 3 / 10 + slope)) * gap.square().mean()
    share = sum(length > few_user for length in lengths) / sum(length > 1 for length in lengths)
    of_items, items = 0, sorted({context[-1] for context in asked("contexts")})
    for item in items:
        drawn = [context for context in asked("contexts") if context[-1] == item]
        able = contexts_of(histories, item)
        assert all(context in able for context in drawn)
        assert len(drawn) <= few_item < counts[item]
        mean = sum(both(method, context) for context in drawn) / len(drawn)
        gap = method.branch_items.weight @ mean + method.branch_items.bias - method.table.weight[item - 1]
        events = min(counts[item], few_item + 50)
        weight = abs(math.sin(math.pi / 2 * 3 / 10 + math.pi / 100 * (events - few_item - 1)))
        of_items = of_items + weight * gap.square().mean() / len(items)
    vectors = torch.cat([torch.zeros(1, DIM), method.table.weight])
    loss = plain_bce(lambda history: plain_state(method, history.tolist()), vectors, batch)
    loss = loss + 0.1 * of_users / (share * batch.histories_per_step)
    loss = loss + 0.4 * of_items * len(batch.users) / batch.histories_per_step
    assert value == pytest.approx(loss.item(), rel=1e-5)
    torch.autograd.backward(loss)
    assert_same_gradients(found, gradients(method))
    assert {name for name in found if not found[name].any()} == {"mask"}


def test_a_tail_items_vector_becomes_what_its_contexts_say():
    method, split, _, _ = small("melt", tail_users=0.5, tail_items=0.5)
    noisy(method)
    before = method.table.weight.detach().clone()
    counts = split.popularity[1:]
    right = before.clone()
    for item in np.flatnonzero((counts > 0) & (counts <= method.few_of_item)) + 1:
        mean = sum(both(method, context) for context in contexts_of(training_of(split), item))
        mean = mean / len(contexts_of(training_of(split), item))
        right[item - 1] = method.branch_items(mean).detach()
    method.begin_epoch(5)
    torch.testing.assert_close(method.table.weight, right)
    assert not torch.equal(right, before)
    assert method.epoch == 4


def test_a_short_history_is_ranked_with_what_it_lacks():
    method, _, _, _ = small("melt", tail_users=0.5, tail_items=0.5)
    noisy(method)
    method.eval().begin_ranking()
    few, many = [1, 2, 3], [1, 2, 3, 4, 1, 2]
    assert len(few) <= method.few_of_user < len(many)
    torch.testing.assert_close(method.states(torch.tensor([few]))[0], both(method, few))
    torch.testing.assert_close(method.states(torch.tensor([many]))[0], plain_state(method, many)[-1])


# --- CITIES ---


def windows_of(histories: list[list[int]], item: int, around: int) -> list[tuple[int, list[int]]]:
    """Place of the first event of a context among its places, and its items; 0 stands for the item itself."""
    found = []
    for history in histories:
        for place, event in enumerate(history):
            if event == item and len(history) > 1:
                start = max(place - around, 0)
                inside = history[start : place + around + 1]
                found.append((around - (place - start), [0 if other == item else other for other in inside]))
    return found


def plain_layer(layer: nn.TransformerEncoderLayer, x: torch.Tensor) -> torch.Tensor:
    """Post-norm, over all rows of x."""
    attention, width = layer.self_attn, DIM // layer.self_attn.num_heads
    queries, keys, values = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)
    mixed = []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        weights = torch.exp(queries[:, part] @ keys[:, part].T / math.sqrt(width))
        mixed.append(weights @ values[:, part] / weights.sum(1, keepdim=True))
    x = plain_norm(layer.norm1, x + torch.cat(mixed, dim=1) @ attention.out_proj.weight.T + attention.out_proj.bias)
    inner = (x @ layer.linear1.weight.T + layer.linear1.bias).clamp(min=0)
    return plain_norm(layer.norm2, x + inner @ layer.linear2.weight.T + layer.linear2.bias)


def plain_norm(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(1, keepdim=True)
    return norm.weight * centred / (centred.square().mean(1, keepdim=True) + norm.eps).sqrt() + norm.bias


def plain_inferred(method, windows: list[tuple[int, list[int]]]) -> torch.Tensor:
    """The vector of an item from its contexts."""
    read = []
    for first, window in windows:
        rows = []
        for place, item in enumerate(window, start=first):
            vector = method.own if item == 0 else method.table.weight[item - 1]
            angles = [place / 10000 ** (2 * (j // 2) / DIM) for j in range(DIM)]
            wave = [math.cos(angle) if j % 2 else math.sin(angle) for j, angle in enumerate(angles)]
            rows.append(method.importance[place] * vector + torch.tensor(wave, dtype=torch.float64) / math.sqrt(DIM))
        x = torch.stack(rows)
        for layer in method.reader.layers:
            x = plain_layer(layer, x)
        read.append(x.mean(0))
    x = torch.stack(read)
    for layer in method.mixer.layers:
        x = plain_layer(layer, x)
    return method.out.weight @ x.mean(0) + method.out.bias


CITIES = {"rare": 3, "around": 2, "contexts": 4, "heads": 2, "batch_size": 3, "dropout": 0.0}


def test_cities_value_and_gradient_are_those_of_a_plain_float64_writing():
    method, split, _, _ = small("cities", **CITIES)
    noisy(method)
    [phase] = method.phases()
    batch = next(phase.batches.epoch(0, 1))
    with moving(method, phase):
        value = backward_of(phase.loss, batch).loss.item()
        found = gradients(method)
        method.double()
        histories, losses, start = training_of(split), [], 0
        for item, count in zip(batch.items.tolist(), batch.count.tolist(), strict=True):
            rows = [(row, row.nonzero()[:, 0]) for row in batch.windows[start : start + count]]
            drawn = [(int(at[0]), [0 if other == item else other for other in row[at].tolist()]) for row, at in rows]
            assert all(window in windows_of(histories, item, 2) for window in drawn)
            assert 1 <= count <= 4
            losses.append((plain_inferred(method, drawn) - method.table.weight[item - 1].detach()).square().mean())
            start += count
        loss = sum(losses) / len(losses)
        assert value == pytest.approx(loss.item(), rel=1e-5)
        torch.autograd.backward(loss)
        assert_same_gradients(found, gradients(method))
    trained = {name.split(".")[0] for name, gradient in found.items() if gradient.any()}
    assert trained == {"reader", "mixer", "out", "own", "importance"}
    still = [weight for part in (method.backbone, method.table) for weight in part.parameters()]
    assert not any(weight.requires_grad for weight in [method.mask, *still])


def test_rare_items_are_read_and_ranked_by_inferred_vectors_and_others_as_they_were():
    method, split, _, _ = small("cities", **CITIES)
    noisy(method)
    method.eval()
    found = method.catalogue().detach().double()
    base = method.base.vectors.double()
    method.double()
    counts = split.popularity
    histories = training_of(split)
    is_rare = [0 < counts[item] <= 3 and bool(windows_of(histories, item, 2)) for item in range(1, ITEMS + 1)]
    assert any(is_rare)
    for item in range(1, ITEMS + 1):
        right = plain_inferred(method, windows_of(histories, item, 2)[:4]) if is_rare[item - 1] else base[item]
        torch.testing.assert_close(found[item - 1], right.detach(), atol=1e-5, rtol=1e-4)


def test_every_head_item_is_learnt_from_once_an_epoch_or_held_out():
    method, split, _, _ = small("cities", **CITIES)
    [phase] = method.phases()
    batches = list(phase.batches.epoch(0, 1))
    assert len(batches) == len(phase.batches)
    seen = np.concatenate([batch.items.numpy() for batch in batches])
    counts = split.popularity
    assert sorted([*seen, *method.held_out]) == [item for item in range(1, ITEMS + 1) if counts[item] > 3]
    assert len(method.held_out) == 1
    later = list(phase.batches.epoch(0, 1, skip=1))
    assert torch.equal(later[0].windows, batches[1].windows)
    item = int(method.held_out[0])
    method.eval().double()
    with torch.no_grad():
        right = plain_inferred(method, windows_of(training_of(split), item, 2)[:4]) - method.table.weight[item - 1]
        assert method.monitor() == pytest.approx(-right.square().mean().item(), rel=1e-5)


# --- both ---


@pytest.mark.parametrize("name", ["melt", "cities"])
def test_training_begins_with_the_weights_of_the_base_whatever_start_came_between(name):
    settings = {"rare": 3, "heads": 2} if name == "cities" else {"tail_users": 0.5, "tail_items": 0.5}
    method, _, _, _ = small(name, **settings)
    base = method.base.method
    with torch.no_grad():
        for weight in method.parameters():
            weight.mul_(2)
    method.phases()[0].begin()
    assert torch.equal(method.table.weight, base.table.weight)
    assert torch.equal(method.mask, base.mask)
    for name, weight in base.backbone.named_parameters():
        assert torch.equal(method.backbone.get_parameter(name), weight)
        assert method.backbone.get_parameter(name) is not weight
    assert not any(weight.requires_grad for weight in base.parameters())


def test_what_they_cannot_work_with_is_said_in_one_line():
    with pytest.raises(DataError, match=r"no user has more training events than the quantile .* -> a smaller quantile"):
        small("melt", lengths=(6,) * 12)
    with pytest.raises(DataError, match=r"recommender.method.rare: 0 items have more than 99 training events"):
        small("cities", rare=99)
    with pytest.raises(SpecError, match="3 heads do not share the width 8 evenly -> a backbone whose dim"):
        small("cities", heads=3)
    base = known(torch.zeros(ITEMS + 1, DIM))
    base.method.similarity = Cosine()
    found, config = configured("methods", "melt")
    with pytest.raises(SpecError, match=r"a _Known is no recommender to start from.* -> base: id_only"):
        found(config, Parts(ITEMS, plugin("backbones", "sasrec", dim=DIM), None, {"base": base}))
