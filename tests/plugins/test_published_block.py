"""`sasrec` and `bert4rec` with the published block against a plain writing of LLMEmb's published models.

The plain model shares nothing with ours: a window of `max_len` padded on the left, `torch.nn.MultiheadAttention`,
convolutions of width one, and padding set to zero after every block.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Backbone
from llmemb_bench.registry.entries import find
from llmemb_bench.testing import recommender
from llmemb_bench.testing.case import Case

DIM, MAX_LEN = 8, 12
LENGTHS = [1, 5, MAX_LEN, 2, 7]
MASKS = [("bidirectional", "attend"), ("bidirectional", "hide"), ("causal", "hide")]
CASES = [
    *(
        ("sasrec", {"attention": attention, "padding": padding, "positions": positions})
        for (attention, padding), positions in product(MASKS, ["first", "last"])
    ),
    *(("bert4rec", {"padding": padding}) for padding in ("attend", "hide")),
]

SIGHT = [recommender.changing_the_future_leaves_the_past_unchanged, recommender.a_hidden_position_sees_both_sides]
"""Checks of the contract that are about the task and not about the block."""


class PlainNet(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(DIM, DIM, 1), nn.Conv1d(DIM, DIM, 1)
        self.dropout1, self.dropout2 = nn.Dropout(share), nn.Dropout(share)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.dropout1(self.conv1(x.transpose(1, 2))))
        return self.dropout2(self.conv2(inner)).transpose(1, 2) + x


class PlainPublished(nn.Module):
    """Left-padded vectors and which places are real in, states out."""

    def __init__(self, blocks: int, heads: int, share: float, attention: str, padding: str, positions: str) -> None:
        super().__init__()
        self.attention, self.padding, self.count_from = attention, padding, positions
        self.positions = nn.Embedding(MAX_LEN + 1, DIM, padding_idx=0)  # row 0: padding
        self.dropout = nn.Dropout(share)
        self.attention_norms = nn.ModuleList(nn.LayerNorm(DIM, eps=1e-8) for _ in range(blocks))
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(DIM, heads, share, batch_first=True) for _ in range(blocks)
        )
        self.net_norms = nn.ModuleList(nn.LayerNorm(DIM, eps=1e-8) for _ in range(blocks))
        self.nets = nn.ModuleList(PlainNet(share) for _ in range(blocks))
        self.last_norm = nn.LayerNorm(DIM, eps=1e-8)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        counted = real.cumsum(1) if self.count_from == "first" else torch.arange(1, MAX_LEN + 1)
        x = self.dropout(x * DIM**0.5 + self.positions(counted * real)) * real[..., None]
        for norm, attention, net_norm, net in zip(
            self.attention_norms, self.attentions, self.net_norms, self.nets, strict=True
        ):
            queries = norm(x)
            attended, _ = attention(queries, x, x, **self.masks(real, attention.num_heads))
            x = net(net_norm(queries + attended)) * real[..., None]
        return self.last_norm(x)

    def masks(self, real: Tensor, heads: int) -> dict[str, Tensor]:
        if self.padding == "attend":
            return {}
        if self.attention == "bidirectional":
            return {"key_padding_mask": ~real}
        future = torch.ones(MAX_LEN, MAX_LEN, dtype=torch.bool).triu(1)
        itself = torch.eye(MAX_LEN, dtype=torch.bool)  # padding sees itself: softmax over nothing is NaN
        return {"attn_mask": ((future | ~real[:, None]) & ~itself).repeat_interleave(heads, 0)}


def moved(module: nn.Module) -> nn.Module:
    """No weight where it started, biases and norms least of all."""
    with torch_seed(1), torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return module


def ours(name: str, **settings) -> nn.Module:
    plugin = find("backbones", name).load()
    sizes = {"dim": DIM, "max_len": MAX_LEN, "heads": 2, "block": "published", "dropout": 0.5}
    with torch_seed(0):
        return moved(plugin(plugin.config_type().model_validate({**sizes, **settings})))


def pairs(backbone: nn.Module, plain: PlainPublished) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Every weight of ours and the plain one that it is."""
    found = [
        (backbone.positions.weight, plain.positions.weight),
        (backbone.norm.weight, plain.last_norm.weight),
        (backbone.norm.bias, plain.last_norm.bias),
    ]
    for place, block in enumerate(backbone.blocks):
        attention, net = plain.attentions[place], plain.nets[place]
        inner, _, _, outer, _ = block.net
        found += [
            (block.norm_attention.weight, plain.attention_norms[place].weight),
            (block.norm_attention.bias, plain.attention_norms[place].bias),
            (block.project.weight, attention.in_proj_weight),
            (block.project.bias, attention.in_proj_bias),
            (block.out.weight, attention.out_proj.weight),
            (block.out.bias, attention.out_proj.bias),
            (block.norm_net.weight, plain.net_norms[place].weight),
            (block.norm_net.bias, plain.net_norms[place].bias),
            (inner.weight, net.conv1.weight),
            (inner.bias, net.conv1.bias),
            (outer.weight, net.conv2.weight),
            (outer.bias, net.conv2.bias),
        ]
    assert len(found) == len(list(backbone.parameters())) == len(list(plain.parameters()))
    return found


