"""Cross-entropy in tiles is cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from llmemb_bench.contracts import Negatives
from llmemb_plugins.objectives import cross_entropy


def none(n_items: int) -> Negatives:
    return Negatives(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0), None, n_items)


@pytest.mark.parametrize("entries", [1, 70, 1000, 1 << 20])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_value_and_gradient_are_those_of_the_formula(entries, scale, monkeypatch):
    monkeypatch.setitem(cross_entropy.ENTRIES_PER_TILE, "cpu", entries)
    monkeypatch.setattr(cross_entropy, "ROWS_PER_TILE", 1)
    generator = torch.Generator().manual_seed(0)
    states = (scale * torch.randn(23, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    vectors = torch.randn(31, 8, generator=generator, dtype=torch.float64).requires_grad_()
    positives = torch.randint(0, 31, (23,), generator=generator)
    expected = functional.cross_entropy(states @ vectors.T, positives)
    wanted = torch.autograd.grad(3 * expected, (states, vectors))
    objective = cross_entropy.CrossEntropy(cross_entropy.CrossEntropyConfig())
    single = [tensor.detach().float().requires_grad_() for tensor in (states, vectors)]
    for inputs, precision in (((states, vectors), 1e-12), (single, 1e-5)):
        value = objective.forward(*inputs, positives, none(31))
        found = torch.autograd.grad(3 * value, inputs)
        torch.testing.assert_close(value.double(), expected, rtol=precision, atol=precision)
        for gradient, right in zip(found, wanted, strict=True):
            torch.testing.assert_close(gradient.double(), right, rtol=100 * precision, atol=10 * precision)
