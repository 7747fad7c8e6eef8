"""Methods as a third party writes them, one file each, installed beside ours: two phases on top of a fitted
recommender, two views of a history with similar users, and one without a backbone that brings its own batches. Nothing
in the engine knows of them."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from llmemb_bench.base.errors import Exit
from llmemb_bench.base.ids import PAD
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.registry.entries import entries, find
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing import run_checks
from llmemb_bench.testing.recommender import known
from llmemb_bench.training import loop
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import backward, backward_of
from llmemb_bench.training.phases import moving, phases_of
from tests.helpers.plugins import plugin
from tests.helpers.splits import make_split

GUESTS = Path(__file__).parent / "guests" / "guest_plugins"
NAMES = ("long_tail", "two_views", "pairs")
STOPS = {"long_tail": (1, 4, 7), "two_views": (1, 5), "pairs": (1, 3)}
"""Steps at which training is cut off, two an epoch; the first four of `long_tail` are its first phase."""
FILES = ("weights.safetensors", "events.jsonl", "per_user.parquet", "metrics.json")
SPEC = """
version: 1
name: guests
dataset: {{use: synthetic, users: 60, catalogue: 80}}
embeddings: {{encoder: {{use: tfidf, dim: 12}}}}
recommender:
  method: {{use: {method}}}
  backbone: {{use: sasrec, dim: 8, max_len: 6}}
  objective: bce
  train: {{epochs: 3, batch_size: 32, checkpoint_seconds: 0}}
