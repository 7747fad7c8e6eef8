"""The store is an index over run folders: entered once, rebuilt from them, safe for parallel runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.errors import BenchError, MissingError
from llmemb_bench.report.rows import as_json, read_rows
from llmemb_bench.store.database import DATABASE, enter, open_store
from stored_runs import BASE, TRAINING, write_run


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
    with pytest.raises(BenchError, match="no run in the store fits"):
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
        "import sys; from pathlib import Path; from llmemb_bench.store.database import enter;"
        "enter(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(run)]) for run in runs]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert overall(tmp_path)[0][3] == [0, 1, 2, 3]


def test_no_store_and_a_broken_store_are_clear_errors(tmp_path):
    with pytest.raises(MissingError, match="llmemb-bench run"):
        open_store(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(BenchError, match="cannot be opened"):
        open_store(tmp_path)


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


def test_a_store_of_an_older_form_is_one_line_and_made_anew_by_the_next_run(tmp_path):
    enter(tmp_path, write_run(tmp_path, seed=1))
    write_run(tmp_path, seed=2, schema=3)  # by an earlier version: it does not say all that a report needs
    with duckdb.connect(str(tmp_path / DATABASE)) as db:
        db.execute("alter table runs drop column steps")
    with pytest.raises(MissingError, match=r"llmemb\.duckdb: is of an older form -> run a spec again"):
        open_store(tmp_path)
    enter(tmp_path, write_run(tmp_path, seed=3))
    assert overall(tmp_path)[0][3] == [1, 3]


def test_reports_open_the_store_read_only(tmp_path):
    enter(tmp_path, write_run(tmp_path))
    with open_store(tmp_path) as db, pytest.raises(duckdb.Error):
        db.execute("delete from runs")


@pytest.mark.parametrize("text", [b"a: [", b"- 1\n", b"\xff\xfe", b"", b"words"])
def test_a_run_folder_whose_spec_is_none_is_an_error_that_names_the_file(text, tmp_path):
    run = write_run(tmp_path)
    (run / "spec.resolved.yaml").write_bytes(text)
    with pytest.raises(BenchError, match=r"spec\.resolved\.yaml: is not what a run writes -> delete .* and run again"):
        enter(tmp_path, run)
