"""Training: the loss is what the formula says, early stopping keeps the best, NaN stops."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Batch, Negatives, Parts
from llmemb_bench.registry.entries import names
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training import loop
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.gradients import backward
from llmemb_bench.training.loop import ValidationScore, train
from tests.helpers.plugins import configured, plugin
from tests.helpers.small_training import world
from tests.helpers.splits import make_split


def final_loss(method, objective, batches, epochs=30, seed=0, **settings):
    config = TrainConfig(epochs=epochs, learning_rate=0.01, **settings)
    with torch_seed(seed):
        return train(method, objective, batches, config, lambda: ValidationScore(0.0), seed)


@pytest.mark.parametrize("backbone", names("backbones"))
@pytest.mark.parametrize("objective", names("objectives"))
def test_every_backbone_learns_a_cyclic_world_with_every_objective(backbone, objective):
    method, goal, batches = world(backbone, objective)
    log = final_loss(method, goal, batches, epochs=80, patience=80)
    assert log.events[-1]["loss"] < 0.4 * log.events[0]["loss"]


def test_the_loss_of_a_batch_is_the_formula_by_hand():
    method, goal, _ = world()
    negatives = torch.tensor([[0], [0]])
    batch = Batch(
        users=torch.tensor([0]),
        rows=torch.tensor([3, 7, 9]),
        inputs=(torch.tensor([[1, 2, 0]]),),
        target_positions=torch.tensor([0, 1]),
        positives=torch.tensor([1, 2]),
        negatives=Negatives(negatives, torch.zeros(2, 1), None, 12),
        targets_per_step=2.0,
        histories_per_step=1.0,
    )
    vectors = method.table.weight[[2, 6, 8]]
    x = torch.cat([vectors[:2], torch.zeros(1, 16)])[None]
    states = method.backbone(x, torch.tensor([[True, True, False]]))[0, :2]
    hits = (states * vectors[1:]).sum(1)
    misses = (states * vectors[:1]).sum(1)
    by_hand = -torch.log(torch.sigmoid(hits)).mean() - torch.log(1 - torch.sigmoid(misses)).mean()
    torch.testing.assert_close(backward(method, goal, batch, TrainConfig()).loss, by_hand.detach())


def test_llmemb_keeps_its_table_frozen_and_adds_the_weighted_alignment():
    method, goal, batches = world(method="llmemb", alignment={"weight": 0.5})
    batch = next(batches.epoch(0, 1))
    before = method.text.clone()
    vectors = method.items(batch.rows)
    rows = batch.positives.unique()
    left, right = method.teacher[batch.rows[rows]], vectors[rows]
    logits, targets = left @ right.T / 2, (2 * (left @ left.T + right @ right.T) / 2).softmax(1)
    rowwise = -(targets * logits.log_softmax(1)).sum(1)
    columnwise = -(targets.T * logits.T.log_softmax(1)).sum(1)
    torch.testing.assert_close(method.auxiliary(batch, vectors), 0.5 * ((rowwise + columnwise) / 2).mean())
    final_loss(method, goal, batches, epochs=2)
    assert torch.equal(method.text, before)
    assert "text" not in dict(method.named_parameters())


def test_alignment_over_repeats_is_the_published_setting_and_differs():
    method, _, batches = world(method="llmemb")
    repeated, _, _ = world(method="llmemb", alignment={"repeats": True})
    batch = next(batches.epoch(0, 1))
    values = [made.auxiliary(batch, made.items(batch.rows)) for made in (method, repeated)]
    assert len(batch.positives) > len(batch.positives.unique())
    assert not torch.isclose(*values)


def test_early_stopping_keeps_the_best_epochs_weights():
    method, goal, batches = world()
    kept: list[tuple[float, dict[str, torch.Tensor]]] = []
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])

    def validate() -> ValidationScore:
        now = {name: weight.clone() for name, weight in method.state_dict().items()}
        for score, weights in kept:
            if all(torch.equal(weights[name], now[name]) for name in now):
                return ValidationScore(score)
        kept.append((next(scores), now))
        return ValidationScore(kept[-1][0])

    end = train(method, goal, batches, TrainConfig(epochs=6, patience=3), validate, 0)
    assert (end.best_epoch, end.best_score, len(end.events)) == (2, 0.5, 5)  # the 0.9 is never reached
    for name, weight in method.state_dict().items():
        assert torch.equal(weight, kept[1][1][name])


def test_restored_weights_that_are_not_those_which_were_measured_are_an_error():
    method, goal, batches = world()
    scores = iter([0.5, 0.4])
    with pytest.raises(DataError, match=r"epoch 1 was validated at 0\.5, its restored weights give 0\.4"):
        train(method, goal, batches, TrainConfig(epochs=1), lambda: ValidationScore(next(scores)), 0)


def test_training_twice_gives_the_same_weights():
    results = []
    for _ in range(2):
        method, goal, batches = world()
        final_loss(method, goal, batches, epochs=3)
        results.append(method.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_a_nan_loss_stops_with_the_epoch_and_the_step():
    method, goal, batches = world()
    with torch.no_grad():
        method.table.weight[5] = float("nan")
    with pytest.raises(DataError, match=r"the loss is nan in epoch 1, step \d+; its \d+ users start with 'user\d+'"):
        final_loss(method, goal, batches)


def gradients(method, goal, batches, **settings):
    """Of the first batch, by name."""
    config = TrainConfig(**settings)
    method.zero_grad()
    goal.zero_grad()
    value = backward(method, goal, next(batches.epoch(0, 1)), config)
    return value, {name: weight.grad for name, weight in method.named_parameters() if weight.grad is not None}


OBJECTIVES = {
    "bce": {},
    "gbce": {"negatives": 4},
    "sampled_softmax": {"negatives": 4},
    "cross_entropy": {},
    "shared": {"negatives": 6, "shared": True},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("settings", [{"accumulate": 3}, {"accumulate": 40}, {"scores_mb": 1}], ids=str)
def test_neither_parts_nor_blocks_change_the_gradient(objective, settings, monkeypatch):
    name = "sampled_softmax" if objective == "shared" else objective
    method, goal, batches = world(
        method="llmemb", objective=name, given=OBJECTIVES[objective], alignment={"weight": 0.5}
    )
    value, expected = gradients(method, goal, batches)
    if "scores_mb" in settings:
        monkeypatch.setattr("llmemb_bench.training.gradients.BYTES", 64)
    again, found = gradients(method, goal, batches, **settings)
    torch.testing.assert_close(again.loss, value.loss)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-5, rtol=1e-4)


def test_blocks_bound_the_scores_that_are_in_memory():
    """Cross-entropy over 20,000 items: all scores would take 480 MB and their gradients as much."""
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 20_001, size=52).tolist() for _ in range(120)], 20_000)
    found, config = configured("methods", "id_only")
    with torch_seed(0):
        reader = plugin("backbones", "gru4rec", dim=8, max_len=50)
        method = found(config, Parts(20_000, reader))
    goal = plugin("objectives", "cross_entropy")
    batch = next(TrainingBatches(split, reader, goal, TrainConfig(batch_size=120)).epoch(0, 1))
    with torch.profiler.profile(profile_memory=True) as watched:
        backward(method, goal, batch, TrainConfig(scores_mb=16))
    largest = max(event.self_cpu_memory_usage for event in watched.events())
    assert len(batch.target_positions) * 20_000 * 4 > 450e6
    assert largest <= 16.1 * 2**20


def test_a_cell_that_stops_after_a_number_of_steps_is_validated_there():
    method, goal, batches = world()
    end = train(method, goal, batches, TrainConfig(steps=4, validate_every=5), lambda: ValidationScore(0.25), 0)
    assert (end.step, end.best_epoch, end.best_score) == (4, 2, 0.25)  # three batches are an epoch


def test_every_step_interval_and_every_epoch_leave_an_event(tmp_path):
    method, goal, batches = world(method="llmemb", alignment={"weight": 0.5})
    config = TrainConfig(epochs=3, log_every=2)
    end = train(method, goal, batches, config, lambda: ValidationScore(0.25), 0, tmp_path)
    assert [(event["epoch"], event["step"]) for event in end.events if "objective" in event] == [
        (1, 2),
        (2, 4),
        (2, 6),
        (3, 8),
    ]
    assert [event["step"] for event in end.events if "validation" in event] == [3, 6, 9]
    for event in end.events:
        if "objective" in event:
            assert event["loss"] == pytest.approx(event["objective"] + event["auxiliary"])
            assert event["auxiliary"] > 0
    assert [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()] == end.events


class KilledError(Exception):
    """The power goes."""


@pytest.mark.parametrize("rows", ["all", "touched"])
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 7, 8])
def test_training_that_is_cut_off_at_any_step_goes_on_to_the_same_bytes(stop, rows, tmp_path, monkeypatch):
    settings = {"epochs": 3, "checkpoint_seconds": 0.0, "log_every": 2, "rows": rows}

    def scores(method):
        return lambda: ValidationScore(float(next(iter(method.parameters())).detach().square().mean()))

    def run(folder, cut_at=None):
        folder.mkdir(exist_ok=True)
        method, goal, batches = world(dropout=0.3)
        if cut_at is not None:
            step = loop._Training._step

            def cut(self, batch):
                if self.state.step == cut_at:
                    raise KilledError
                step(self, batch)

            monkeypatch.setattr(loop._Training, "_step", cut)
        try:
            end = train(method, goal, batches, TrainConfig(**settings), scores(method), 0, folder)
        finally:
            monkeypatch.undo()
        return end, method.state_dict(), (folder / "events.jsonl").read_bytes()

    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "cut", stop)
    again = run(tmp_path / "cut")
    assert again[0] == whole[0]
    assert again[2] == whole[2]
    for name, weight in whole[1].items():
        assert torch.equal(weight, again[1][name]), name


@pytest.mark.parametrize("limit", [{"steps": 2}, {"steps": 5}, {"epochs": 2}], ids=str)
def test_training_that_is_cut_off_in_a_validation_makes_it_up(limit, tmp_path):
    def run(folder, cut_at=None):
        folder.mkdir(exist_ok=True)
        method, goal, batches = world()
        calls = iter(range(100))

        def validate() -> ValidationScore:
            nonlocal number
            number = next(calls)
            if number == cut_at:
                raise KilledError
            return ValidationScore(float(method.table.weight.detach().square().mean()))

        config = TrainConfig(checkpoint_seconds=0.0, **limit)
        return train(method, goal, batches, config, validate, 0, folder), method.state_dict()

    number = 0
    whole = run(tmp_path / "whole")
    for cut_at in range(number + 1):  # each validation, and the last look at the restored weights
        folder = tmp_path / f"cut{cut_at}"
        with pytest.raises(KilledError):
            run(folder, cut_at)
        again = run(folder)
        assert again[0] == whole[0]
        assert all(torch.equal(weight, again[1][name]) for name, weight in whole[1].items())


def test_the_seconds_of_a_training_are_those_of_all_processes_that_had_a_part_in_it(tmp_path):
    def run(cut_at=None):
        method, goal, batches = world()
        calls = iter(range(100))

        def validate() -> ValidationScore:
            if next(calls) == cut_at:
                raise KilledError
            time.sleep(0.05)
            return ValidationScore(0.5)

        config = TrainConfig(epochs=4, checkpoint_seconds=0.0)
        return train(method, goal, batches, config, validate, 0, tmp_path)

    with pytest.raises(KilledError):
        run(3)
    assert 5 * 0.05 <= run().seconds < 60  # three validations before, one after, and one of the weights restored


def half(left: bytes) -> bytes:
    return left[: len(left) // 2]


def flipped(left: bytes) -> bytes:
    return left[:-5] + bytes([left[-5] ^ 1]) + left[-4:]


DAMAGE = {
    "empty": lambda left: b"",
    "text": lambda left: b"half a file",
    "zeros": lambda left: bytes(len(left)),
    "half": half,
    "one bit": flipped,
    "longer": lambda left: left + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_said_and_training_starts_afresh(damage, tmp_path, capsys):
    def run(kept=None):
        method, goal, batches = world()
        config = TrainConfig(epochs=2, checkpoint_seconds=0.0)
        end = train(method, goal, batches, config, lambda: ValidationScore(0.5), 0, kept)
        return end, method.state_dict()

    expected, weights = run(tmp_path)
    path = tmp_path / "training.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    again, found = run(tmp_path)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: is damaged (")
    assert line.endswith("; removed, and its work is done again")
    assert again.events == expected.events
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


def test_running_statistics_of_a_plugin_survive_a_kill(tmp_path):
    class Averaging(torch.nn.Module):
        """Keeps a running mean of what it sees, in training."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(16))

        def forward(self, x):
            if self.training:
                self.seen = 0.9 * self.seen + 0.1 * x.detach().mean((0, 1))
            return x + self.seen

    def run(folder, cut_at=None):
        folder.mkdir(exist_ok=True)
        method, goal, batches = world()
        method.backbone.norm = torch.nn.Sequential(method.backbone.norm, Averaging())
        steps = iter(range(100))

        def validate() -> ValidationScore:
            if next(steps) == cut_at:
                raise KilledError
            return ValidationScore(0.5)

        return train(method, goal, batches, TrainConfig(epochs=3, checkpoint_seconds=0.0), validate, 0, folder)

    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "cut", 1)
    assert run(tmp_path / "cut").events == whole.events