evaluate: {{protocols: [full]}}
"""


@pytest.fixture
def guests(tmp_path, monkeypatch):
    """The package and its metadata, as pip leaves them."""
    site = tmp_path / "site"
    shutil.copytree(GUESTS, site / "guest_plugins")
    info = site / "guest_plugins-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-plugins\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[llmemb_bench.plugins]\nguests = guest_plugins\n")
    monkeypatch.syspath_prepend(site)
    entries.cache_clear()
    yield site
    entries.cache_clear()
    for module in [module for module in sys.modules if module.startswith("guest_plugins")]:
        del sys.modules[module]


@pytest.mark.parametrize("name", NAMES)
def test_a_guest_keeps_its_contract(name, guests):
    results = run_checks("methods", name)
    assert [f"{result.check}: {result.reason}" for result in results if result.status == "failed"] == []
    assert sum(result.status == "passed" for result in results) >= (8 if name == "pairs" else 12)


def spec_of(folder: Path, method: str) -> Path:
    path = folder / f"{method}.yaml"
    path.write_text(SPEC.format(method=method))
    return path


def made(results: Path) -> dict[str, bytes]:
    """Of the run folder: what must be the same, however often training was cut off."""
    [folder] = results.glob("runs/guests/*")
    return {name: (folder / name).read_bytes() for name in FILES}


class KilledError(Exception):
    """The power goes."""


@pytest.mark.parametrize("name", NAMES)
def test_a_guest_runs_and_goes_on_to_the_same_bytes(name, guests, tmp_path, monkeypatch, cli):
    spec = spec_of(tmp_path, name)
    whole = cli("run", spec, "--results", tmp_path / "whole")
    assert whole.code == Exit.DONE, whole.err
    expected, step = made(tmp_path / "whole"), loop._Training._step
    for stop in STOPS[name]:
        steps = iter(range(100))

        def cut(self, batch, steps=steps, stop=stop):
            if type(self.method).__name__ != "IdOnly" and next(steps) == stop:
                raise KilledError
            step(self, batch)

        results = tmp_path / f"cut{stop}"
        monkeypatch.setattr(loop._Training, "_step", cut)
        killed = cli("run", spec, "--results", results)
        monkeypatch.setattr(loop._Training, "_step", step)
        assert killed.code == Exit.FAILED, killed.err
        again = cli("run", spec, "--results", results)
        assert again.code == Exit.DONE
        assert "resuming after step" in again.err
        assert made(results) == expected
    [folder] = (tmp_path / "whole").glob("runs/guests/*")
    exported = cli("export", folder, "--output", tmp_path / "export", "--results", tmp_path / "whole")
    assert exported.code == Exit.DONE, exported.err


def checkpoints(results: Path) -> list[bytes]:
    """What is kept of trainings under way."""
    return [path.read_bytes() for path in results.glob(".cache/*/*/training.safetensors")]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_guest_that_the_system_kills_goes_on_to_the_same_bytes(name, guests, tmp_path):
    spec = spec_of(tmp_path, name)
    spec.write_text(spec.read_text().replace("epochs: 3", "epochs: 30, patience: 30"))
    words = [sys.executable, "-m", "llmemb_bench", "run", str(spec), "--progress", "none", "--results"]
    paths = os.pathsep.join(filter(None, [str(guests), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    subprocess.run([*words, str(tmp_path / "whole")], check=True, env=environment)
    results = tmp_path / "killed"
    for _ in range(3):  # each time after a checkpoint of its own
        before, running = checkpoints(results), subprocess.Popen([*words, str(results)], env=environment)
        while checkpoints(results) == before:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    subprocess.run([*words, str(results)], check=True, env=environment)
    assert made(results) == made(tmp_path / "whole")


def guest(name: str, **settings):
    """The method on eleven users over nine items, without dropout, and its first batch."""
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 10, size=length).tolist() for length in (4, 5, 7, 9, 4, 6, 8, 5, 4, 7, 9)], 9)
    with torch_seed(0):
        reader = plugin("backbones", "sasrec", dim=8, max_len=6, dropout=0.0)
        text = torch.nn.functional.pad(torch.randn(9, 5), (0, 0, 1, 0))
        upstream = {"base": known(torch.nn.functional.pad(torch.randn(9, 8), (0, 0, 1, 0)))}
        found = find("methods", name).load()
        needed = upstream if name == "long_tail" else {}
        made = found(found.config_type().model_validate(settings), Parts(9, reader, text, needed))
    made.fit_counts(split)
    goal = plugin("objectives", "bce", negatives=2)
    batches = batches_of(made, split, goal, TrainConfig(batch_size=16))
    return made, goal, split, next(batches.epoch(0, 1))


def plain_states(backbone, x: torch.Tensor) -> torch.Tensor:
    """[len, dim] of one history, alone."""
    return backbone(x[None], torch.ones(1, len(x), dtype=torch.bool))[0]


def plain_bce(states_of, vectors: torch.Tensor, batch) -> torch.Tensor:
    """Each target of the batch, one after another; `vectors` [ids, width] in float64."""
    total, target, place = torch.zeros((), dtype=torch.float64), 0, 0
    for group in batch.inputs:
        for row in group:
            history = batch.rows[row[row != PAD] - 1]
            states = states_of(history)
            for position in range(len(row)):
                if target < len(batch.target_positions) and batch.target_positions[target] == place + position:
                    hit = states[position] @ vectors[batch.rows[batch.positives[target]]]
                    misses = [
                        states[position] @ vectors[batch.rows[negative]] for negative in batch.negatives.rows[target]
                    ]
                    total = total - torch.log(torch.sigmoid(hit))
                    total = total - sum(torch.log(1 - torch.sigmoid(miss)) for miss in misses) / len(misses)
                    target += 1
            place += len(row)
    assert target == len(batch.target_positions)
    return total / batch.targets_per_step


def histories_of(split, user: int, longest: int = 6) -> torch.Tensor:
    history = split.data.history(user)[: split.n_train[user]]
    return torch.from_numpy(history[-longest:].astype(np.int64))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("temperature", [None, 0.4])
def test_the_loss_of_two_views_is_a_plain_float64_writing_of_it(accumulate, temperature, guests):
    method, goal, split, batch = guest("two_views", temperature=temperature)
    found = backward(method, goal, batch, TrainConfig(accumulate=accumulate))
    gradient = method.adapter.weight.grad.clone()
    method.double()
    method.zero_grad()
    dim = method.dim
    vectors = torch.cat([method.adapter(method.text), torch.cat([torch.zeros(1, dim), method.table.weight])], dim=1)

    def side(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        rows = []
        for place in range(len(own)):
            scores = torch.stack([method.query(own[place]) @ method.key(other[seen]) for seen in range(place + 1)])
            weights = torch.exp(scores / math.sqrt(dim))
            rows.append(own[place] + (weights[:, None] * other[: place + 1]).sum(0) / weights.sum())
        return torch.stack(rows)

    def states_of(history: torch.Tensor) -> torch.Tensor:
        text, ids = vectors[history][:, :dim], vectors[history][:, dim:]
        views = (side(text, ids), side(ids, text))
        return torch.cat([plain_states(method.backbone, view) for view in views], dim=1)

    def length(x: torch.Tensor) -> torch.Tensor:
        return x.square().sum(-1, keepdim=True).sqrt()

    if temperature is None:
        objective = plain_bce(states_of, vectors, batch)
    else:
        unit = torch.cat([vectors[:1], vectors[1:] / length(vectors[1:])])
        objective = plain_bce(lambda h: states_of(h) / length(states_of(h)) / temperature, unit, batch)
    text = method.text.numpy()
    profile = [
        np.sum([text[item] for item in split.data.history(user)[: split.n_train[user]]], 0) for user in range(11)
    ]
    drawn = []
    for user in batch.users.tolist():
        cosines = [
            -np.inf
            if other == user
            else profile[user] @ profile[other] / np.linalg.norm(profile[user]) / np.linalg.norm(profile[other])
            for other in range(11)
        ]
        similar = sorted(range(11), key=lambda other: -cosines[other])[:3]
        goal_state = sum(states_of(histories_of(split, other))[-1].detach() for other in similar) / 3
        read = histories_of(split, user, 7)[:-1]  # the last training event is predicted only
        drawn.append((states_of(read)[-1] - goal_state).square().mean())
    loss = objective + 0.5 * torch.stack(drawn).mean()
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    torch.autograd.backward(loss)
    torch.testing.assert_close(gradient.double(), method.adapter.weight.grad, rtol=1e-3, atol=1e-5)


def test_the_losses_of_both_phases_of_long_tail_are_a_plain_float64_writing_of_them(guests):
    method, goal, split, batch = guest("long_tail")
    branches, together = phases_of(method)
    with moving(method, branches):
        of_branches = backward_of(branches.loss, batch).loss
        still = [name for name, weight in method.named_parameters() if weight.grad is None]
    assert {name.split(".")[0] for name in still} == {"mask", "backbone", "table"}
    method.zero_grad()
    method.epoch.fill_(1)
    with moving(method, together):
        of_all = backward(method, goal, batch, TrainConfig()).loss
    base = method.base.method.double()
    method.double()
    users = batch.users.tolist()

    def states(model, history: torch.Tensor) -> torch.Tensor:
        return plain_states(model.backbone, model.table.weight[history - 1])

    wholes = [histories_of(split, user) for user in users]
    ends = [states(base, whole)[-1] for whole in wholes]
    shorts = [histories_of(split, user, 2) for user in users]
    of_users = [
        (method.users_branch(states(base, short)[-1]) - end).square().mean()
        for short, end in zip(shorts, ends, strict=True)
    ]
    of_items = [
        (method.items_branch(states(base, whole[:-1])[-1]) - base.table.weight[whole[-1] - 1]).square().mean()
        for whole in wholes
    ]
    assert of_branches.item() == pytest.approx((sum(of_users) + sum(of_items)).item() / len(users), rel=1e-5)
    drawn = [
        (method.users_branch(states(method, short)[-1]) - end).square().mean()
        for short, end in zip(shorts, ends, strict=True)
    ]
    vectors = torch.cat([torch.zeros(1, 8), method.table.weight])
    small = method.items_branch(vectors[batch.rows]).square().mean()
    objective = plain_bce(lambda history: states(method, history), vectors, batch)
    loss = objective + 0.5 * math.sin(math.pi / 2 / 4) * sum(drawn) / len(users) + 1e-4 * small
    assert of_all.item() == pytest.approx(loss.item(), rel=1e-5)


def test_the_loss_of_pairs_is_a_plain_float64_writing_of_it(guests):
    found = find("methods", "pairs").load()
    split = make_split([[1, 2, 3, 4, 5, 6], [4, 4, 2, 1, 3], [5, 6]], 6)
    method = found(found.config_type()(), Parts(6))
    method.fit_counts(split)
    [phase] = phases_of(method)
    epochs = [torch.cat(list(phase.batches.epoch(0, number))).tolist() for number in (1, 2)]
    follows = [
        [1, 2],
        [2, 3],
        [3, 4],
        [4, 2],
        [4, 4],
        [5, 6],
    ]  # but for the last two events of a history of three or more
    assert [sorted(pairs) for pairs in epochs] == [follows, follows]
    assert epochs[0] != epochs[1]
    batch = next(phase.batches.epoch(0, 1))
    value = backward_of(phase.loss, batch).loss
    before, after = (table.weight.double().detach() for table in (method.before, method.after))
    losses = []
    for item, following in batch.tolist():
        scores = [before[item - 1] @ after[other] for other in range(6)]
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[following - 1])
    assert value.item() == pytest.approx(float(sum(losses) / len(losses)), rel=1e-6)
