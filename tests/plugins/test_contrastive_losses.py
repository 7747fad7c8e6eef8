"""Contrastive losses against plain NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.registry.entries import find
from llmemb_plugins.losses import _soft_targets
from tests.helpers.small_models import loss


def softmax(x: np.ndarray) -> np.ndarray:
    grown = np.exp(x - x.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


Matrix = np.ndarray


def without(logits: Matrix, duplicates: Matrix) -> Matrix:
    return np.where(duplicates, -np.inf, logits)


def cross(targets: Matrix, logits: Matrix) -> Matrix:
    shifted = logits - logits.max(1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -(targets * np.where(targets > 0, logarithms, 0)).sum(1)


def soft_clip(
    x: Matrix, y: Matrix, t: float, duplicates: Matrix, normalize: bool = False, divide: bool = False
) -> float:
    x, y = (unit(x), unit(y)) if normalize else (x, y)
    sharpness = 1 / max(t, 1e-3) if divide else t
    logits = without(x @ y.T / t, duplicates)
    targets = softmax(without(sharpness * (x @ x.T + y @ y.T) / 2, duplicates))
    return float(((cross(targets, logits) + cross(targets.T, logits.T)) / 2).mean())


def info_nce(x: Matrix, y: Matrix, t: float, duplicates: Matrix) -> float:
    return float(-np.log(np.diag(softmax(without(unit(x) @ unit(y).T / t, duplicates)))).mean())


def symmetric_info_nce(x: Matrix, y: Matrix, t: float, duplicates: Matrix) -> float:
    return (info_nce(x, y, t, duplicates) + info_nce(y, x, t, duplicates)) / 2


def supcon(x: Matrix, y: Matrix, t: float, duplicates: Matrix) -> float:
    views = unit(np.concatenate([x, y]))
    n, total = len(x), 0.0
    for anchor in range(2 * n):
        others = [other for other in range(2 * n) if other != anchor and not duplicates[anchor % n, other % n]]
        scores = np.exp(views[others] @ views[anchor] / t)
        total -= np.log(np.exp(views[(anchor + n) % (2 * n)] @ views[anchor] / t) / scores.sum())
    return total / (2 * n)


ORACLES = {"soft_clip": soft_clip, "info_nce": info_nce, "symmetric_info_nce": symmetric_info_nce, "supcon": supcon}


def drawn(seed: int, batch: int, masked: bool) -> tuple[Matrix, Matrix, Matrix]:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, batch, 5))
    duplicates = np.triu(rng.random((batch, batch)) < 0.3 * masked, 1)
    return x, y, duplicates | duplicates.T


def value(made, x: Matrix, y: Matrix, duplicates: Matrix) -> float:
    found = made(torch.from_numpy(x).float(), torch.from_numpy(y).float(), torch.from_numpy(duplicates))
    return found.item()


@pytest.mark.parametrize("name", ORACLES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), batch=st.integers(2, 9), t=st.floats(0.5, 3.0), masked=st.booleans())
def test_a_loss_is_its_formula_masked_or_not(name, seed, batch, t, masked):
    x, y, duplicates = drawn(seed, batch, masked)
    made = loss(name, temperature=t)
    assert value(made, x, y, duplicates) == pytest.approx(ORACLES[name](x, y, t, duplicates), rel=1e-4, abs=1e-6)
    if not masked:
        plain = made(torch.from_numpy(x).float(), torch.from_numpy(y).float()).item()
        assert plain == pytest.approx(ORACLES[name](x, y, t, duplicates), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("normalize", "divide", "t"),
    [
        *((normalize, divide, t) for normalize in (False, True) for divide in (False, True) for t in (0.5, 3.0)),
        (True, True, 1e-4),  # below the coldest that the later code takes
    ],
)
def test_every_departure_of_soft_clip_is_its_formula(normalize, divide, t):
    x, y, duplicates = drawn(5, 8, masked=True)
    made = loss("soft_clip", temperature=t, normalize=normalize, divide_targets=divide)
    expected = soft_clip(x, y, t, duplicates, normalize, divide)
    assert value(made, x, y, duplicates) == pytest.approx(expected, rel=2e-4)


def test_detached_targets_change_the_gradient_and_not_the_value():
    x, y = (torch.from_numpy(part).float().requires_grad_() for part in drawn(5, 8, masked=False)[:2])
    found = []
    for detach in (False, True):
        made = loss("soft_clip", temperature=0.7, detach_targets=detach)
        scores = made(x, y)
        [gradient] = torch.autograd.grad(scores, x)
        found.append((scores.item(), gradient))
    assert found[0][0] == found[1][0]
    assert not torch.allclose(found[0][1], found[1][1], atol=1e-3)
    # The gradient through the logits alone, with targets held as numbers.
    moved = x.detach().clone().requires_grad_()
    targets = (0.7 * (x @ x.T + y @ y.T) / 2).softmax(-1).detach()
    logits = moved @ y.T / 0.7
    rows, columns = targets * logits.log_softmax(-1), targets.T * logits.T.log_softmax(-1)
    [expected] = torch.autograd.grad(-(rows + columns).sum(-1).mean() / 2, moved)
    torch.testing.assert_close(found[1][1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tile", [1 << 18, 20], ids=["whole", "tiles"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("targets_move", [False, True])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_gradient_in_tiles_is_that_of_the_plain_formula(shift, targets_move, masked, tile, monkeypatch):
    monkeypatch.setattr(_soft_targets, "ENTRIES_PER_TILE", {"cpu": tile})
    x, y, duplicates = drawn(3, 9, masked)
    inputs = [torch.from_numpy(part).requires_grad_() for part in (x, y)]
    inputs += [torch.tensor(factor, dtype=torch.float64, requires_grad=True) for factor in (0.6, 1.4)]
    hidden = torch.from_numpy(duplicates)

    rest = (hidden if masked else None, targets_move)
    found, expected = (
        _soft_targets.InTiles.apply(*inputs, *rest, torch.tensor(shift, dtype=torch.float64)),
        _soft_targets.directly(*inputs, *rest),
    )
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(3 * found, inputs, allow_unused=True),
        torch.autograd.grad(3 * expected, inputs, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)


@pytest.mark.parametrize("length", [0.5, 10.0, 30.0], ids=["in tiles", "in tiles, shifted", "plainly"])
def test_soft_clip_is_its_formula_for_vectors_of_any_length(length):
    x, y, duplicates = drawn(4, 8, masked=True)
    x, y = length * unit(x), length * unit(y)
    expected = soft_clip(x, y, 2.0, duplicates)
    assert value(loss("soft_clip", temperature=2.0), x, y, duplicates) == pytest.approx(expected, rel=1e-4)


def test_a_temperature_that_drifts_below_zero_gives_a_number():
    x, y, duplicates = drawn(4, 8, masked=False)
    x, y = 20 * unit(x), 20 * unit(y)
    assert value(loss("soft_clip", temperature=0.5), x, y, duplicates) > 0
    made = loss("soft_clip", temperature=0.5)
    with torch.no_grad():
        made.temperature.fill_(-0.5)
    assert np.isfinite(value(made, x, y, duplicates))


def test_every_contrastive_loss_has_an_oracle():
    from llmemb_bench.registry.entries import names

    assert set(names("losses")) == set(ORACLES)


def test_the_temperature_of_soft_clip_is_learnt_only_if_asked():
    plugin = find("losses", "soft_clip").load()
    for learn in (True, False):
        loss = plugin(plugin.config_type().model_validate({"learn_temperature": learn}))
        assert [weight.requires_grad for weight in loss.parameters()] == [learn]
