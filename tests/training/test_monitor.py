"""What training sees of validation: the protocol it watches, and the plateau of counting popularity."""

from __future__ import annotations

import pytest
import torch

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.seeds import generator, torch_seed
from llmemb_bench.contracts import Metric, Parts
from llmemb_bench.evaluation.candidates import draw_candidates
from llmemb_bench.evaluation.expectation import expected
from llmemb_bench.evaluation.ranking import rank, rank_by_counts
from llmemb_bench.registry.build import build
from llmemb_bench.registry.entries import find
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training import loop
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.loop import train
from llmemb_bench.training.monitor import Monitor, ValidationScore
from tests.helpers.plugins import plugin
from tests.helpers.splits import make_split


def counting(split):
    method_type = find("methods", "popularity").load()
    method = method_type(method_type.config_type()(), Parts(split.data.n_items))
    method.fit_counts(split)
    return method


def trained_method(split, seed=0):
    method_type = find("methods", "id_only").load()
    with torch_seed(seed):
        backbone = plugin("backbones", "sasrec", dim=8, max_len=6)
        return method_type(method_type.config_type()(), Parts(split.data.n_items, backbone))


@pytest.mark.parametrize("fold", ["validation", "test"])
@pytest.mark.parametrize("history", ["mask", "keep"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_users", [60, 6])  # six leave targets that training never saw
def test_ranking_by_counts_is_the_ranking_of_a_method_that_scores_them(random_split, n_users, fold, history, seed):
    split = random_split(seed, n_users=n_users, n_items=20)
    settings = Evaluate(history=history)
    candidates = [draw_candidates(split, count, generator(seed), fold) for count in (5, 4)]
    full, (among, _) = rank(counting(split), split, fold, settings, candidates)
    for wanted, sampled in ((full, []), (among, candidates)):
        found = rank_by_counts(split.popularity, split, fold, settings, sampled)
        assert found.n_greater.tolist() == wanted.n_greater.tolist()
        assert found.n_equal.tolist() == wanted.n_equal.tolist()
        assert found.n_candidates.tolist() == wanted.n_candidates.tolist()


def test_candidates_of_validation_know_nothing_of_what_comes_later():
    """Ten items: seven in training and validation, so that three are left, the test's among them."""
    split = make_split([[1, 2, 3, 4, 5, 6, 7, 8]] * 50, 10)
    assert set(draw_candidates(split, 3, generator(0), "validation").ravel().tolist()) == {8, 9, 10}
    assert set(draw_candidates(split, 2, generator(0)).ravel().tolist()) == {9, 10}
    with pytest.raises(SpecError, match=r"recommender\.train\.monitor_protocol.*monitor_protocol: full"):
        draw_candidates(split, 4, generator(0), "validation")


@pytest.mark.parametrize("protocol", ["full", "sampled-7"])
def test_the_monitor_scores_validation_under_its_protocol(random_split, protocol):
    split, settings = random_split(2, n_users=80, n_items=30), Evaluate()
    config = TrainConfig(monitor_protocol=protocol, monitor_cutoff=3)
    method = trained_method(split)
    monitor = Monitor(method, split, settings, config, seed=5)
    candidates = [draw_candidates(split, 7, generator(5, "validation candidates", 7), "validation")]
    full, (among,) = rank(method, split, "validation", settings, candidates)
    wanted = expected(build(Metric, config.monitor), 3, full if protocol == "full" else among).mean()
    assert monitor.validate().value == wanted
    assert monitor.validate() == monitor.validate()  # the same candidates every epoch


def test_a_validation_at_the_score_of_counting_popularity_is_said(random_split, monkeypatch):
    split = random_split(3, n_users=60)
    method, objective = trained_method(split), plugin("objectives", "bce")
    batches = TrainingBatches(split, method.backbone, objective, TrainConfig())
    lines: list[str] = []
    monkeypatch.setattr(loop, "say", lines.append)
    # Three epochs, and the best once more.
    scores = iter([0.0101, 0.0099, 0.0200, 0.0200])
    config = TrainConfig(epochs=3)
    end = train(
        method, objective, batches, config, lambda: ValidationScore(next(scores)), 0, None, ValidationScore(0.01)
    )
    assert ["popularity" in event for event in end.events] == [True, True, False]
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1: validation 0.0101, hardly above counting popularity (0.0100)")
    assert "betas: [0.9, 0.98]" in lines[0]


def test_the_betas_and_epsilon_of_adam_are_those_of_the_settings(random_split):
    """One step by hand in float64 (Kingma & Ba 2015, algorithm 1)."""
    split = random_split(4, n_users=40)
    method, objective = trained_method(split), plugin("objectives", "bce")
    config = TrainConfig(betas=[0.5, 0.7], epsilon=0.1, learning_rate=0.01, epochs=1, batch_size=500)
    batches = TrainingBatches(split, method.backbone.eval(), objective, config)
    (batch,) = batches.epoch(0, 1)
    before = method.table.weight.detach().double().clone()
    method.train()
    torch.manual_seed(0)
    optimizer = loop.Optimizer(method, objective, config)
    loop.backward(method, objective, batch, config)
    gradient = method.table.weight.grad.double().clone()
    optimizer.step()
    by_hand = before - 0.01 * gradient / (gradient.abs() + 0.1)  # both means are corrected for one step
    torch.testing.assert_close(method.table.weight.detach().double(), by_hand, atol=1e-7, rtol=1e-5)
