"""`report --baseline`: per-user values of stored runs, compared. The expected figures are computed from the same draws
with numpy and scipy alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy import stats

from llmemb_bench.report.rows import read_rows
from llmemb_bench.report.significance import key_of, significance
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import write_run

N, HEAD = 300, 120
METHODS = {"popularity": 0.05, "id_only": 0.20, "llmemb": 0.35}
SETTINGS = {"evaluate": {"cutoffs": [10]}}
USERS = {"overall": N, "head": HEAD, "tail": N - HEAD, "tail seen": N - HEAD, "tail cold": 0}


def ranks_of(method: str, seed: int) -> np.ndarray:
    """[users] ranks (from 0): a hit with the method's rate, whatever the bucket."""
    generator = np.random.default_rng([seed, *method.encode()])
    hit = generator.random(N) < METHODS[method]
    return np.where(hit, generator.integers(0, 10, N), 50)


def write(results: Path, method: str, seed: int, **changes) -> None:
    backbone = "none" if method == "popularity" else "sasrec"
    run = write_run(
        results, method=method, backbone=backbone, seed=seed, configuration=method, metrics=["hr@10"], users=USERS,
        settings=SETTINGS, protocol={"cutoffs": [10]}, value=float((ranks_of(method, seed) < 10).mean()), **changes
    )  # fmt: skip
    ranks, head = ranks_of(method, seed), np.arange(N) < HEAD
    with duckdb.connect() as db:
        db.execute(
            f"""copy (select unnest(['full', 'sampled-100']) as protocol, 'u' || range as "user", 't' as target,
                      ranks[range + 1] as n_greater, 0 as n_equal, 5 as train_popularity, head[range + 1] as is_head
                      from (select $ranks as ranks, $head as head), range({N}) order by 1, range)
                to '{run / "per_user.parquet"}' (format parquet)""",
            {"ranks": ranks.tolist(), "head": head.tolist()},
        )
    enter(results, run)


@pytest.fixture
def results(tmp_path) -> Path:
    for method in METHODS:
        for seed in (1, 2):
            write(tmp_path, method, seed)
    return tmp_path


@pytest.fixture
def report(cli, results) -> Callable[..., list[dict]]:
    def call(*words: str) -> list[dict]:
        ran = cli("report", "--results", results, "--format", "json", *words)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)["rows"]

    return call


def hits(method: str) -> np.ndarray:
    return np.stack([(ranks_of(method, seed) < 10).astype(float) for seed in (1, 2)])


def test_each_row_gets_the_difference_to_the_baseline_over_users_and_seeds(report):
    rows = {(row["method"], row["bucket"]): row for row in report("--baseline", "id_only") if row["protocol"] == "full"}
    for method in ("popularity", "llmemb"):
        for bucket, chosen in (("overall", slice(None)), ("head", slice(HEAD)), ("tail", slice(HEAD, None))):
            row, expected = rows[method, bucket], (hits(method) - hits("id_only"))[:, chosen]
            assert row["difference"] == pytest.approx(expected.mean(), abs=1e-6)
            assert row["difference_interval"][0] < row["difference"] < row["difference_interval"][1]
            users = expected.mean(axis=0)
            assert row["effect"] == pytest.approx(users.mean() / users.std(ddof=1), rel=1e-5)
            assert (row["baseline"], row["paired_seeds"], row["family"]) == ("id_only x sasrec", 2, 8)
            assert row["p_holm"] >= row["p"]
    assert rows["id_only", "overall"]["difference"] is None
    assert (
        rows["id_only", "overall"]["interval"][0] < hits("id_only").mean() < rows["id_only", "overall"]["interval"][1]
    )
    assert rows["llmemb", "tail cold"]["interval"] is None


