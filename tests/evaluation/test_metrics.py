"""A metric of a third party: measured and reported where a spec names it, and where it is wrong an error that names it
there and nowhere else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from llmemb_bench.base.errors import BenchError, SpecError
from llmemb_bench.contracts import Metric
from llmemb_bench.evaluation.expectation import gains
from llmemb_bench.evaluation.measure import metrics_of
from llmemb_bench.registry.build import build
from llmemb_bench.registry.entries import entries
from llmemb_bench.registry.kinds import MetricChoice
from llmemb_bench.settings.evaluate import Evaluate

PLUGIN = """\
\"\"\"{name}: of a third party.\"\"\"

import numpy as np

from llmemb_bench.registry.config import Config
from llmemb_bench.contracts import Metric


class MineConfig(Config):
    base: float = 2.0


class Mine(Metric):
    config: MineConfig

    def gain(self, ranks):
        {body}
"""
BODIES = {
    "steps": "return self.config.base ** (1.0 - ranks)",
    "whole": "return ranks < 3",
    "listed": "return [1.0] * len(ranks)",
    "nan": "return np.where(ranks == 3, np.nan, 1.0)",
    "infinite": "return 1 / (ranks - 1.0)",
    "raising": "raise ZeroDivisionError('by\\nzero')",
    "scalar": "return 1.0",
    "doubled": "return np.ones((len(ranks), 2))",
    "short": "return np.ones(len(ranks) - 1)",
    "words": "return ['high'] * len(ranks)",
    "nothing": "return None",
    "complex": "return ranks * 1j",
}
SOUND = ("steps", "whole", "listed")
SPEC = """\
version: 1
name: mine
dataset: {use: table, events: events.csv}
recommender: {method: popularity}
evaluate: {protocols: [full], cutoffs: [5]}
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch) -> Path:
    """A package of metrics, installed beside ours."""
    folder = tmp_path / "foreign" / "metrics"
    folder.mkdir(parents=True)
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(PLUGIN.format(name=name, body=body))
    info = tmp_path / "foreign-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[llmemb_bench.plugins]\nforeign = foreign\n")
    monkeypatch.syspath_prepend(tmp_path)
    entries.cache_clear()
    yield folder
    entries.cache_clear()
    for module in [module for module in sys.modules if module.partition(".")[0] == "foreign"]:
        del sys.modules[module]


@pytest.fixture
def run(cli, events_csv, tmp_path):
    """Run a spec; `metrics` is what it names, if anything."""

    def call(metrics: str = "", text: str = SPEC):
        named = text.replace("[5]", f"[5], metrics: {metrics}") if metrics else text
        (tmp_path / "spec.yaml").write_text(named)
        return cli("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", "none")

    return call


@pytest.mark.parametrize("name", [name for name in BODIES if name not in SOUND])
def test_a_wrong_metric_is_an_error_that_names_it(name, foreign):
    with pytest.raises(BenchError, match=f"the metric '{name}' (gives|raises)") as error:
        gains(build(Metric, MetricChoice(name)), 5)
    [problem] = error.value.problems
    assert "\n" not in problem.finding
    assert problem.where == str(foreign / f"{name}.py")
    assert f"llmemb-bench test metrics/{name}" in problem.fix


@pytest.mark.parametrize(("name", "worth"), [("whole", [1, 1, 0]), ("listed", [1, 1, 1]), ("steps", [1, 0.5, 0.25])])
def test_any_sequence_of_one_number_a_rank_will_do(name, worth, foreign):
    np.testing.assert_array_equal(gains(build(Metric, MetricChoice(name)), 3), worth)


def test_a_wrong_metric_stops_the_specs_that_name_it_before_any_work_and_no_other(foreign, run, tmp_path):
    ran = run("[hr, nan]")
    assert (ran.code, ran.out.splitlines()) == (1, ["0 of 1 cells done, 1 failed"])
    assert ran.err == (
        f"error: {foreign / 'nan.py'}: the metric 'nan' gives nan for rank 3"
        " -> fix it, then: llmemb-bench test metrics/nan; or take it out of the spec\n"
    )
    left = tmp_path / "results" / ".cache"
    assert {path.name for path in left.glob("*")} <= {"fingerprint"}  # of raw files: nothing was made of them
    assert run().code == 0
    assert run("[hr, mrr]").code == 0


