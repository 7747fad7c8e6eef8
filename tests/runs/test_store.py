"""The store is an index over run folders: entered once, rebuilt from them, safe for parallel runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.base.errors import BenchError, DataError, MissingError
from llmemb_bench.base.seal import seal
from llmemb_bench.report.rows import as_json, read_rows
from llmemb_bench.runs.database import DATABASE, enter, open_store
from llmemb_bench.runs.schema import RUN
from tests.helpers.stored_runs import BASE, TRAINING, write_run


def overall(results: Path) -> list[tuple[str, float | None, float | None, list[int]]]:
    rows = read_rows(results, [], [])
    return [
        (row.method, row.mean, row.std, row.seeds)
        for row in rows
        if (row.bucket, row.metric, row.protocol) == ("overall", "hr@10", "full")
    ]


def test_a_report_is_the_mean_and_sample_deviation_over_seeds(tmp_path):
    enter(tmp_path, write_run(tmp_path, value=0.25, seed=1))
    enter(tmp_path, write_run(tmp_path, value=0.75, seed=2))
    assert overall(tmp_path) == [("popularity", 0.5, pytest.approx(0.125**0.5), [1, 2])]


def test_entering_a_run_twice_changes_nothing(tmp_path):
    run = write_run(tmp_path)
    enter(tmp_path, run)
    enter(tmp_path, run)
    with open_store(tmp_path) as db:
        assert db.execute("select count(*) from metrics").fetchone() == (36,)


def test_seeds_of_an_older_configuration_never_enter_a_mean(tmp_path):
    enter(tmp_path, write_run(tmp_path, value=0.1, seed=1, configuration="old", started=1.0))
    enter(tmp_path, write_run(tmp_path, value=0.1, seed=2, configuration="old", started=2.0))
    enter(tmp_path, write_run(tmp_path, value=0.9, seed=1, configuration="new", started=3.0))
    assert [numbers for _, *numbers in overall(tmp_path)] == [[0.1, 0.0, [1, 2]], [0.9, None, [1]]]


def test_two_protocols_never_meet_in_one_row(tmp_path):
    enter(tmp_path, write_run(tmp_path, value=0.1, seed=1, protocol_hash="p1", experiment="one"))
    enter(tmp_path, write_run(tmp_path, value=0.9, seed=2, protocol_hash="p2", experiment="two"))
    assert [mean for _, mean, _, _ in overall(tmp_path)] == [0.1, 0.9]


def test_the_json_report_has_the_promised_form(tmp_path):
    enter(tmp_path, write_run(tmp_path))
    report = as_json(read_rows(tmp_path, [], []))
    assert report["schema"] == 2
    assert len(report["rows"]) == 2 * 5 * 3
    assert report["rows"][0] == {
        **BASE, "protocol": "full", "bucket": "head", "metric": "hr@10", "mean": 0.5, "std": None, "seeds": [42],
        "n_users": 3, "split": "", "warnings": [], "n_items": 400, "head_items": 80, "head_least_events": 7,
        "head_tied": 0, "monitor": None, "validation": None, "steps": None, "teacher_steps": None,
        "n_settings": 1, "chosen": True,
    }  # fmt: skip


def test_the_json_report_has_the_budget_beside_the_number(tmp_path):
    for seed, steps in ((1, 40), (2, 60)):
        teacher = TRAINING | {"validation_score": 0.2, "steps": 10 * seed}
        training = TRAINING | {"steps": steps, "teacher": teacher}
        enter(tmp_path, write_run(tmp_path, seed=seed, validation=0.1 * seed, training=training))
    row = as_json(read_rows(tmp_path, [], []))["rows"][0]
    assert (row["monitor"], row["validation"]) == ("ndcg@10 (full)", pytest.approx(0.15))
    assert (row["steps"], row["teacher_steps"]) == (50, 15)


def test_an_empty_bucket_is_null_in_the_report(tmp_path):
    enter(tmp_path, write_run(tmp_path, value=None))
    assert {(row["mean"], row["n_users"]) for row in as_json(read_rows(tmp_path, [], []))["rows"]} == {(None, 0)}


def test_reports_filter_by_experiment_and_seed(tmp_path):
    for seed in (1, 2):
        enter(tmp_path, write_run(tmp_path, seed=seed))
    enter(tmp_path, write_run(tmp_path, experiment="other"))
    assert {row.experiment for row in read_rows(tmp_path, ["demo"], [])} == {"demo"}
    assert {tuple(row.seeds) for row in read_rows(tmp_path, ["demo"], [2])} == {(2,)}
    with pytest.raises(
        BenchError,
        match="no experiment is called 'nothing' -> name one of them; there are: demo \\(seeds 1, 2\\); other",
    ):
        read_rows(tmp_path, ["nothing"], [])


def test_the_store_can_be_rebuilt_from_the_run_folders(tmp_path):
    for seed in (1, 2, 3):
        enter(tmp_path, write_run(tmp_path, seed=seed))
    before = as_json(read_rows(tmp_path, [], []))
    (tmp_path / DATABASE).unlink()
    for manifest in sorted(tmp_path.rglob("manifest.json")):
        enter(tmp_path, manifest.parent)
    assert as_json(read_rows(tmp_path, [], [])) == before


def test_parallel_runs_all_enter(tmp_path):
    write_run(tmp_path, seed=0)
    runs = [write_run(tmp_path, seed=seed) for seed in range(4)]
    program = (
        "import sys; from pathlib import Path; from llmemb_bench.runs.database import enter;"
        "enter(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(run)]) for run in runs]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert overall(tmp_path)[0][3] == [0, 1, 2, 3]


def test_no_store_and_a_damaged_one_that_nothing_can_be_made_from_are_clear_errors(tmp_path):
    with pytest.raises(MissingError, match="llmemb-bench run"):
        open_store(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match=r"is damaged .* -> remove it and run again"):
        open_store(tmp_path)


def rows_of(results: Path) -> dict:
    return as_json(read_rows(results, [], []))


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory) -> tuple[Path, dict]:
    """A store of three sealed runs, and its report."""
    results = tmp_path_factory.mktemp("three")
    for seed in (1, 2, 3):
        run = write_run(results, seed=seed, value=0.25 * seed, schema=RUN)
        seal(run)
        enter(results, run)
    return results, rows_of(results)


@pytest.fixture
def before(three_runs, tmp_path) -> dict:
    """The report of a copy of the three runs in `tmp_path`."""
    shutil.copytree(three_runs[0], tmp_path, dirs_exist_ok=True)
    return three_runs[1]


def sql(*queries: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        with duckdb.connect(str(path)) as db:
            for query in queries:
                db.execute(query)

    return change


def flip(place: int) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        held = bytearray(path.read_bytes())
        held[place] ^= 16
        path.write_bytes(held)

    return change


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner").write_text("inner")


def of_another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("create table runs (folder text)")
    db.close()


def other_wal(path: Path) -> None:
    """The log of another database, which is then itself gone."""
    other = path.with_name("other.duckdb")
    program = (
        "import duckdb, os, sys; db = duckdb.connect(sys.argv[1]); db.execute('create table a (b int)');"
        "db.execute('insert into a values (1)'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(other)], check=True)
    other.with_name("other.duckdb.wal").rename(path.with_name(f"{DATABASE}.wal"))
    path.write_bytes(b"")


DAMAGED = "is damaged ("
DAMAGES = {
    "empty": (lambda path: path.write_bytes(b""), DAMAGED),
    "text": (lambda path: path.write_text("a text file\n" * 900), DAMAGED),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), DAMAGED),
    "cut": (lambda path: os.truncate(path, path.stat().st_size // 2), DAMAGED),
    "cut tail": (lambda path: os.truncate(path, path.stat().st_size - 300_000), DAMAGED),
    "header": (flip(4096 + 20), DAMAGED),
    "bit": (flip(12288 + 300), DAMAGED),
    "folder": (to_folder, DAMAGED),
    "SQLite": (of_another_program, DAMAGED),
    "another's log": (other_wal, DAMAGED),
    "deleted": (lambda path: path.unlink(), "was missing 3 of 3 runs"),
    "no metrics": (sql("drop table metrics"), "was missing 3 of 3 runs"),
    "no runs": (sql("drop table runs"), "was missing 3 of 3 runs"),
    "no column": (sql("alter table metrics drop column n_users"), "was missing 3 of 3 runs"),
    "a run less": (sql("delete from runs where seed = 2"), "was missing 1 of 3 runs"),
    "half the metrics": (sql("delete from metrics where rowid % 2 = 0"), "was missing 3 of 3 runs"),
    "metrics of one run": (sql("delete from metrics where folder like '%-3'"), "was missing 1 of 3 runs"),
    "another value": (sql("update metrics set value = 0.9 where rowid = 3"), "was missing 1 of 3 runs"),
    "rows twice": (sql("insert into metrics select * from metrics where folder like '%-1'"), "was missing 1 of 3 runs"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_said_and_made_again_from_the_run_folders(damage, words, before, tmp_path, capsys):
    damage(tmp_path / DATABASE)
    assert rows_of(tmp_path) == before
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / DATABASE}: {words}")
    assert rows_of(tmp_path) == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["bit", "half the metrics", "deleted"])
def test_a_damaged_store_that_cannot_be_written_is_read_from_the_run_folders(damage, before, tmp_path, capsys):
    DAMAGES[damage][0](tmp_path / DATABASE)
    lock = tmp_path / f".{DATABASE}.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # as good as a folder without the right to write, which root has everywhere
    assert rows_of(tmp_path) == before
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot be written (cannot be used: Is a directory); the run folders are read instead" in line


def test_a_store_that_was_moved_away_is_made_again_with_all_earlier_runs(before, tmp_path, capsys):
    """As the message about a store of a newer version says."""
    with duckdb.connect(str(tmp_path / DATABASE)) as db:
        db.execute("alter table runs add column unknown varchar")
    with pytest.raises(MissingError, match="move the file away"):
        rows_of(tmp_path)
    shutil.move(tmp_path / DATABASE, tmp_path / "moved.duckdb")
    run = write_run(tmp_path, seed=4, value=0.5, schema=RUN)
    seal(run)
    enter(tmp_path, run)
    assert overall(tmp_path)[0][3] == [1, 2, 3, 4]
    assert "was missing 3 of 4 runs; added from their folders" in capsys.readouterr().err


def test_a_run_whose_folder_is_gone_is_taken_out_with_a_line(before, tmp_path, capsys):
    shutil.rmtree(next(tmp_path.glob("runs/demo/*-2")))
    assert overall(tmp_path)[0][3] == [1, 3]
    assert "1 of its runs no longer have a folder; removed" in capsys.readouterr().err


def test_a_store_alone_is_read_as_it_is(before, tmp_path, capsys):
    shutil.rmtree(tmp_path / "runs")
    assert rows_of(tmp_path) == before
    assert capsys.readouterr().err == ""


def test_a_run_folder_half_made_by_a_killed_run_is_no_run(before, tmp_path):
    run = next(tmp_path.glob("runs/demo/*-2"))
    shutil.copytree(run, run.with_name(f".{run.name}.part-x"))
    assert rows_of(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("metrics.json", lambda path: os.truncate(path, 90), "metrics.json is damaged (90 of "),
        ("metrics.json", flip(-30), "metrics.json is damaged (its bytes"),
        ("metrics.json", lambda path: path.unlink(), "metrics.json is missing"),
        ("manifest.json", lambda path: os.truncate(path, 9), "manifest.json is damaged (9 of "),
        ("manifest.json", flip(3), "manifest.json is damaged (its bytes"),
        ("seal.json", lambda path: path.unlink(), "has no seal.json"),
        ("manifest.json", lambda path: path.write_text('{"schema": 99}'), "a newer version of llmemb-bench wrote it"),
        ("manifest.json", lambda path: path.write_text('{"schema": 3}'), "manifest.json is damaged"),
    ],
)
def test_a_run_folder_that_cannot_be_believed_is_left_out_by_name(name, change, words, before, tmp_path, capsys):
    run = next(tmp_path.glob("runs/demo/*-2"))
    change(run / name)
    (tmp_path / DATABASE).unlink()
    assert overall(tmp_path)[0][3] == [1, 3]
    [told] = [line for line in capsys.readouterr().err.splitlines() if str(run) in line]
    assert f"{run}: left out, {words}" in told
    assert " -> " in told


def test_run_folders_left_out_for_one_reason_are_one_line(before, tmp_path, capsys):
    for seed in (4, 5, 6):
        write_run(tmp_path, seed=seed, schema=3)
    assert overall(tmp_path)[0][3] == [1, 2, 3]
    assert "popularity-c1-4, and 2 more like it: left out, an older version wrote it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    ["alter table runs add column colour varchar", "alter table metrics add column variance double"],
)
def test_a_store_of_a_newer_version_is_refused_by_name_and_stays_as_it_is(change, before, tmp_path):
    sql(change)(tmp_path / DATABASE)
    held = (tmp_path / DATABASE).read_bytes()
    for act in (lambda: open_store(tmp_path), lambda: enter(tmp_path, next(tmp_path.glob("runs/demo/*-2")))):
        with pytest.raises(MissingError, match=rf"{DATABASE}: was written by a newer version of llmemb-bench \(it has"):
            act()
    assert (tmp_path / DATABASE).read_bytes() == held


def test_two_hundred_runs_are_compared_in_less_than_a_second(tmp_path):
    run = write_run(tmp_path, seed=1, schema=RUN)
    for number in range(200):
        shutil.copytree(run, run.with_name(f"copy-{number}"))
        seal(run.with_name(f"copy-{number}"))
    open_store(tmp_path).close()
    start = time.process_time()
    open_store(tmp_path).close()
    assert time.process_time() - start < 1


def test_the_store_holds_what_a_training_was_chosen_by_and_what_it_and_its_teachers_cost(tmp_path):
    grand = TRAINING | {"validation_score": 0.1, "steps": 7}
    teacher = TRAINING | {"validation_score": 0.2, "steps": 30, "teacher": grand}
    run = write_run(
        tmp_path, validation=0.25, training=TRAINING | {"teacher": teacher}, training_seconds=2.5, teacher_seconds=1.5
    )
    enter(tmp_path, run)
    enter(tmp_path, write_run(tmp_path, seed=7))  # nothing was trained
    columns = "monitor, validation_score, best_epoch, epochs, steps, teacher_steps, training_seconds, teacher_seconds"
    with open_store(tmp_path) as db:
        found = db.execute(f"select {columns} from runs order by seed").fetchall()
    assert found == [(None,) * 8, ("ndcg@10 (full)", 0.25, 3, 5, 50, 37, 2.5, 1.5)]


def test_a_store_of_an_older_form_is_made_anew_without_runs_that_say_too_little(tmp_path, capsys):
    enter(tmp_path, write_run(tmp_path, seed=1))
    write_run(tmp_path, seed=2, schema=3)  # by an earlier version: it does not say all that a report needs
    with duckdb.connect(str(tmp_path / DATABASE)) as db:
        db.execute("alter table runs drop column steps")
    enter(tmp_path, write_run(tmp_path, seed=3))
    assert overall(tmp_path)[0][3] == [1, 3]
    assert "an older version wrote it -> run its spec again" in capsys.readouterr().err


def test_reports_open_the_store_read_only(tmp_path):
    enter(tmp_path, write_run(tmp_path))
    with open_store(tmp_path) as db, pytest.raises(duckdb.Error):
        db.execute("delete from runs")


@pytest.mark.parametrize("text", [b"a: [", b"- 1\n", b"\xff\xfe", b"", b"words"])
def test_a_run_folder_whose_spec_is_none_is_left_out_and_said(text, tmp_path, capsys):
    enter(tmp_path, write_run(tmp_path, seed=1))
    run = write_run(tmp_path, seed=2)
    (run / "spec.resolved.yaml").write_bytes(text)
    enter(tmp_path, run)
    assert overall(tmp_path)[0][3] == [1]
    assert "(spec.resolved.yaml is not what a run writes) -> run its spec again" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["seed = 7", "method = 'm', dataset = 'amazon'", "warnings = []", "series = ''"])
def test_a_row_of_a_run_that_is_not_what_was_entered_is_made_again(change, tmp_path):
    enter(tmp_path, write_run(tmp_path, seed=3, warnings=["odd"]))
    before = overall(tmp_path)
    with duckdb.connect(str(tmp_path / DATABASE)) as db:
        db.execute(f"update runs set {change}")
    assert overall(tmp_path) == before


def test_a_manifest_that_nests_without_end_is_damage_of_its_run_alone(tmp_path, capsys):
    enter(tmp_path, write_run(tmp_path, seed=1))
    run = write_run(tmp_path, seed=2)
    (run / "manifest.json").write_text("[" * 100_000)
    assert overall(tmp_path)[0][3] == [1]
    assert f"{run.name}: left out" in capsys.readouterr().err
