"""Contrastive losses against plain NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.registry import find


def softmax(x: np.ndarray) -> np.ndarray:
    grown = np.exp(x - x.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def soft_clip(x: np.ndarray, y: np.ndarray, t: float) -> float:
    logits = x @ y.T / t
    targets = softmax(t * (x @ x.T + y @ y.T) / 2)
    rows = -(targets * np.log(softmax(logits))).sum(1)
    columns = -(targets.T * np.log(softmax(logits.T))).sum(1)
    return float(((rows + columns) / 2).mean())


def info_nce(x: np.ndarray, y: np.ndarray, t: float) -> float:
    return float(-np.log(np.diag(softmax(unit(x) @ unit(y).T / t))).mean())


def symmetric_info_nce(x: np.ndarray, y: np.ndarray, t: float) -> float:
    return (info_nce(x, y, t) + info_nce(y, x, t)) / 2


def supcon(x: np.ndarray, y: np.ndarray, t: float) -> float:
    views = unit(np.concatenate([x, y]))
    n, total = len(x), 0.0
    for anchor in range(2 * n):
        others = [other for other in range(2 * n) if other != anchor]
        scores = np.exp(views[others] @ views[anchor] / t)
        total -= np.log(np.exp(views[(anchor + n) % (2 * n)] @ views[anchor] / t) / scores.sum())
    return total / (2 * n)


ORACLES = {"soft_clip": soft_clip, "info_nce": info_nce, "symmetric_info_nce": symmetric_info_nce, "supcon": supcon}


@pytest.mark.parametrize("name", ORACLES)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), batch=st.integers(2, 9), t=st.floats(0.5, 3.0))
def test_a_loss_is_its_formula(name, seed, batch, t):
    x, y = np.random.default_rng(seed).standard_normal((2, batch, 5))
    plugin = find("losses", name).load()
    loss = plugin(plugin.config_type().model_validate({"temperature": t}))
    found = loss(torch.from_numpy(x).float(), torch.from_numpy(y).float()).item()
    assert found == pytest.approx(ORACLES[name](x, y, t), rel=1e-4)


def test_every_contrastive_loss_has_an_oracle():
    from llmemb_bench.registry import names

    assert set(names("losses")) == set(ORACLES)


def test_the_temperature_of_soft_clip_is_learnt_only_if_asked():
    plugin = find("losses", "soft_clip").load()
    for learn in (True, False):
        loss = plugin(plugin.config_type().model_validate({"learn_temperature": learn}))
        assert [weight.requires_grad for weight in loss.parameters()] == [learn]
