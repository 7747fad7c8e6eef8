"""Every plugin of the catalogue keeps its kind's contract, and the checks catch plugins that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmemb_bench.registry.entries import entries
from llmemb_bench.registry.kinds import KINDS
from llmemb_bench.registry.scaffold import new_plugin
from llmemb_bench.testing import run_checks

BUILT_IN = [entry for entry in entries() if entry.origin == "llmemb-bench"]


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: f"{entry.kind}/{entry.name}")
def test_every_plugin_keeps_its_contract(entry):
    results = run_checks(entry.kind, entry.name)
    assert [f"{result.check}: {result.reason}" for result in results if result.status == "failed"] == []


def test_every_kind_has_a_plugin():
    assert {entry.kind for entry in BUILT_IN} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_its_contract_checks(kind, package: Path):
    path = new_plugin(kind, "my_own", package)
    assert path == package / kind / "my_own.py"
    assert "class MyOwn(" in path.read_text()
    results = run_checks(kind, "my_own")
    assert [f"{result.check}: {result.reason}" for result in results if result.status == "failed"] == []


@pytest.mark.parametrize(
    ("kind", "good", "bad", "check"),
    [
        (
            "backbones",
            "kept.cumsum(1) / real.cumsum(1).clamp(min=1)[..., None]",
            "kept.sum(1, keepdim=True).expand_as(x)",
            "changing the future leaves the past unchanged",
        ),
        ("backbones", "kept = x * real[..., None]", "kept = x.flip(1)", "more padding and its content change nothing"),
        ("losses", "logits = functional", "logits = -functional", "thirty steps pull pairs together"),
        (
            "metrics",
            "0.5 ** (ranks - 1.0)",
            "ranks / 1.0",
            "the first rank gains one and none gains less than the next",
        ),
        (
            "augmentations",
            "return tuple(",
            'return (("title", "invented"),) + tuple(',
            "a view invents nothing and is never empty",
        ),
        (
            "objectives",
            "softplus(misses - hits)",
            "softplus(hits - misses)",
            "a better positive lowers it and a better negative raises it",
        ),
        (
            "encoders",
            "vectors[row, int(",
            "vectors[row, row % 7 + 0 * int(",
            "the order of items changes no vector",
        ),
        (
            "transforms",
            'state["mean"]',
            "vectors.mean(0)",
            "a new item has the vector it has among others",
        ),
        ("methods", "return vectors + self.offset", "return vectors", "every trained weight gets a gradient"),
        (
            "datasets",
            '"time" from read_csv(?)',
            'random() * 9 as "time" from read_csv(?)',
            "reading twice gives the same",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else value,
)
def test_a_plugin_that_breaks_its_contract_is_caught(kind, good, bad, check, package: Path):
    path = new_plugin(kind, "broken", package)
    text = path.read_text()
    assert good in text
    path.write_text(text.replace(good, bad))
    failed = [result.check for result in run_checks(kind, "broken") if result.status == "failed"]
    assert check in failed


def test_a_plugin_without_documentation_is_caught(package: Path):
    path = new_plugin("backbones", "bare", package)
    path.write_text(path.read_text().partition("\n")[2])
    failed = [result.check for result in run_checks("backbones", "bare") if result.status == "failed"]
    assert "its first line says what it is" in failed