def test_negatives_that_are_fetched_are_bounded_too():
    """4,000 items and four negatives a target: their vectors and the gradient of these would take 80 MB at once."""
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 4_001, size=52).tolist() for _ in range(100)], 4_000)
    found, config = configured("methods", "id_only")
    reader = plugin("backbones", "gru4rec", dim=512, max_len=50)
    method, goal = found(config, Parts(4_000, reader)), plugin("objectives", "bce", negatives=4)
    batch = next(TrainingBatches(split, reader, goal, TrainConfig(batch_size=100)).epoch(0, 1))
    assert len(batch.rows) >= 32 * 4
    with torch.profiler.profile(profile_memory=True) as watched:
        backward(method, goal, batch, TrainConfig(scores_mb=8))
    assert len(batch.target_positions) * 4 * 512 * 4 > 38e6
    assert max(event.cpu_memory_usage for event in watched.events() if event.name == "aten::embedding") < 21 * 2**20


def test_out_of_memory_says_what_saves_memory(monkeypatch):
    method, goal, batches = world()

    def full(*arguments: object, **settings: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(loop, "backward", full)
    with pytest.raises(DataError, match=r"accumulate: 4, scores_mb: 32"):
        final_loss(method, goal, batches)


def test_lazy_rows_of_a_method_without_an_id_table_are_refused():
    method, goal, batches = world(method="llmemb")
    with pytest.raises(SpecError, match="has no id table"):
        train(method, goal, batches, TrainConfig(rows="touched"), lambda: ValidationScore(0.0), 0)


def test_lazy_rows_move_only_what_a_step_touches():
    method, goal, batches = world(n_items=60)
    before = method.table.weight.detach().clone()
    train(method, goal, batches, TrainConfig(steps=1, rows="touched"), lambda: ValidationScore(0.0), 0)
    touched = {int(row) for row in next(batches.epoch(0, 1)).rows}
    moved = set((method.table.weight != before).any(1).nonzero().flatten().add(1).tolist())
    assert moved == touched
    assert len(touched) < 60


@pytest.mark.parametrize("other", [{"weight_decay": 0.1}, {"clip": 1.0}])
def test_lazy_rows_refuse_what_looks_at_all_rows(other):
    method, goal, batches = world()
    with pytest.raises(SpecError, match="look at all rows"):
        train(method, goal, batches, TrainConfig(rows="touched", **other), lambda: ValidationScore(0.0), 0)


def test_bfloat16_trains_like_float32():
    ends = {}
    for precision in ("float32", "bfloat16"):
        method, goal, batches = world(method="llmemb")
        ends[precision] = final_loss(method, goal, batches, epochs=30, patience=30, precision=precision).events
        assert all(weight.dtype == torch.float32 for weight in method.parameters())
    first, last = (ends["float32"][place]["loss"] for place in (0, -1))
    assert last < 0.7 * first
    assert ends["bfloat16"][-1]["loss"] == pytest.approx(last, abs=0.1 * (first - last))
    assert ends["bfloat16"][-1]["loss"] != last


def test_compilation_without_a_compiler_says_what_is_missing(monkeypatch):
    method, goal, batches = world()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingError, match=r"needs a C\+\+ compiler -> install g\+\+"):
        train(method, goal, batches, TrainConfig(compile=True), lambda: ValidationScore(0.0), 0)