def part(theirs: Tensor, mine: Tensor) -> Tensor:
    """Without the position of padding and the width of a convolution."""
    return theirs[-len(mine) :].view_as(mine)


def plain_with_the_weights_of(backbone: nn.Module) -> PlainPublished:
    config = backbone.config
    attention = getattr(config, "attention", "bidirectional")  # `bert4rec` knows no other
    positions = getattr(config, "positions", "first")
    plain = PlainPublished(config.blocks, config.heads, config.dropout, attention, config.padding, positions)
    with torch.no_grad():
        for mine, theirs in pairs(backbone, plain):
            part(theirs, mine).copy_(mine)
    return plain


def case(name: str, settings: dict[str, str], folder: Path) -> Case[Backbone]:
    entry = find("backbones", name)
    config = entry.load().config_type().model_validate({"block": "published", **settings})
    return Case(entry, entry.load(), config, folder)


def histories(scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [scale * torch.randn(length, DIM, generator=generator) for length in LENGTHS]


def states_of_ours(backbone: nn.Module, events: list[Tensor]) -> list[Tensor]:
    """Padded on the right, and no further than the longest."""
    x = nn.utils.rnn.pad_sequence(events, batch_first=True, padding_value=7.0)
    real = torch.arange(x.shape[1]) < torch.tensor([len(history) for history in events])[:, None]
    return [states[row] for states, row in zip(backbone(x, real), real, strict=True)]


def states_of_plain(plain: nn.Module, events: list[Tensor]) -> list[Tensor]:
    """Padded on the left to `max_len`, whatever the longest is."""
    x = torch.stack([nn.functional.pad(history, (0, 0, MAX_LEN - len(history), 0)) for history in events])
    real = torch.arange(MAX_LEN) >= MAX_LEN - torch.tensor([len(history) for history in events])[:, None]
    return [states[row] for states, row in zip(plain(x, real), real, strict=True)]


@pytest.mark.parametrize("scale", [1.0, 1e-4], ids=["usual", "tiny"])  # where vectors are tiny an epsilon is seen
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_states_are_those_of_the_published_model(name, settings, heads, scale):
    backbone = ours(name, heads=heads, **settings).eval()
    with torch.no_grad():
        backbone.positions.weight.mul_(scale)
    plain, events = plain_with_the_weights_of(backbone).eval(), histories(scale)
    expected = states_of_plain(plain, events)
    for found in (states_of_ours(backbone, events), [states_of_ours(backbone, [each])[0] for each in events]):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_gradients_are_those_of_the_published_model(name, settings):
    backbone = ours(name, **settings).double().eval()
    plain = plain_with_the_weights_of(backbone).double().eval()
    events = [history.double() for history in histories()]
    for states in (states_of_ours(backbone, events), states_of_plain(plain, events)):
        torch.autograd.backward(torch.cat(states).square().sum())
    for mine, theirs in pairs(backbone, plain):
        torch.testing.assert_close(mine.grad, part(theirs.grad, mine.grad), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_dropout_stands_where_the_published_model_has_it(name, settings, monkeypatch):
    """With a dropout that halves everything, each place and each sum it stands before is seen."""

    def halved(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * 0.5 if training and p else x

    backbone = ours(name, **settings)
    plain, events = plain_with_the_weights_of(backbone), histories()
    before = states_of_ours(backbone.eval(), events)
    monkeypatch.setattr("llmemb_plugins.backbones._dropout.dropout", halved)
    monkeypatch.setattr("llmemb_plugins.backbones._transformer.dropout", halved)
    monkeypatch.setattr("torch.nn.functional.dropout", halved)
    found = states_of_ours(backbone.train(), events)
    torch.testing.assert_close(found, states_of_plain(plain.train(), events), atol=1e-5, rtol=0)
    assert not torch.allclose(found[1], before[1], atol=1e-2)


@pytest.mark.parametrize("other", [{"block": "pre_norm"}, {"positions": "last"}, {"padding": "hide"}], ids=str)
def test_every_setting_changes_the_states(other):
    """So that the equalities above can fail."""
    settings = {"attention": "bidirectional", "padding": "attend"}
    published, changed = ours("sasrec", **settings).eval(), ours("sasrec", **{**settings, **other}).eval()
    changed.load_state_dict(published.state_dict())
    found, expected = (states_of_ours(backbone, histories()) for backbone in (changed, published))
    assert not torch.allclose(found[1], expected[1], atol=1e-2)


@pytest.mark.parametrize("check", [check for check in recommender.BACKBONES if check not in SIGHT])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_published_settings_keep_the_contract(name, settings, check, tmp_path):
    check(case(name, settings, tmp_path))


@pytest.mark.parametrize("positions", ["first", "last"])
def test_a_causal_published_block_cannot_see_the_future(positions, tmp_path):
    settings = {"attention": "causal", "positions": positions}
    recommender.changing_the_future_leaves_the_past_unchanged(case("sasrec", settings, tmp_path))