def test_of_a_matrix_over_metrics_the_wrong_one_fails_alone(foreign, run):
    ran = run(text=SPEC + "matrix: {evaluate.metrics: [[hr], [raising], [steps]]}\n")
    assert (ran.code, ran.err.count("the metric 'raising' raises ZeroDivisionError")) == (3, 1)
    assert "2 of 3 cells done" in ran.out
    assert "STEPS@5" in ran.out


def steps_of_users(results: Path, base: float) -> float:
    """The mean of `steps` at cut-off 5 over users and the ranks that ties leave open, from the rows of users."""
    file = next((results / "runs").glob("mine/*/per_user.parquet"))
    greater, equal = np.array(duckdb.sql(f"select n_greater, n_equal from '{file}'").fetchall()).T
    expected = [
        np.mean([base ** (1.0 - rank) if rank <= 5 else 0 for rank in range(above + 1, above + same + 2)])
        for above, same in zip(greater, equal, strict=True)
    ]
    return float(np.mean(expected))


def test_a_metric_that_is_named_is_in_the_table_and_in_json(foreign, run, cli, tmp_path):
    assert run("[steps]").code == 0
    assert "STEPS@5" in cli("report", "--results", tmp_path / "results").out
    rows = json.loads(cli("report", "--results", tmp_path / "results", "--format", "json").out)["rows"]
    assert {row["metric"] for row in rows} == {"steps@5"}
    [mean] = [row["mean"] for row in rows if row["bucket"] == "overall"]
    assert mean == pytest.approx(steps_of_users(tmp_path / "results", 2.0))


def test_a_spec_without_metrics_measures_hit_rate_and_ndcg_whatever_is_installed(foreign):
    assert list(metrics_of(Evaluate(cutoffs=[5, 10]))) == ["hr@5", "hr@10", "ndcg@5", "ndcg@10"]


def test_one_metric_with_two_settings_is_two_metrics(foreign):
    choices = [MetricChoice("steps"), MetricChoice("steps", {"base": 4.0}), MetricChoice("hr")]
    found = metrics_of(Evaluate(cutoffs=[2], metrics=choices))
    assert list(found) == ["steps@2", "steps(base=4.0)@2", "hr@2"]
    assert gains(*found["steps(base=4.0)@2"]).tolist() == [1.0, 0.25]


def test_a_metric_has_one_name_whatever_stands_beside_it_and_however_it_is_written(foreign):
    def named(*settings: dict[str, float]) -> list[str]:
        chosen = [MetricChoice("steps", given) for given in settings]
        return list(metrics_of(Evaluate(cutoffs=[2], metrics=chosen)))

    assert named({"base": 4.0}) == named({"base": 4}) == ["steps(base=4.0)@2"]
    assert named({}) == named({"base": 2.0}) == ["steps@2"]
    with pytest.raises(SpecError, match="the metric steps appears twice"):
        named({}, {"base": 2.0})


def test_two_settings_of_one_metric_are_two_numbers_in_a_run_and_in_reports(foreign, run, cli, tmp_path):
    assert run("[steps, {use: steps, base: 4.0}]").code == 0
    assert run("[{use: steps, base: 8.0}]").code == 0  # another run of the same cell: its number is not the first's
    rows = json.loads(cli("report", "--results", tmp_path / "results", "--format", "json").out)["rows"]
    means = {row["metric"]: row["mean"] for row in rows if row["bucket"] == "overall"}
    assert means.keys() == {"steps@5", "steps(base=4.0)@5", "steps(base=8.0)@5"}
    for base in (2.0, 4.0, 8.0):
        name = "steps@5" if base == 2 else f"steps(base={base})@5"
        assert means[name] == pytest.approx(steps_of_users(tmp_path / "results", base))


def test_an_empty_list_of_metrics_is_refused(run):
    ran = run("[]")
    assert (ran.code, "evaluate.metrics" in ran.err) == (2, True)


def test_a_wrong_metric_that_is_to_choose_the_epoch_is_named_before_training(foreign, run, tmp_path):
    trained = "{method: id_only, backbone: {use: sasrec, dim: 8}, objective: bce, train: {epochs: 1, monitor: nan}}"
    ran = run(text=SPEC.replace("{method: popularity}", trained))
    assert (ran.code, ran.err.count("the metric 'nan' gives nan for rank 3")) == (1, 1)
    assert not list((tmp_path / "results").glob("runs/mine/id_only*"))
