"""Where weights start, and whether RAT's alignment has something to say there."""

from __future__ import annotations

import math

import pytest
import torch

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Batch, Negatives, Parts
from llmemb_bench.registry.entries import find, names
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.start import start_weights

ITEMS, TEXT, DIM = 300, 96, 32
STARTS = ("ours", "published")


def method(name: str, start: str = "ours", backbone: str = "sasrec", **settings):
    plugin = find("methods", name).load()
    reader = find("backbones", backbone).load()
    with torch_seed(1):
        text = torch.nn.functional.pad(3 * torch.randn(ITEMS, TEXT), (0, 0, 1, 0))
        teacher = torch.nn.functional.pad(torch.randn(ITEMS, DIM), (0, 0, 1, 0))
        parts = Parts(ITEMS, reader(reader.config_type()(dim=DIM)), text, {"teacher": known(teacher)})
        made = plugin(plugin.config_type().model_validate(settings), parts)
        start_weights(made, start)
    return made


@pytest.mark.parametrize("name", ["id_only", "llmemb"])
@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec", "bert4rec"])
def test_the_published_start_draws_every_matrix_from_xaviers_distribution(name, backbone):
    made = method(name, "published", backbone)
    matrices = {key: weight for key, weight in made.named_parameters() if weight.dim() > 1}
    assert len(matrices) > 3
    for key, weight in matrices.items():
        fan_out, fan_in = weight.shape
        expected = math.sqrt(2 / (fan_in + fan_out))
        # The standard deviation of a sample of n has a standard error of 1 / sqrt(2 n).
        assert abs(weight.std().item() / expected - 1) < 5 / math.sqrt(2 * weight.numel()), key


@pytest.mark.parametrize(("backbone", "weight"), [("mamba4rec", "log_rate"), ("fmlp", "kernel")])
def test_no_start_overwrites_weights_whose_values_mean_something(backbone, weight):
    ours, published = (dict(method("id_only", start, backbone).named_parameters()) for start in STARTS)
    kept = [name for name in ours if name.endswith(f".{weight}")]
    assert kept
    for name in kept:
        assert torch.equal(ours[name], published[name])
    assert not torch.equal(ours["table.weight"], published["table.weight"])


def test_no_start_overwrites_vectors_that_come_from_data():
    made = method("llmemb", "published", freeze=False)
    assert made.text.requires_grad
    torch.testing.assert_close(made.text.square().mean(), torch.tensor(1.0))


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("settings", [{}, {"adapter": "mlp"}, {"ids": "add"}])
def test_a_mask_is_as_long_as_an_item(start, settings):
    made = method("llmemb", start, **settings)
    with torch.no_grad():
        length = made.eval().catalogue().norm(dim=1).mean()
    torch.testing.assert_close(made.mask.norm().detach(), length)


def test_ids_start_as_long_as_ever_and_their_mask_with_them():
    made = method("id_only")
    torch.testing.assert_close(made.mask.norm().item(), 0.02 * math.sqrt(DIM), rtol=0.1, atol=0.0)


@pytest.mark.parametrize("length", [1.0, 4.0])
@pytest.mark.parametrize("adapter", ["linear_linear", "mlp", "moe", "none"])
def test_adapted_vectors_start_at_the_length_that_is_asked_for(adapter, length):
    reader = find("backbones", "sasrec").load()
    plugin = find("methods", "llmemb").load()
    width = DIM if adapter == "none" else TEXT
    with torch_seed(1):
        text = torch.nn.functional.pad(3 * torch.randn(ITEMS, width), (0, 0, 1, 0))
        parts = Parts(ITEMS, reader(reader.config_type()(dim=DIM)), text, {"teacher": known(text[:, :DIM])})
        made = plugin(plugin.config_type()(adapter=adapter, start_length=length), parts).eval()
    with torch.no_grad():
        found = made.catalogue().norm(dim=1).mean().item()
    # `mlp` loses a share to its activation (gelu of a standard normal number has a root mean square of 0.65).
    assert 0.55 * length < found < 1.25 * length


def test_the_published_start_makes_longer_vectors_than_ours():
    with torch.no_grad():
        ours, published = (method("llmemb", start).eval().catalogue().norm(dim=1).mean() for start in STARTS)
    assert published > 4 * ours


class TestCurves:
    """What the log tells about alignment."""

    def batch(self, rows):
        ids = torch.tensor(rows)
        empty = Negatives(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0), None, ITEMS)
        places = torch.arange(len(rows) + 1)
        return Batch(torch.tensor([0]), ids, (), places, torch.tensor([*range(len(rows)), 0]), empty, 4.0, 1.0)

    @pytest.mark.parametrize(("start", "length"), [("ours", 1.0), ("ours", 6.0), ("published", 1.0)])
    def test_they_are_the_formulas_in_float64(self, start, length):
        made = method("llmemb", start, start_length=length)
        batch = self.batch([3, 50, 7, 200, 9])
        with torch.no_grad():
            vectors = made.items(batch.rows)
        found = made.curves(batch, vectors)
        teacher, adapted = made.teacher[batch.rows].double(), vectors.double()
        targets = (2.0 * (teacher @ teacher.T + adapted @ adapted.T) / 2).softmax(1)
        entropy = -(targets * targets.log().nan_to_num(neginf=0.0)).sum(1).mean() / math.log(5)
        assert found["target_entropy"] == pytest.approx(entropy.item(), abs=1e-5)
        assert found["target_own"] == pytest.approx(targets.diagonal().mean().item(), abs=1e-5)
        assert found["target_chance"] == 0.2
        assert found["adapted_length"] == pytest.approx(adapted.norm(dim=1).mean().item(), rel=1e-5)
        assert found["teacher_length"] == pytest.approx(teacher.norm(dim=1).mean().item(), rel=1e-5)

    def test_a_loss_with_hard_targets_asks_for_the_own_item_alone(self):
        made = method("llmemb", alignment={"loss": {"use": "info_nce"}})
        batch = self.batch([3, 50, 7])
        with torch.no_grad():
            found = made.curves(batch, made.items(batch.rows))
        assert (found["target_entropy"], found["target_own"]) == (0.0, 1.0)

    def test_nothing_is_told_where_alignment_is_off(self):
        made = method("llmemb", alignment={"weight": 0.0})
        assert made.curves(self.batch([3, 50]), torch.zeros(2, DIM)) == {}

    def test_a_reader_is_told_of_alignment_that_aligns_nothing(self):
        made = method("llmemb")
        idle = {"target_entropy": 0.997, "target_own": 0.001, "auxiliary_share": 0.02}
        (doubt,) = made.warnings(idle)
        assert "idle" in doubt
        assert "nearly uniform" in doubt
        fine = {"target_entropy": 0.3, "target_own": 0.7, "auxiliary_share": 0.02}
        assert made.warnings(fine) == []
        assert len(made.warnings(fine | {"auxiliary_share": 0.0001})) == 1
        (doubt,) = made.warnings({"target_entropy": 0.002, "target_own": 0.019, "auxiliary_share": 0.58})  # as measured
        assert "other items" in doubt
        assert made.warnings({}) == []


def test_every_soft_loss_says_what_it_asks_for():
    """The targets of a loss are rows that sum to one; those of a hard loss are the own row."""
    left, right = torch.randn(2, 6, 5)
    for name in names("losses"):
        plugin = find("losses", name).load()
        targets = plugin(plugin.config_type()()).targets(left, right)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        if name != "soft_clip":
            assert torch.equal(targets, torch.eye(6)), name
