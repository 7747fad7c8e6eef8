"""Dropout drops the share it should, anywhere, and its gradient is its own."""

from __future__ import annotations

import pytest
import torch

from llmemb_bench.base.seeds import torch_seed
from llmemb_plugins.backbones._dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(400, 501), (7, 13, 1001)])
def test_the_share_is_dropped_and_the_mean_stays(share, shape):
    with torch_seed(0):
        found = dropout(torch.ones(shape), share, training=True)
    values = found.unique().tolist()
    assert values == pytest.approx([0.0, 1 / (1 - share)])
    spread = (share * (1 - share) / found.numel()) ** 0.5
    assert abs(float((found == 0).double().mean()) - share) < 5 * spread + 1e-5
    # Neighbours, which come from one draw of 64 bits, are independent.
    flat = (found == 0).flatten().double()
    for apart in (1, 2, 3, 4):
        both = float((flat[:-apart] * flat[apart:]).mean())
        assert abs(both - share**2) < 6 * spread + 1e-5


def test_the_gradient_is_zero_where_an_entry_was_dropped():
    x = torch.randn(50, 9, requires_grad=True)
    found = dropout(x, 0.4, training=True)
    torch.autograd.backward(found.sum())
    torch.testing.assert_close(x.grad, torch.where(found == 0, 0.0, 1 / 0.6))


def test_nothing_is_dropped_outside_of_training_and_a_seed_decides_what_is():
    x = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(dropout(x, 0.0, training=True), x)
    found = []
    for _ in range(2):
        with torch_seed(3):
            found.append(Dropout(0.5)(x))
    assert torch.equal(*found)
