"""Of several settings of one method, validation chooses which one a report may call the best."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from llmemb_bench.report.rows import as_json, read_rows
from llmemb_bench.report.tables import print_tables
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import TRAINING, write_run

BOLD = re.compile(r"\x1b\[1m *(0\.\d+) *\x1b\[0m")


def ran(results: Path, rate: str, **about) -> None:
    """One run of id_only with a learning rate."""
    named = {"method": f"id_only (learning_rate={rate})", "backbone": "sasrec", "configuration": rate, **about}
    enter(results, write_run(results, **named))


@pytest.fixture
def search(tmp_path) -> Path:
    """Two settings whose validation and test disagree, beside a method without settings."""
    enter(tmp_path, write_run(tmp_path, value=0.30, started=1.0))
    ran(tmp_path, "0.1", value=0.90, validation=0.40, started=2.0)
    ran(tmp_path, "0.01", value=0.70, validation=0.50, started=3.0)
    return tmp_path


def printed(results: Path) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system="standard")
    print_tables(read_rows(results, [], []), console)
    return console.file.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def chosen(results: Path, *, seeds: tuple[int, ...] = ()) -> dict[str, tuple[int, bool]]:
    rows = as_json(read_rows(results, [], list(seeds)))["rows"]
    return {row["method"].removeprefix("id_only "): (row["n_settings"], row["chosen"]) for row in rows}


def test_the_setting_with_the_best_validation_score_is_chosen_though_another_tests_better(search):
    assert chosen(search) == {
        "popularity": (1, True),
        "(learning_rate=0.1)": (2, False),
        "(learning_rate=0.01)": (2, True),
    }


def test_the_best_test_number_of_a_search_is_never_in_bold(search):
    table = printed(search)
    assert set(BOLD.findall(table)) == {"0.7000"}
    assert "0.9000" in table
    text = plain(table)
    assert "id_only (learning_rate=0.01) *" in text
    assert "id_only (learning_rate=0.1) *" not in text
    line = "* chosen by validation ndcg@10 (full) among 2 settings of id_only x sasrec x none in demo"
    assert text.count(line) == 2  # a line under each table
    assert re.search(r"learning_rate=0\.1\).*│\s+0\.4000 │\s+0\.9000", text)


def test_what_was_not_searched_may_be_the_best(search):
    enter(search, write_run(search, value=0.80, method="llmemb", validation=0.1, started=4.0))
    assert set(BOLD.findall(printed(search))) == {"0.8000"}


def test_a_number_that_equals_the_best_is_not_bold_where_it_was_not_chosen(tmp_path):
    ran(tmp_path, "0.1", value=0.7, validation=0.4)
    ran(tmp_path, "0.01", value=0.7, validation=0.5)
    lines = [line for line in printed(tmp_path).splitlines() if BOLD.search(line)]
    assert len(lines) == 2  # one in each table
    assert all("learning_rate=0.01" in line for line in lines)


def test_validation_is_averaged_over_the_seeds_that_are_reported(tmp_path):
    for seed, (first, second) in {1: (0.1, 0.2), 2: (0.9, 0.2)}.items():
        ran(tmp_path, "0.1", seed=seed, validation=first)
        ran(tmp_path, "0.01", seed=seed, validation=second)
    assert chosen(tmp_path)["(learning_rate=0.1)"] == (2, True)
    assert chosen(tmp_path, seeds=(1,))["(learning_rate=0.01)"] == (2, True)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"validation": None}, "not all have a validation score"),
        ({"validation": 0.3, "training": TRAINING | {"monitor": "hr@10"}}, "they were validated by different metrics"),
        ({"validation": 0.3, "seed": 7}, "they were not run with the same seeds"),
    ],
)
def test_where_validation_cannot_choose_nothing_is_chosen_and_the_report_says_why(other, reason, tmp_path):
    ran(tmp_path, "0.1", value=0.9, validation=0.5)
    ran(tmp_path, "0.01", **other)
    assert set(chosen(tmp_path).values()) == {(2, False)}
    table = printed(tmp_path)
    assert not BOLD.findall(table)
    line = f"none of 2 settings of id_only x sasrec x none in demo is chosen, and none in bold: {reason}"
    assert line in plain(table)


def test_experiments_backbones_and_protocols_are_no_settings(tmp_path):
    ran(tmp_path, "0.1", validation=0.5)
    ran(tmp_path, "0.01", validation=0.4, experiment="other")
    ran(tmp_path, "0.02", validation=0.4, backbone="gru4rec")
    ran(tmp_path, "0.03", validation=0.4, protocol_hash="another")
    assert set(chosen(tmp_path).values()) == {(1, True)}


def test_a_table_without_a_search_has_no_mark_and_no_column_for_it(tmp_path):
    enter(tmp_path, write_run(tmp_path, method="id_only", validation=0.4))
    table = plain(printed(tmp_path))
    assert "validation" not in table
    assert "*" not in table


def test_the_lines_under_a_table_tell_the_cut_and_the_targets_that_training_never_saw(tmp_path):
    enter(tmp_path, write_run(tmp_path))
    table = plain(printed(tmp_path))
    assert "head: 80 of 400 items (20.0%), 7 events or more\n" in table
    assert "tail: 7 users, 2 of them with targets never seen in training\n" in table


def test_a_catalogue_without_a_head_says_so(tmp_path):
    head = {"n_items": 400, "n_head": 0, "least_events": None, "n_tied": 0}
    enter(tmp_path, write_run(tmp_path, head=head))
    assert "head: none of 400 items\n" in plain(printed(tmp_path))