@pytest.mark.parametrize("objective", ["gbce", "sampled_softmax"])
def test_an_objective_with_sampled_negatives_is_its_formula(objective):
    states, vectors = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    rows, positives = torch.tensor([[1, 2], [3, 3], [0, 4]]), torch.tensor([0, 1, 2])
    log_expected = torch.rand(3, 2, dtype=torch.float64)
    negatives = Negatives(rows, log_expected, torch.tensor([[True, True], [True, False], [True, True]]), 50)
    found = plugin("objectives", objective, negatives=2)(states, vectors, positives, negatives)
    hits = (states * vectors[positives]).sum(1)
    total = 0.0
    for target in range(3):
        scores = [
            (states[target] @ vectors[row], log_expected[target, place])
            for place, row in enumerate(rows[target])
            if negatives.allowed[target, place]
        ]
        if objective == "sampled_softmax":
            total += torch.log(hits[target].exp() + sum((score - log).exp() for score, log in scores)) - hits[target]
        else:
            rate = 2 / 49
            beta = rate * (0.75 * (1 - 1 / rate) + 1 / rate)
            positive = -beta * torch.log(torch.sigmoid(hits[target]))
            negative = sum(torch.log(1 - torch.sigmoid(score)) for score, _ in scores)
            total += (positive - negative) / (len(scores) + 1)
    torch.testing.assert_close(found, total / 3)


@pytest.mark.parametrize("count", [1, 40])
def test_scores_of_negatives_are_the_same_by_product_and_by_fetching(count):
    states, vectors = torch.randn(6, 4), torch.randn(90, 4)
    negatives = Negatives(torch.randint(90, (6, count)), torch.zeros(6, count), None, 90)
    assert negatives.width(90, 4) == (9 if count == 1 else 90)
    by_hand = (states[:, None] * vectors[negatives.rows]).sum(-1)
    torch.testing.assert_close(negatives.scores(states, vectors), by_hand)


def test_the_published_bidirectional_attention_sees_its_own_target():
    """Row 1 of the known defects: the setting exists, and it is the one that leaks."""
    x, real = torch.randn(1, 6, 16), torch.ones(1, 6, dtype=torch.bool)
    other = x.clone()
    other[:, 5] *= -1
    for attention, leaks in (("causal", False), ("bidirectional", True)):
        with torch_seed(0):
            backbone = plugin("backbones", "sasrec", dim=16, attention=attention).eval()
        moved = not torch.allclose(backbone(x, real)[:, :5], backbone(other, real)[:, :5], atol=1e-6)
        assert moved == leaks
