"""The modern backbones against their papers' equations, one position after the other."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.registry.entries import find, names
from llmemb_plugins.backbones._scan import scan
from llmemb_plugins.backbones.mamba4rec import selective_scan

DIM, LENGTH = 6, 9


def backbone(name: str, *, moved: bool = True, **settings) -> nn.Module:
    """A small backbone in float64; `moved`: no weight stands where it started, zero biases least of all."""
    plugin = find("backbones", name).load()
    with torch_seed(0):
        made = plugin(plugin.config_type().model_validate({"dim": DIM, "max_len": LENGTH, **settings})).double().eval()
        with torch.no_grad():
            for weight in made.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.3 * moved)
    return made


def vectors(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def positions(made: nn.Module, length: int) -> Tensor:
    return made.positions.weight[:length]


def net(block: nn.Module, x: Tensor) -> Tensor:
    """The feed-forward half of `lrurec`, `mamba4rec` and `fmlp`."""
    return block.norm_net(x + block.outer(functional.gelu(block.inner(x))))


def expected_esasrec(made: nn.Module, x: Tensor) -> Tensor:
    x = x * DIM**0.5 + positions(made, len(x))
    for block in made.blocks:
        q, k, v = block.project(block.norm_attention(x)).chunk(3, -1)
        mixed = []
        for t in range(len(x)):
            heads = []
            for head in range(block.heads):
                part = slice(head * DIM // block.heads, (head + 1) * DIM // block.heads)
                weights = (k[: t + 1, part] @ q[t, part] / (DIM / block.heads) ** 0.5).softmax(0)
                heads.append(weights @ v[: t + 1, part])
            mixed.append(torch.cat(heads))
        x = x + torch.sigmoid(block.gate_attention(x)) * block.out(torch.stack(mixed))
        glu, out = block.net[0], block.net[2]
        inner = functional.silu(block.norm_net(x) @ glu.gate.weight.T) * (block.norm_net(x) @ glu.value.weight.T)
        x = x + torch.sigmoid(block.gate_net(x)) * (inner @ out.weight.T)
    return made.norm(x)


def unit(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()


def expected_hstu(made: nn.Module, x: Tensor) -> Tensor:
    x = x * DIM**0.5 + positions(made, len(x))
    for block in made.blocks:
        u, v, q, k = functional.silu(unit(x) @ block.project.weight.T).chunk(4, -1)
        mixed = torch.zeros_like(x)
        for t in range(len(x)):
            for s in range(t + 1):
                for head in range(block.heads):
                    part = slice(head * DIM // block.heads, (head + 1) * DIM // block.heads)
                    weight = functional.silu(q[t, part] @ k[s, part] + block.distances[t - s]) / LENGTH
                    mixed[t, part] += weight * v[s, part]
        x = x + block.out(unit(mixed) * u)
    return made.norm(x)


def expected_lrurec(made: nn.Module, x: Tensor) -> Tensor:
    x = made.norm(x)
    for block in made.blocks:
        unit = block.recurrence
        width = 2 * DIM
        decay = torch.exp(torch.complex(-unit.nu.exp(), unit.theta.exp()))
        into = torch.complex(unit.into.weight[:width], unit.into.weight[width:])
        bias = torch.complex(unit.into.bias[:width], unit.into.bias[width:])
        out = torch.complex(unit.out.weight[:, :width], -unit.out.weight[:, width:])
        h, remembered = torch.zeros(width, dtype=torch.complex128), []
        for event in x:
            h = decay * h + unit.gamma.exp() * (into @ event.to(torch.complex128) + bias)
            remembered.append((out @ h).real + unit.out.bias)
        x = net(block, block.norm_recurrence(x + torch.stack(remembered)))
    return x


def expected_mamba4rec(made: nn.Module, x: Tensor) -> Tensor:
    x = made.norm(x)
    for layer in made.layers:
        mamba = layer.mamba
        channels, gate = mamba.into(x).chunk(2, -1)
        taps = mamba.convolution.weight[:, 0].T  # [4, channels], the current event last
        state, outs = torch.zeros_like(mamba.log_rate), []
        for t in range(len(x)):
            seen = sum(taps[-1 - ago] * channels[t - ago] for ago in range(min(t + 1, len(taps))))
            u = functional.silu(seen + mamba.convolution.bias)
            low, write, read = mamba.select(u).split(mamba.split)
            step = torch.log1p(torch.exp(mamba.step(low)))
            state = torch.exp(-step[:, None] * mamba.log_rate.exp()) * state + torch.outer(step * u, write)
            outs.append((state @ read + mamba.skip * u) * functional.silu(gate[t]))
        mixed = mamba.out(torch.stack(outs))
        x = net(layer, layer.norm_mamba(mixed + x if len(made.layers) > 1 else mixed))
    return x


def expected_fmlp(made: nn.Module, x: Tensor) -> Tensor:
    x = made.norm(x * DIM**0.5 + positions(made, len(x)))
    for block in made.blocks:
        filtered = [sum(block.kernel[ago] * x[t - ago] for ago in range(t + 1)) for t in range(len(x))]
        x = net(block, block.norm_filter(x + torch.stack(filtered)))
    return x


CASES = [
    ("esasrec", {"heads": 2}, expected_esasrec),
    ("hstu", {"heads": 2}, expected_hstu),
    ("lrurec", {}, expected_lrurec),
    ("mamba4rec", {"states": 4}, expected_mamba4rec),
    ("mamba4rec", {"states": 4, "layers": 2}, expected_mamba4rec),
    ("fmlp", {}, expected_fmlp),
]


@pytest.mark.parametrize("length", [1, 4, LENGTH])
@pytest.mark.parametrize(("name", "settings", "expected"), CASES)
def test_a_backbone_is_its_equations_position_by_position(name, settings, expected, length):
    made, x = backbone(name, **settings), vectors(2, length, DIM)
    states = made(x, torch.ones(2, length, dtype=torch.bool))
    for row in range(2):
        torch.testing.assert_close(states[row], expected(made, x[row]))


@pytest.mark.parametrize("name", ["esasrec", "hstu", "lrurec", "mamba4rec", "fmlp"])
def test_long_histories_of_large_vectors_stay_finite(name):
    made = backbone(name, moved=False, max_len=200).float().train()
    x = (50 * vectors(2, 200, DIM, dtype=torch.float32)).requires_grad_()
    states = made(x, torch.ones(2, 200, dtype=torch.bool))
    torch.autograd.backward(states.square().sum())
    assert torch.isfinite(states).all()
    assert all(torch.isfinite(weight.grad).all() for weight in [x, *made.parameters()])


def scanned_one_by_one(decay: Tensor, inputs: Tensor) -> Tensor:
    h, states = torch.zeros_like(inputs[:, 0]), []
    for t in range(inputs.shape[1]):
        h = decay[:, t] * h + inputs[:, t]
        states.append(h)
    return torch.stack(states, 1)


def values_and_gradients(function, *arguments: Tensor) -> list[Tensor]:
    """Of a fixed sum of the outputs' parts."""
    arguments = tuple(argument.detach().clone().requires_grad_() for argument in arguments)
    out = function(*arguments)
    wide = torch.complex128 if out.is_complex() else torch.float64
    weights = vectors(*out.shape, seed=9, dtype=wide).to(out.dtype)
    return [out, *torch.autograd.grad((out * weights).real.sum(), arguments)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 16, 17, 65, 200])
