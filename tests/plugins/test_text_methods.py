"""Methods over text vectors against their equations, written plainly in float64: values, gradients, what is frozen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Batch, Parts
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training import loop
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import backward
from llmemb_bench.training.start import start_weights
from tests.helpers.plugins import configured, plugin
from tests.helpers.splits import make_split

ITEMS, WIDTH, DIM = 30, 12, 8
IDS = torch.arange(1, ITEMS + 1)
HISTORIES = [
    [1 + (start * step + place * step) % (ITEMS - 2) for place in range(8)] for start in range(9) for step in (1, 2)
]
"""Nine items have no training event."""
SPLIT = make_split(HISTORIES, ITEMS)
KNOWN = SPLIT.popularity[1:] > 0
TEXT = 3 * torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(1)) + 2


def made(name: str, dim: int = DIM, text: Tensor = TEXT, backbone: str = "sasrec", **settings):
    """A method on these texts, fitted, and without dropout."""
    found, config = configured("methods", name, **settings)
    with torch_seed(0):
        reader = plugin("backbones", backbone, dim=dim, max_len=6, dropout=0.0)
        method = found(config, Parts(len(text), reader, functional.pad(text, (0, 0, 1, 0))))
        method.fit_counts(SPLIT)
    return method.eval()


def a_batch(method) -> Batch:
    batches = batches_of(method, SPLIT, plugin("objectives", "bce"), TrainConfig(batch_size=8))
    return next(iter(batches.epoch(0, 1)))


def trained(method) -> set[str]:
    names = {name for name, weight in method.named_parameters() if weight.requires_grad}
    return {name.split(".")[0] for name in names} - {"backbone", "mask"}


def doubles(module) -> dict[str, Tensor]:
    """Its weights in float64, each to be differentiated by."""
    return {name: weight.detach().double().requires_grad_() for name, weight in module.named_parameters()}


def same_gradients(value: Tensor, weights: list[Tensor], plain: Tensor, plain_weights: list[Tensor]) -> None:
    torch.testing.assert_close(value.double(), plain, rtol=2e-5, atol=1e-6)
    found = torch.autograd.grad(value, weights)
    wanted = torch.autograd.grad(plain, plain_weights)
    for one, other in zip(found, wanted, strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-5)


def unit_square(text: Tensor) -> Tensor:
    text = text.double()
    return text / math.sqrt(float((text**2).sum()) / text.numel())


def pca(text: np.ndarray, dim: int) -> np.ndarray:
    centred = text - text.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :dim] * values[:dim]


def of_length(vectors: np.ndarray, length: float) -> np.ndarray:
    return vectors * length / np.sqrt((vectors**2).sum(1).mean())


def products(vectors) -> np.ndarray:
    """What no turn and no sign of the dimensions changes."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors @ vectors.T


# --- id tables that start as text ---


def test_llm2x_starts_as_the_principal_components_of_the_text():
    method = made("llm2x", start_length=0.5)
    wanted = of_length(pca(TEXT.double().numpy(), DIM), 0.5)
    np.testing.assert_allclose(products(method.catalogue().detach()), products(wanted), atol=1e-5)
    assert trained(method) == {"table"}
    assert [table.weight is method.table.weight for table in method.tables()] == [True]


def test_llm2x_takes_other_reductions_and_the_papers_scale():
    raw = made("llm2x", start_length=None).catalogue().detach()
    np.testing.assert_allclose(products(raw), products(pca(TEXT.double().numpy(), DIM)), rtol=1e-4, atol=1e-3)
    even = made("llm2x", reduction="svd_init", start_length=None).catalogue().detach()
    np.testing.assert_allclose(even.var(0, correction=0), np.ones(DIM), rtol=1e-4)
    drawn = made("llm2x", reduction="random_projection").catalogue().detach()
    affine = torch.cat([TEXT, torch.ones(ITEMS, 1)], dim=1)
    torch.testing.assert_close(affine @ torch.linalg.lstsq(affine, drawn).solution, drawn, rtol=1e-3, atol=1e-4)


def test_llm2x_leaves_vectors_of_the_right_width_as_they_are():
    text = TEXT[:, :DIM]
    torch.testing.assert_close(made("llm2x", text=text, start_length=None).catalogue(), text)