def test_of_one_seed_p_is_scipys_and_holm_is_over_the_table(report):
    rows = [row for row in report("--baseline", "id_only", "--seed", "1") if row["protocol"] == "full"]
    compared = [row for row in rows if row["p"] is not None]
    for row in compared:
        if row["bucket"] == "overall":
            assert row["p"] == pytest.approx(
                stats.ttest_rel(hits(row["method"])[0], hits("id_only")[0]).pvalue, rel=1e-4
            )
    ordered = sorted(compared, key=lambda row: row["p"])
    assert ordered[0]["p_holm"] == pytest.approx(ordered[0]["p"] * len(compared))
    places = {row["method"]: row["place"] for row in rows if row["bucket"] == "overall"}
    assert places == {"llmemb": [1, 1], "id_only": [2, 2], "popularity": [3, 3]}


def test_only_seeds_that_both_have_are_paired(cli, results, report):
    write(results, "llmemb", 3)
    [row] = [
        row for row in report("--baseline", "popularity")
        if (row["method"], row["protocol"], row["bucket"]) == ("llmemb", "full", "overall")
    ]  # fmt: skip
    assert row["seeds"] == [1, 2, 3]
    assert row["paired_seeds"] == 2
    assert row["difference"] == pytest.approx((hits("llmemb") - hits("popularity")).mean(), abs=1e-6)


def test_without_a_baseline_the_report_is_what_it_was(cli, results, report):
    assert "difference" not in report()[0]
    plain = cli("report", "--results", results).out
    assert not [line for line in plain.splitlines() if line.rstrip(" │").endswith((" +", " -", " ="))]


def test_the_table_marks_what_is_better_and_worse_and_says_how(cli, results):
    out = cli("report", "--results", results, "--baseline", "id_only", "--seed", "1").out
    [better] = [line for line in out.splitlines() if "llmemb" in line][:1]
    [worse] = [line for line in out.splitlines() if "│ popularity" in line][:1]
    assert better.count(" + ") == 3
    assert worse.count(" - ") == 3
    told = " ".join(out.split())
    assert "+ better, - worse than id_only, = no difference found" in told
    assert "warning: 1 seed: intervals and tests are over users alone" in told


def test_an_unknown_baseline_comes_with_a_suggestion(cli, results):
    ran = cli("report", "--results", results, "--baseline", "id_onyl")
    assert (ran.code, ran.out) == (2, "")
    assert "no row has the method 'id_onyl' -> did you mean 'id_only'?" in ran.err


def test_a_baseline_of_another_protocol_is_compared_with_nothing(cli, results, tmp_path):
    write(results, "popularity", 9, protocol_hash="q", experiment="other")
    rows = [row for row in read_rows(results, [], []) if row.experiment == "other"]
    found = significance(rows, results, "popularity")
    assert found[key_of(rows[0])].comparison is None


def test_a_missing_scipy_is_said_with_the_extra_that_brings_it(cli, results, monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "llmemb_bench.report.significance", raising=False)
    for name in [name for name in sys.modules if name.startswith("llmemb_bench.statistics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    ran = cli("report", "--results", results, "--baseline", "id_only")
    assert ran.code == 4
    assert "scipy is not installed -> pip install 'llmemb-bench[report]'" in ran.err


@pytest.mark.parametrize(("form", "written"), [("latex", "$^{{{}}}$"), ("md", " {} |")])
def test_the_marks_and_what_they_mean_stand_in_latex_and_markdown_too(form, written, cli, report, results):
    words = ("--protocol", "full", "--bucket", "overall", "--baseline", "popularity")
    p = {row["method"]: row["p_holm"] for row in report(*words)}
    assert p["llmemb"] < 0.05
    out = cli("report", "--results", results, *words, "--format", form).out
    lines = {
        method: line
        for line in out.splitlines()
        for method in METHODS
        if re.match(rf"\W*{method}\W", line.replace("\\_", "_"))
    }
    for method in ("llmemb", "id_only"):
        assert written.format("+" if p[method] < 0.05 else "=") in lines[method]
    assert not re.search(r"\^|[-+=] \|", lines["popularity"])
    assert "paired t" in out
    assert "over the 2 comparisons of a table" in out