def test_a_scan_and_its_gradients_are_the_recurrence_one_by_one(length, batch, dtype):
    decay, inputs = 0.7 * vectors(batch, length, 3, dtype=dtype), vectors(2, length, 3, seed=2, dtype=dtype)
    found, expected = (values_and_gradients(way, decay, inputs) for way in (scan, scanned_one_by_one))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("modulus", [0.0, 1e-30, 0.5, 0.9999, 1.0])
def test_a_scan_forgets_and_remembers_over_a_thousand_events(modulus):
    """In float32, where 0.5^1000 is zero and a quotient of such products would be NaN."""
    angles = vectors(1, 1000, 4, dtype=torch.float32)
    decay, inputs = torch.polar(torch.full_like(angles, modulus), angles), vectors(3, 1000, 4, dtype=torch.complex64)
    found = values_and_gradients(scan, decay, inputs)
    expected = values_and_gradients(scanned_one_by_one, decay.to(torch.complex128), inputs.to(torch.complex128))
    for mine, true in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.to(true.dtype), true, rtol=1e-3, atol=1e-3 * true.abs().max().item())


def selected_one_by_one(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
    h, outs = x.new_zeros(x.shape[0], *rate.shape), []
    for t in range(x.shape[1]):
        h = (step[:, t, :, None] * rate).exp() * h + (step[:, t] * x[:, t])[..., None] * write[:, t, None]
        outs.append((h @ read[:, t, :, None])[..., 0])
    return torch.stack(outs, 1)


def selection(length: int, pace: float, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x, step, rate, write, read of 2 sequences, 5 channels and 3 states."""
    shapes = [(2, length, 5), (2, length, 5), (5, 3), (2, length, 3), (2, length, 3)]
    x, step, rate, write, read = (vectors(*shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes))
    return [x, pace * step.abs(), -rate.exp(), write, read]


@pytest.mark.parametrize("pace", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize("room", [1, 7 * 2 * 5 * 3, 2**22])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 14, 50])
def test_a_selective_scan_and_its_gradients_are_the_recurrence_one_by_one(length, room, pace, monkeypatch):
    """In chunks of 4, of 7 and of all positions."""
    monkeypatch.setattr("llmemb_plugins.backbones.mamba4rec._ROOM", room)
    parts = selection(length, pace)
    found, expected = (values_and_gradients(way, *parts) for way in (selective_scan, selected_one_by_one))
    torch.testing.assert_close(found, expected)


def test_a_selective_scan_is_finite_where_a_state_is_forgotten_at_once():
    found = values_and_gradients(selective_scan, *selection(200, 1e4, torch.float32))
    assert all(torch.isfinite(part).all() for part in found)


def test_memories_start_as_long_as_their_papers_say():
    modulus = backbone("lrurec", moved=False, dim=64).blocks[0].recurrence.eigenvalues().abs()
    assert 0.8 <= modulus.min() < 0.83
    assert 0.97 < modulus.max() <= 0.99
    spread = functional.softplus(backbone("mamba4rec", moved=False, dim=64).layers[0].mamba.step.bias)
    assert 0.001 <= spread.min() < 0.002
    assert 0.05 < spread.max() <= 0.1
    equal = functional.softplus(backbone("mamba4rec", moved=False, steps="equal").layers[0].mamba.step.bias)
    torch.testing.assert_close(equal, torch.full_like(equal, math.log(2)))


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "esasrec", "hstu"])
def test_heads_that_do_not_divide_the_width_are_a_mistake_in_the_spec(name):
    config = find("backbones", name).load().config_type()
    with pytest.raises(ValidationError, match="dim 8 should be a multiple of heads 3"):
        config.model_validate({"dim": 8, "heads": 3})


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"max_len": 0}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str)
@pytest.mark.parametrize("name", names("backbones"))
def test_sizes_and_shares_have_bounds(name, wrong):
    with pytest.raises(ValidationError):
        find("backbones", name).load().config_type().model_validate(wrong)


def test_the_recurrence_of_mamba_stays_fine_in_coarse_precision():
    """Of its gradients, which sum over the positions, none is further off than the products around it make it."""
    found = {}
    for coarse in (False, True):
        with torch_seed(0):
            plugin = find("backbones", "mamba4rec").load()
            backbone = plugin(plugin.config_type()(dim=16, max_len=200, dropout=0.0))
            x, direction = torch.randn(2, 4, 200, 16)
        with torch.autocast("cpu", torch.bfloat16, enabled=coarse):
            states = backbone(x, torch.ones(4, 200, dtype=torch.bool))
        torch.autograd.backward((states.float() * direction).sum())
        found[coarse] = {name: weight.grad for name, weight in backbone.named_parameters()}
    for name, expected in found[False].items():
        assert (found[True][name] - expected).norm() < 0.1 * expected.norm() + 1e-3, name


def test_the_published_padding_is_zero_vectors_up_to_the_longest_history():
    """One key weighed by their number is the same as all of them; without them the states are others."""
    plugin = find("backbones", "sasrec").load()
    settings = {"dim": 8, "max_len": 12, "blocks": 1, "attention": "bidirectional"}
    with torch_seed(0):
        backbone = plugin(plugin.config_type()(**settings, padding="attend")).eval()
        for weight in backbone.parameters():
            nn.init.normal_(weight, std=0.5)
        x = torch.randn(1, 5, 8)
    real = torch.ones(1, 5, dtype=torch.bool)
    [block] = backbone.blocks
    start = x * 8**0.5 + backbone.positions(torch.arange(5))
    filled = torch.cat([start, torch.zeros(1, 7, 8)], dim=1)
    queries, keys, values = block.project(block.norm_attention(filled)).chunk(3, -1)
    attended = (queries @ keys.transpose(1, 2) * 8**-0.5).softmax(-1) @ values
    after = (start + block.out(attended[:, :5])).detach()
    expected = backbone.norm(after + block.net(block.norm_net(after)))
    torch.testing.assert_close(backbone(x, real), expected)
    hidden = plugin(plugin.config_type()(**settings)).eval()
    hidden.load_state_dict(backbone.state_dict())
    assert not torch.allclose(hidden(x, real), expected, atol=1e-2)


def test_padding_that_nobody_could_see_is_a_mistake_in_the_spec():
    with pytest.raises(ValidationError, match="needs attention: bidirectional"):
        find("backbones", "sasrec").load().config_type()(padding="attend")
