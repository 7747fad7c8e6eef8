"""LLMEmb's pieces: adapters by hand, ids beside text, freezing, alignment, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.registry.entries import find
from llmemb_bench.testing.recommender import known

ITEMS, WIDTH, DIM = 12, 20, 8
IDS = torch.tensor([1, 5, 12])


def llmemb(text: Tensor | None = None, dim: int = DIM, teacher: bool = True, **settings):
    plugin, reader = find("methods", "llmemb").load(), find("backbones", "sasrec").load()
    with torch_seed(0):
        text = torch.randn(ITEMS, WIDTH) if text is None else text
        parts = Parts(
            ITEMS,
            reader(reader.config_type()(dim=dim, max_len=5)),
            functional.pad(text, (0, 0, 1, 0)),
            {"teacher": known(functional.pad(torch.randn(ITEMS, dim), (0, 0, 1, 0)))} if teacher else {},
        )
        return plugin(plugin.config_type().model_validate({"standardize": False, **settings}), parts)


def names(method) -> set[str]:
    trained = {name for name, weight in method.named_parameters() if weight.requires_grad}
    return {name for name in trained if not name.startswith("backbone.")} - {"mask"}


def test_the_papers_adapter_is_two_linear_layers_folded_or_not():
    method = llmemb(adapter_dim=10)
    first, second = method.adapter.first, method.adapter.second
    assert first.weight.shape == (10, WIDTH)
    by_hand = second(first(method.text[IDS - 1]))
    torch.testing.assert_close(method.items(IDS), by_hand)
    folded = torch.autograd.grad(method.items(IDS).square().sum(), [*first.parameters(), *second.parameters()])
    plain = torch.autograd.grad(by_hand.square().sum(), [*first.parameters(), *second.parameters()])
    for one, other in zip(folded, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_the_mlp_has_a_gelu_between():
    method = llmemb(adapter="mlp")
    inner = functional.gelu(method.adapter.first(method.text[IDS - 1]))
    torch.testing.assert_close(method.items(IDS), method.adapter.second(inner))


def test_the_mixture_is_a_gated_sum_of_shifted_experts():
    method = llmemb(adapter="moe").eval()
    mixture = method.adapter
    with torch.no_grad():
        mixture.gate.weight.normal_()
        mixture.shifts.normal_()
    text = method.text[IDS - 1]
    gates = (text @ mixture.gate.weight.T).softmax(1)
    experts = mixture.experts.weight.view(8, DIM, WIDTH)
    by_hand = sum(gates[:, k, None] * ((text - mixture.shifts[k]) @ experts[k].T) for k in range(8))
    torch.testing.assert_close(method.items(IDS), by_hand)
    with torch_seed(1):
        assert not torch.allclose(method.train().items(IDS), by_hand)  # noisy gates in training


@pytest.mark.parametrize("adapter", ["linear_linear", "mlp", "moe"])
def test_every_adapter_starts_with_vectors_of_length_about_one(adapter):
    method = llmemb(torch.randn(ITEMS, 256), adapter=adapter, dim=64).eval()
    assert 0.2 < method.catalogue().norm(dim=1).mean() < 3


def test_ids_are_replaced_added_or_beside():
    assert names(llmemb()) == {
        "adapter.first.weight",
        "adapter.first.bias",
        "adapter.second.weight",
        "adapter.second.bias",
    }
    added = llmemb(ids="add")
    torch.testing.assert_close(added.items(IDS), added.adapter(added.text[IDS - 1]) + added.table.weight[IDS - 1])
    beside = llmemb(ids="concatenate")
    found = beside.items(IDS)
    torch.testing.assert_close(found[:, : DIM // 2], beside.adapter(beside.text[IDS - 1]))
    torch.testing.assert_close(found[:, DIM // 2 :], beside.table.weight[IDS - 1])
    assert [len(method.tables()) for method in (llmemb(), added, beside)] == [0, 1, 1]


def test_the_ablations_are_settings():
    bare = llmemb(torch.randn(ITEMS, DIM), adapter="none")
    assert names(bare) == set()  # frozen text vectors, nothing of the items is trained
    torch.testing.assert_close(bare.items(IDS), bare.text[IDS - 1])
    assert "text" in names(llmemb(freeze=False))
    assert "text" in llmemb(freeze=False).state_dict()
    assert "text" not in llmemb().state_dict()
    plugin = find("methods", "llmemb").load()
    without = plugin.config_type().model_validate({"alignment": {"weight": 0.0}})
    assert plugin.upstream(without) == {}
    assert plugin.upstream(plugin.config_type()())["teacher"].method.use == "id_only"
    assert llmemb(teacher=False, alignment={"weight": 0.0}).teacher is None


def test_what_does_not_fit_says_what_to_write_instead():
    fix = r"embeddings.transforms: \[\{use: pca, dim: 8\}\]"
    with pytest.raises(SpecError, match=f"they have 20 dimensions, should have 8 -> {fix}"):
        llmemb(adapter="none")
    with pytest.raises(SpecError, match="an even dim"):
        llmemb(ids="concatenate", dim=7)


@pytest.mark.parametrize("adapter", ["moe", "none"])
def test_a_width_that_no_layer_has_is_a_mistake_in_the_spec(adapter):
    with pytest.raises(ValidationError, match="adapter_dim says nothing"):
        llmemb(adapter=adapter, adapter_dim=4)


def test_unit_mean_square_makes_every_encoders_scale_the_same():
    text = torch.randn(ITEMS, WIDTH)
    small, large = (llmemb(scale * text, standardize=True) for scale in (0.01, 100.0))
    torch.testing.assert_close(small.text, large.text)
    assert small.text.square().mean() == pytest.approx(1.0)