def test_llm_init_starts_as_the_dimensions_that_vary_most_over_popular_items():
    events = SPLIT.popularity[1:]
    least = sorted(events[KNOWN], reverse=True)[math.ceil(0.2 * KNOWN.sum()) - 1]
    popular = TEXT.double().numpy()[events >= least]
    chosen = sorted(np.argsort(-popular.var(0))[:DIM])
    assert chosen != sorted(np.argsort(-TEXT.double().numpy().var(0))[:DIM])  # else the rule would not show
    method = made("llm_init", start_length=None)
    torch.testing.assert_close(method.catalogue(), TEXT[:, chosen])
    assert trained(method) == {"table"}


def test_llm_init_has_the_other_rules_too():
    even = made("llm_init", rule="uniform", start_length=None).catalogue().detach()
    assert torch.equal(even, TEXT[:, [place * WIDTH // DIM for place in range(DIM)]])
    one, other = (made("llm_init", rule="random", seed=seed, start_length=None).catalogue() for seed in (1, 2))
    assert not torch.equal(one, other)
    assert made("llm_init").catalogue().detach().norm(dim=1).square().mean().sqrt() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["llm2x", "llm_init", "sailrec", "faerec"])
def test_no_start_overwrites_a_table_that_came_from_text(name):
    method = made(name)
    before = method.table.weight.clone()
    start_weights(method, "published")
    assert torch.equal(method.table.weight, before)


def test_the_mask_of_a_cloze_task_is_as_long_as_the_vectors_that_come_from_data():
    method = made("llm2x", backbone="bert4rec", start_length=0.1)
    start_weights(method, "ours")
    assert method.mask.norm().item() == pytest.approx(method.catalogue().norm(dim=1).mean().item(), rel=1e-5)


# --- frozen vectors through an adapter ---


def whitened(groups: int) -> np.ndarray:
    text, known = TEXT.double().numpy(), TEXT.double().numpy()[KNOWN]
    blocks = []
    for block in np.split(np.arange(WIDTH), groups):
        covariance = np.cov(known[:, block], rowvar=False, bias=True)
        root = scipy.linalg.inv(scipy.linalg.sqrtm(covariance))
        blocks.append((text[:, block] - known[:, block].mean(0)) @ root)
    return np.concatenate(blocks, axis=1)


def projected(vectors: np.ndarray, weights: dict[str, Tensor]) -> Tensor:
    inner = torch.from_numpy(vectors) @ weights["first.weight"].T + weights["first.bias"]
    outer = inner.clamp(min=0) @ weights["second.weight"].T + weights["second.bias"]
    return outer.clamp(min=0)


@pytest.mark.parametrize(
    ("name", "groups", "settings"),
    [("whitenrec", (1,), {}), ("whitenrec", (3,), {"groups": 3}), ("whitenrec_plus", (1, 4), {})],
)
def test_whitenrec_projects_whitened_vectors_and_the_plus_sums_two_of_them(name, groups, settings):
    method = made(name, **settings)
    weights = doubles(method.projector)
    plain = sum(projected(whitened(count), weights) for count in groups)
    torch.testing.assert_close(method.items(IDS).double(), plain, rtol=1e-3, atol=1e-4)
    same_gradients(
        method.items(IDS).square().sum(),
        list(method.projector.parameters()),
        plain.square().sum(),
        list(weights.values()),
    )
    assert trained(method) == {"projector"}
    assert not [key for key in method.state_dict() if "white" in key or "text" in key]


def test_whitened_vectors_are_uncorrelated_where_there_are_events_and_a_new_item_moves_nobody():
    method = made("whitenrec")
    white = method.white_1[torch.from_numpy(KNOWN)].double().numpy()
    np.testing.assert_allclose(np.cov(white, rowvar=False, bias=True), np.eye(WIDTH), atol=1e-4)
    other = TEXT.clone()
    other[~torch.from_numpy(KNOWN)] += 5
    np.testing.assert_allclose(made("whitenrec", text=other).white_1[KNOWN], method.white_1[KNOWN])
    assert not torch.equal(made("whitenrec", fit_on="all").white_1, method.white_1)


def alphafuse_text() -> np.ndarray:
    text, known = TEXT.double().numpy(), TEXT.double().numpy()[KNOWN]
    directions, values, _ = np.linalg.svd(np.cov(known, rowvar=False))
    return (text - known.mean(0)) @ directions[:, :DIM] / np.sqrt(values[:DIM])


def test_alphafuse_adds_ids_in_the_last_dimensions_of_the_decomposed_text():
    method, wanted = made("alphafuse", null_dim=3), alphafuse_text()
    found = method.catalogue().detach().double().numpy()  # ids start at zero
    signs = np.sign((found * wanted).sum(0))
    np.testing.assert_allclose(found, wanted * signs, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        method.table.weight.normal_()
    fused = wanted * signs
    fused[:, DIM - 3 :] += method.table.weight.detach().double().numpy()
    np.testing.assert_allclose(method.catalogue().detach(), fused, rtol=1e-3, atol=1e-4)
    [gradient] = torch.autograd.grad(method.items(IDS).square().sum(), [method.table.weight])
    np.testing.assert_allclose(gradient, 2 * fused[:, DIM - 3 :], rtol=1e-3, atol=1e-3)
    assert trained(method) == {"table"}
    assert "text" not in method.state_dict()


def test_alphafuse_covers_the_last_dimensions_where_it_is_told_to():
    method = made("alphafuse", ids="cover", start="normal")
    assert method.table.weight.shape == (ITEMS, DIM // 2)
    torch.testing.assert_close(method.catalogue()[:, DIM // 2 :], method.table.weight)
    added = made("alphafuse")
    torch.testing.assert_close(method.catalogue()[:, : DIM // 2], added.catalogue()[:, : DIM // 2])
    assert made("alphafuse", weights="events").text.sub(added.text).abs().max() > 1e-3


def mixture(text: Tensor, weights: dict[str, Tensor], dim: int) -> Tensor:
    rows = []
    for x in text:
        gates = torch.exp(weights["gate.weight"] @ x)
        experts = weights["experts.weight"].view(8, dim, len(x))
        rows.append(sum(gates[k] * (experts[k] @ (x - weights["shifts"][k])) for k in range(8)) / gates.sum())
    return torch.stack(rows)


@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_unisrec_mixes_shifted_experts_and_adds_ids_where_it_is_transductive(setting):
    method = made("unisrec", setting=setting)
    with torch.no_grad():
        method.adapter.gate.weight.normal_(std=0.3)
        method.adapter.shifts.normal_()
    weights = doubles(method.adapter)
    plain = mixture(unit_square(TEXT), weights, DIM)
    own = [] if method.table is None else [method.table.weight.detach().double().requires_grad_()]
    plain = plain + own[0] if own else plain
    names = [name for name in weights if not name.startswith("noise")]
    same_gradients(
        method.items(IDS).square().sum(),
        [dict(method.adapter.named_parameters())[name] for name in names] + [table.weight for table in method.tables()],
        plain.square().sum(),
        [weights[name] for name in names] + own,
    )
    assert trained(method) == ({"adapter", "table"} if own else {"adapter"})


def test_unisrec_drops_and_draws_in_training_only():
    method = made("unisrec", dropout=0.0)
    assert torch.equal(method.items(IDS), method.items(IDS))
    method.train()
    assert not torch.equal(method.items(IDS), method.items(IDS))  # gates are noisy
    with torch.no_grad():
        method.adapter.experts.weight[:] = method.adapter.experts.weight.view(8, DIM, WIDTH)[0].repeat(8, 1)
    torch.testing.assert_close(method.items(IDS), method.items(IDS))  # gates sum to one, so alike experts hide them
    dropping = made("unisrec", dropout=0.5).train()
    assert not torch.allclose(dropping.adapter.dropout(dropping.text), dropping.text)


def test_morec_is_one_layer_and_a_gelu():
    method = made("morec")
    weights = doubles(method.adapter)
    inner = unit_square(TEXT) @ weights["layer.weight"].T + weights["layer.bias"]
    plain = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    same_gradients(
        method.items(IDS).square().sum(),
        list(method.adapter.parameters()),
        plain.square().sum(),
        list(weights.values()),
    )
    assert trained(method) == {"adapter"}


@torch.no_grad()
@pytest.mark.parametrize("name", ["whitenrec", "whitenrec_plus", "alphafuse", "unisrec", "morec"])
def test_scores_are_cosines_by_temperature_where_the_method_says_so(name):
    cosine, product = made(name, temperature=0.07), made(name, temperature=None)
    histories = torch.tensor([[1, 2, 3], [4, 5, 0]])
    for method in (cosine, product):
        method.begin_ranking()
    states, vectors = product.states(histories).double(), product.catalogue().double()
    lengths = states.norm(dim=1)[:, None] * vectors.norm(dim=1)
    every = slice(1, ITEMS + 1)
    torch.testing.assert_close(product.scores(states.float(), every).double(), states @ vectors.T, rtol=1e-4, atol=1e-4)
    wanted = (states @ vectors.T / (0.07 * lengths.clamp(min=1e-12))).float()
    torch.testing.assert_close(cosine.scores(cosine.states(histories), every), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["unisrec", "morec", "whitenrec", "whitenrec_plus", "faerec"])
def test_adapted_vectors_start_with_lengths_of_about_one(name):
    found = made(name, text=7 * TEXT).catalogue().norm(dim=1).mean()
    assert 0.3 < found < 3, found


# --- alignment ---


def log_softmax(logits: list[Tensor], own: int) -> Tensor:
    return logits[own] - torch.log(sum(torch.exp(logit) for logit in logits))


def info_nce(left: Tensor, right: Tensor, temperature: float) -> list[Tensor]:
    """What each row of `left` pays."""
    cosine = functional.cosine_similarity
    return [-log_softmax([cosine(x, y, dim=0) / temperature for y in right], row) for row, x in enumerate(left)]


def positives(batch: Batch) -> Tensor:
    """Ids of the items that a batch predicts, each once."""
    return torch.tensor(sorted({int(batch.rows[row]) for row in batch.positives}))


RULES = {
    "binary": lambda f, every: 2.0 if f <= np.quantile([x for x in every if x > 0], 0.2) else 0.5,
    "log": lambda f, every: 1 / (1 + math.log(f + 1)),
    "sqrt": lambda f, every: 1 / math.sqrt(f + 1),
    "linear": lambda f, every: 1 / (f + 1),
    "none": lambda f, every: 1.0,
}


@pytest.mark.parametrize("rule", RULES)
def test_sailrec_pays_both_directions_weighted_by_training_events(rule):
    method = made("sailrec", frequency=rule, weight=0.7)
    batch = a_batch(method)
    ids, events = positives(batch), SPLIT.popularity[1:].tolist()
    weights = [RULES[rule](events[item - 1], events) for item in ids.tolist()]
    table, projection = (
        weight.detach().double().requires_grad_() for weight in (method.table.weight, method.projection.weight)
    )
    text = unit_square(TEXT)[ids - 1] @ projection.T
    pairs = zip(info_nce(table[ids - 1], text, 0.1), info_nce(text, table[ids - 1], 0.1), weights, strict=True)
    plain = 0.7 * sum(weight * (one + other) / 2 for one, other, weight in pairs) / sum(weights)
    value = method.auxiliary(batch, method.items(batch.rows))
    same_gradients(value, [method.table.weight, method.projection.weight], plain, [table, projection])
    assert method.weights.mean() == pytest.approx(1.0)
    assert trained(method) == {"table", "projection"}


def test_sailrec_starts_as_components_of_directions_and_without_weight_is_that_start_alone():
    method = made("sailrec", weight=0.0)
    text = TEXT.double().numpy()
    directions = text / np.linalg.norm(text, axis=1, keepdims=True)
    np.testing.assert_allclose(
        products(method.catalogue().detach()), products(of_length(pca(directions, DIM), 1)), atol=1e-5
    )
    batch = a_batch(method)
    assert method.auxiliary(batch, method.items(batch.rows)) == 0
    assert trained(method) == {"table"}


@pytest.mark.parametrize(("form", "weight"), [("contrastive", 0.01), ("generative", 0.1)])
def test_rlmrec_contrasts_ids_with_text_or_makes_them_tell_it(form, weight):
    method = made("rlmrec", form=form)
    batch = a_batch(method)
    ids, bridge = positives(batch), doubles(method.bridge)
    assert bridge["first.weight"].shape[0] == (WIDTH + DIM) // 2
    table = method.table.weight.detach().double().requires_grad_()

    def bridged(x: Tensor) -> Tensor:
        inner = x @ bridge["first.weight"].T + bridge["first.bias"]
        return torch.where(inner > 0, inner, 0.01 * inner) @ bridge["second.weight"].T + bridge["second.bias"]

    own, text = table[ids - 1], unit_square(TEXT)[ids - 1]
    pair = (own, bridged(text)) if form == "contrastive" else (bridged(own), text)
    plain = weight * sum(info_nce(*pair, 0.2)) / len(ids)
    value = method.auxiliary(batch, method.items(batch.rows))
    same_gradients(
        100 * value,
        [method.table.weight, *method.bridge.parameters()],
        100 * plain,
        [table, *bridge.values()],
    )
    assert trained(method) == {"table", "bridge"}
    assert trained(made("rlmrec", form=form, weight=0.0)) == {"table"}


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def two_layers(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    inner = gelu(x @ weights["first.weight"].T + weights["first.bias"])
    return inner @ weights["second.weight"].T + weights["second.bias"]


def barlow(left: Tensor, right: Tensor, off_diagonal: float) -> Tensor:
    def standardised(x: Tensor) -> Tensor:
        return (x - x.mean(0)) / torch.sqrt(((x - x.mean(0)) ** 2).sum(0) / len(x) + 1e-5)

    left, right, total = standardised(left), standardised(right), torch.zeros((), dtype=torch.float64)
    for a in range(left.shape[1]):
        for b in range(left.shape[1]):
            correlation = (left[:, a] * right[:, b]).sum() / len(left)
            total = total + ((correlation - 1) ** 2 if a == b else off_diagonal * correlation**2)
    return total


def test_faerec_mixes_ids_and_text_by_a_gate():
    method = made("faerec")
    mapper, gate = doubles(method.mapper), doubles(method.gate)
    table = method.table.weight.detach().double().requires_grad_()
    text = two_layers(unit_square(TEXT), mapper)
    share = 1 / (1 + torch.exp(-two_layers(torch.cat([table, text], 1), gate)))
    same_gradients(
        method.items(IDS).square().sum(),
        [method.table.weight, *method.mapper.parameters(), *method.gate.parameters()],
        (share * table + (1 - share) * text).square().sum(),
        [table, *mapper.values(), *gate.values()],
    )
    assert trained(method) == {"table", "mapper", "gate"}


@pytest.mark.parametrize("by_popularity", [True, False])
@pytest.mark.parametrize("epoch", [1, 8])
def test_faerec_aligns_items_and_features_in_turns(epoch, by_popularity):
    method = made("faerec", by_popularity=by_popularity, curriculum={"least": 0.3, "period": 20})
    [phase] = method.phases()
    phase.begin_epoch(epoch)
    batch = a_batch(method)
    ids = positives(batch)
    mapper, table = doubles(method.mapper), method.table.weight.detach().double().requires_grad_()
    own, text = table[ids - 1], two_layers(unit_square(TEXT)[ids - 1], mapper)
    share = 0.3 + 0.7 * (1 + math.cos(2 * math.pi * (epoch - 1) / 20)) / 2
    assert (share == 1) == (epoch == 1)
    events = torch.from_numpy(SPLIT.popularity[ids.numpy()])
    median = sorted(events.tolist())[(len(events) - 1) // 2]
    halves = [events >= median, events < median] if by_popularity else [events >= 0]
    assert all(half.sum() > 1 for half in halves)
    plain = share * sum(info_nce(own, text, 0.05)) / len(ids)
    plain = plain + (1 - share) * sum(barlow(own[half], text[half], 0.005) for half in halves)
    value = method.auxiliary(batch, method.items(batch.rows))
    same_gradients(
        value,
        [method.table.weight, *list(method.mapper.parameters())[:3]],
        0.2 * plain,
        [table, *list(mapper.values())[:3]],
    )


def test_faerecs_epoch_is_in_its_checkpoint_and_without_weight_nothing_is_aligned():
    method = made("faerec", weight=0.0)
    method.begin_epoch(7)
    assert method.state_dict()["epoch"] == 6
    batch = a_batch(method)
    assert method.auxiliary(batch, method.items(batch.rows)) == 0


@pytest.mark.parametrize("name", ["llm2x", "alphafuse", "sailrec", "rlmrec", "faerec"])
def test_lazy_adam_moves_the_rows_of_a_batch_alone(name):
    method = made(name).train()
    for table in method.tables():
        table.sparse = True
    batch = a_batch(method)
    backward(method, plugin("objectives", "bce"), batch, TrainConfig())
    gradient = method.table.weight.grad.coalesce()
    assert set(gradient.indices()[0].tolist()) <= {int(item) - 1 for item in batch.rows}
    assert len(gradient.indices()[0]) < ITEMS


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("llm2x", {"dim": 16}, r"start of the id table takes 16 dimensions of 30 text vectors with 12 each -> dim: 12"),
        ("llm_init", {"dim": 16}, "takes 16 dimensions"),
        ("sailrec", {"dim": 16}, "takes 16 dimensions"),
        ("faerec", {"dim": 16}, "takes 16 dimensions"),
        ("alphafuse", {"dim": 16}, "alphafuse takes 16 dimensions of 30 text vectors with 12 each"),
        ("alphafuse", {"null_dim": 8}, "ids in 8 of 8 dimensions leave none to the text -> null_dim: 4"),
        ("whitenrec", {"groups": 5}, "12 dimensions do not fall into 5 equal groups -> groups: 4"),
        ("whitenrec_plus", {"groups": 24}, "12 dimensions do not fall into 24 equal groups -> groups: 12"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(name, settings, told):
    with pytest.raises(SpecError, match=told):
        made(name, **settings)


SMALL = """\
version: 1
name: small
seeds: [1]
dataset: {use: synthetic, users: 60, catalogue: 80, mean_length: 6.0}
embeddings:
  encoder: {use: tfidf, dim: 12}
recommender:
  method: {use: llm2x, start_length: 0.25}
  backbone: {use: bert4rec, dim: 8, max_len: 6}
  objective: cross_entropy
  train: {epochs: 1, learning_rate: 1.0e-12, batch_size: 8, checkpoint_seconds: 0}
evaluate: {protocols: [full]}
"""


def test_a_cell_sees_its_data_before_its_weights_start(cli, tmp_path):
    (tmp_path / "spec.yaml").write_text(SMALL)
    ran = cli("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", "none")
    assert ran.code == 0, ran.err
    [path] = (tmp_path / "results" / "runs").glob("*/*/weights.safetensors")
    weights = load_file(path)
    lengths = weights["table.weight"].norm(dim=1)
    assert lengths.square().mean().sqrt() == pytest.approx(0.25, abs=1e-4)
    assert weights["mask"].norm() == pytest.approx(lengths.mean().item(), abs=1e-4)


@pytest.mark.parametrize("name", ["sailrec", "whitenrec_plus", "alphafuse", "faerec"])
def test_a_training_that_is_cut_off_goes_on_to_the_same_bytes(name, cli, tmp_path, monkeypatch):
    """What was made of the data is made again, and what the curriculum has reached is in the checkpoint."""
    sets = ("recommender.train.epochs=3", "recommender.train.learning_rate=0.01", "recommender.backbone.use=sasrec")
    words = [word for value in (f"recommender.method={{use: {name}}}", *sets) for word in ("--set", value)]
    (tmp_path / "spec.yaml").write_text(SMALL)

    def run(results: str) -> int:
        return cli("run", tmp_path / "spec.yaml", "--progress", "none", "--results", tmp_path / results, *words).code

    def weights(results: str) -> bytes:
        [path] = (tmp_path / results / "runs").glob("*/*/weights.safetensors")
        return path.read_bytes()

    assert run("whole") == 0
    steps, step = iter(range(100)), loop._Training._step

    def cut(self, batch):
        assert next(steps) < 4
        step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(loop._Training, "_step", cut)
        assert run("cut") != 0
    assert next(steps) == 5  # cut off in the second epoch
    assert run("cut") == 0
    assert weights("cut") == weights("whole")
