"""Tables that can be read at any width: fewer columns, never narrower ones, and what is left out is said."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from llmemb_bench.report.rows import as_json, read_rows
from llmemb_bench.report.tables import NARROWEST, print_tables
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import TRAINING, USERS, write_run

FAMILIES = ("hr@10", "ndcg@10")


def store(results: Path, *, metrics: Sequence[str] = FAMILIES, long: str = "", **about) -> Path:
    """Three methods with two seeds each; every number of a method, metric and bucket is its own."""
    lines = (("popularity", "none", "none"), ("id_only", "sasrec", "none"), (f"llmemb{long}", "sasrec", "minilm"))
    for place, (method, backbone, encoder) in enumerate(lines):
        for seed in (1, 2):
            named = {"method": method, "backbone": backbone, "encoder": encoder, "configuration": f"{method}{backbone}"}
            enter(results, write_run(results, seed=seed, metrics=metrics, value=0.1 * place + 0.01, **named | about))
    return results


def printed(results: Path, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_tables(read_rows(results, [], []), console)
    return console.file.getvalue().splitlines()


def numbers(lines: Sequence[str]) -> list[str]:
    return re.findall(r"0\.\d{4} ±\.\d{4}", "\n".join(lines))


@pytest.mark.parametrize("width", [NARROWEST, 50, 60, 80, 100, 120, 180, 400])
@pytest.mark.parametrize("long", ["", " (learning_rate=0.0001, adapter=linear_linear)"])
def test_no_number_is_cut_and_no_line_is_wider_than_the_terminal(width, long, tmp_path):
    lines = printed(store(tmp_path, long=long), width)
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line]
    shown = len(numbers(lines))
    assert shown % (2 * 3 * 2) == 0  # protocols, methods, metrics: each with as many buckets
    left_out = {"head", "tail"} & set(re.findall(r"\w+", " ".join(lines).partition("left out at")[2].partition(";")[0]))
    assert shown == 2 * 3 * 2 * (3 - len(left_out))


def test_at_80_columns_each_metric_has_a_table_and_what_is_left_out_is_said(tmp_path):
    lines = printed(store(tmp_path), 80)
    headings = [re.findall(r"[A-Z]+@\d+", line) for line in lines if "@" in line]
    assert headings == [["HR@10"] * 3, ["NDCG@10"] * 3] * 2
    told = " ".join(" ".join(lines).split())
    assert told.count("left out at 80 columns: backbone, encoder; --wide, a wider terminal (or COLUMNS=180) and") == 2


def test_a_wide_terminal_has_one_table_a_protocol_and_leaves_nothing_out(tmp_path):
    lines = printed(store(tmp_path), 180)
    assert [re.findall(r"[A-Z]+@\d+", line) for line in lines if "@" in line] == [["HR@10"] * 3 + ["NDCG@10"] * 3] * 2
    assert "left out" not in "\n".join(lines)


def test_a_name_stays_where_lines_are_told_apart_by_nothing_else(tmp_path):
    for backbone in ("sasrec", "gru4rec"):
        enter(
            tmp_path, write_run(tmp_path, method="id_only", backbone=backbone, configuration=backbone, validation=0.1)
        )
    text = "\n".join(printed(tmp_path, 60))
    assert "gru4rec" in text


def test_a_name_that_all_lines_share_stands_in_the_title(tmp_path):
    for method in ("id_only", "llmemb"):
        enter(tmp_path, write_run(tmp_path, method=method, backbone="sasrec", encoder="minilm", configuration=method))
    title, *lines = printed(tmp_path, 180)
    assert title.startswith("toy · full · experiment demo · backbone sasrec · encoder minilm   (10 overall, 3 head, 7")
    assert re.findall(r"[a-z]+", lines[2]) == ["method", "seeds", *["overall", "head", "tail"] * 3]


@pytest.mark.parametrize(
    ("metrics", "columns"),
    [
        (["mrr@5"], ["MRR@5"]),
        (["hr@100", "hr@5", "hr@20", "hr@10"], ["HR@5", "HR@10", "HR@20", "HR@100"]),
        (["recall@9", "hr@10", "mrr@9"], ["HR@10", "MRR@9", "RECALL@9"]),
        (["ndcg@5", "hr@20", "ndcg@20", "hr@5"], ["HR@5", "HR@20", "NDCG@5", "NDCG@20"]),
        (["gain(base=2.0)@10", "hr@5"], ["HR@5", "GAIN(BASE=2.0)@10"]),
    ],
)
def test_every_metric_is_shown_and_cut_offs_are_in_the_order_of_numbers(metrics, columns, tmp_path):
    lines = printed(store(tmp_path, metrics=metrics), 400)
    [first, _] = [line for line in lines if "@" in line]
    assert list(dict.fromkeys(re.findall(r"[^\s┃]+@\d+", first))) == columns
    rows = as_json(read_rows(tmp_path, [], []))["rows"]
    assert {row["metric"] for row in rows} == set(metrics)
    overall = [
        row["metric"] for row in rows if (row["bucket"], row["protocol"], row["method"]) == ("tail", "full", "id_only")
    ]
    cutoffs = [int(metric.partition("@")[2]) for metric in overall if metric.startswith("hr@")]
    assert cutoffs == sorted(cutoffs)


@pytest.mark.parametrize("label", ["[red]id_only[/]", "id_only (x=[full])", "[/]", "id [bold"])
def test_a_name_is_text_and_no_markup(label, tmp_path):
    enter(tmp_path, write_run(tmp_path, method=label, warnings=["[a] of [/b]"], configuration="x"))
    text = "\n".join(printed(tmp_path, 180))
    assert f"│ {label} " in text
    assert "[a] of [/b]" in text


def test_a_warning_stands_once_for_all_that_it_is_about(tmp_path):
    store(tmp_path, validation=0.2, training=TRAINING | {"best_epoch": 5, "epochs": 5})
    enter(tmp_path, write_run(tmp_path, method="new", configuration="new", warnings=["is odd"]))
    warnings = [line for line in printed(tmp_path, 400) if line.startswith("warning: ")]
    few = "fewer than 30 tail users, so their numbers say little"
    late = "the best epoch is among the last tenth, so more training may be better: raise recommender.train.epochs"
    assert warnings == [
        f"warning: id_only x sasrec, llmemb x sasrec x minilm, popularity on toy: {late}",
        f"warning: toy: {few}",
        "warning: new on toy: is odd",
    ]


@pytest.mark.parametrize(("tail", "told"), [(29, True), (30, False), (0, True)])
def test_few_tail_users_are_told(tail, told, tmp_path):
    enter(tmp_path, write_run(tmp_path, users=USERS | {"tail": tail}))
    assert ("fewer than 30 tail users" in "\n".join(printed(tmp_path, 180))) == told
    rows = as_json(read_rows(tmp_path, [], []))["rows"]
    assert {row["bucket"] for row in rows if row["warnings"]} == ({"tail"} if told else set())


@pytest.mark.parametrize(
    ("columns", "widest"), [("80", 80), ("60", 60), ("300", 300), ("0", 40), ("7", 40), ("wide", 180)]
)
def test_a_report_in_a_pipe_is_as_wide_as_columns_says(columns, widest, cli, tmp_path, monkeypatch):
    store(tmp_path)
    monkeypatch.setenv("COLUMNS", columns)
    text = cli("report", "--results", tmp_path).out
    assert max(map(len, text.splitlines())) <= widest
    assert ("left out" in text) == (widest < 120)


def test_wide_shows_everything_on_any_terminal(cli, tmp_path, monkeypatch):
    store(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    assert "left out" in cli("report", "--results", tmp_path).out
    text = cli("report", "--results", tmp_path, "--wide").out
    assert "left out" not in text
    assert [re.findall(r"[A-Z]+@\d+", line) for line in text.splitlines() if "@" in line] == [
        ["HR@10"] * 3 + ["NDCG@10"] * 3
    ] * 2
