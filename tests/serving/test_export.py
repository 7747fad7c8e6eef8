"""`export`: vectors, states and lists that another system can use, against scores made from them by NumPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import duckdb
import numpy as np
import pytest
import torch
from safetensors import safe_open

from llmemb_bench.base.disk import ROOM
from llmemb_bench.serving.scoring import best
from tests.helpers.finished_runs import METHODS, Finished, finish
from tests.helpers.some import some

ALL = {"items.parquet", "items.safetensors", "users.parquet", "users.safetensors", "top_k.parquet", "manifest.json"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    """A run of every method; whoever changes something works on a copy."""
    return finish(tmp_path_factory.getbasetemp() / "finished")


@pytest.fixture
def export(cli, finished, tmp_path):
    """`export("llmemb")` from the shared runs into `out`."""

    def call(run, *words, code=0):
        ran = cli("export", run, "-o", tmp_path / "out", *words, "--results", finished.results, "--progress", "none")
        assert (ran.code, "Traceback" in ran.err) == (code, False), ran.err
        return ran.out if code == 0 else ran.err

    return call


def rows_of(path, columns="*"):
    with duckdb.connect() as db:
        return db.execute(f"select {columns} from read_parquet(?)", [str(path)]).fetchall()


def matrix(path):
    with safe_open(path, "numpy") as file:
        assert list(file.keys()) == ["vectors"]
        return file.get_tensor("vectors")


def lists(folder):
    """User to its items, by rank."""
    found: dict[str, list[tuple[str, float]]] = {}
    for user, rank, item, score in rows_of(folder / "top_k.parquet", '"user", rank, item, score'):
        found.setdefault(user, []).append((item, score))
        assert rank == len(found[user])
    return found


@pytest.mark.parametrize("method", ["id_only", "llmemb"])
def test_users_times_items_gives_the_lists(method, export, finished, tmp_path):
    printed = export(method, "-k", "5")
    assert printed.startswith("30 users x 5 best of 20 items, and 8 dimensions of both in ")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == ALL
    users, states = rows_of(out / "users.parquet", '"user", events, vector'), matrix(out / "users.safetensors")
    items, vectors = rows_of(out / "items.parquet", "item, vector"), matrix(out / "items.safetensors")
    np.testing.assert_array_equal(np.array([row[2] for row in users], dtype=np.float32), states)
    np.testing.assert_array_equal(np.array([row[1] for row in items], dtype=np.float32), vectors)
    names = [item for item, _ in items]
    scores = (states.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    top = lists(out)
    assert list(top) == [user for user, _, _ in users]
    assert {user: events for user, events, _ in users} == dict.fromkeys(finished.histories, 6)
    for row, (user, listed) in enumerate(top.items()):
        allowed = [place for place, item in enumerate(names) if item not in finished.histories[user]]
        expected = sorted(allowed, key=lambda place: -scores[row, place])[:5]  # stable: the smaller row first
        assert [item for item, _ in listed] == [names[place] for place in expected]
        np.testing.assert_allclose([score for _, score in listed], scores[row, expected], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_recommend_shows_what_export_lists(method, export, cli, finished, tmp_path):
    export(method, "-k", "6")
    top = lists(tmp_path / "out")
    for user in ("u0", "u11", "u29"):
        words = ("--user", user, "-k", "6", "--format", "json", "--results", finished.results)
        shown = json.loads(cli("recommend", method, *words).out)["items"]
        assert [item["item"] for item in shown] == [item for item, _ in top[user]]
        np.testing.assert_allclose([item["score"] for item in shown], [score for _, score in top[user]], rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_items_are_described_and_no_list_holds_an_item_of_the_history(method, export, finished, tmp_path):
    export(method, "-k", "50")
    counts = finished.training_events()
    rows = rows_of(tmp_path / "out" / "items.parquet", "item, text, training_events, bucket")
    for item, text, events, bucket in some(rows):
        assert (events, bucket in ("head", "tail")) == (counts[item], True)
        assert text.endswith(f"number {item.lstrip('i,')}")
    for user, listed in some(lists(tmp_path / "out").items()):
        assert sorted(item for item, _ in listed) == sorted(counts.keys() - set(finished.histories[user]))


@pytest.mark.parametrize("method", ["popularity", "cooccurrence"])
def test_a_method_without_vectors_gives_lists_and_says_so(method, export, tmp_path):
    assert "this method has no vectors, so there are lists only" in export(method)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"items.parquet", "top_k.parquet", "manifest.json"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["dim"], manifest["files"].keys()) == (None, {"items.parquet", "top_k.parquet"})


def test_popular_items_with_equal_counts_stand_in_the_order_of_the_catalogue(export, finished, tmp_path):
    export("popularity")
    names = [item for (item,) in rows_of(tmp_path / "out" / "items.parquet", "item")]
    counts = finished.training_events()
    order = sorted(names, key=lambda item: -counts[item])
    for user, listed in some(lists(tmp_path / "out").items()):
        assert [item for item, _ in listed] == [item for item in order if item not in finished.histories[user]]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 3, 10, 40, 99])
def test_of_equal_scores_the_smaller_id_comes_first_at_the_cut_too(kind, count):
    scores = torch.randint(0, 6, (50, 40), generator=torch.Generator().manual_seed(count)).to(kind)
    scores[:, ::7] = -torch.inf
    ids, values = best(scores, count)
    for row, found in zip(scores.numpy(), ids.numpy(), strict=True):
        np.testing.assert_array_equal(found, np.lexsort((np.arange(40), -row))[:count])
    torch.testing.assert_close(values, scores.gather(1, ids), rtol=0, atol=0)


def test_the_manifest_says_what_the_files_come_from(export, finished, tmp_path):
    export("llmemb", "-k", "7")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    of_run = json.loads((finished.run("llmemb") / "manifest.json").read_text())
    assert [manifest[name] for name in ("key", "data", "seed")] == [of_run[name] for name in ("key", "data", "seed")]
    assert (manifest["run"], manifest["k"]) == (f"mine/{finished.run('llmemb').name}", 7)
    assert manifest["spec"]["dataset"]["events"] == "events.csv"
    assert manifest["use"].startswith("scores = users.vectors @ items.vectors.T")
    assert str(finished.folder) not in json.dumps(manifest)
    with safe_open(tmp_path / "out" / "users.safetensors", "numpy") as file:
        assert file.metadata()["key"] == of_run["key"]


def test_the_size_of_a_block_changes_nothing(export, monkeypatch, tmp_path):
    export("llmemb")
    (tmp_path / "out").rename(tmp_path / "whole")
    monkeypatch.setattr("llmemb_bench.serving.scoring.USERS_AT_ONCE", 7)
    monkeypatch.setattr("llmemb_bench.serving.export.ITEMS_PER_BLOCK", 3)
    export("llmemb")
    for name in ("items", "users"):
        np.testing.assert_allclose(
            matrix(tmp_path / "out" / f"{name}.safetensors"),
            matrix(tmp_path / "whole" / f"{name}.safetensors"),
            atol=1e-6,
        )
        out, whole = (rows_of(tmp_path / folder / f"{name}.parquet", "* exclude vector") for folder in ("out", "whole"))
        assert out == whole
    out, whole = lists(tmp_path / "out"), lists(tmp_path / "whole")
    assert {user: [item for item, _ in listed] for user, listed in out.items()} == {
        user: [item for item, _ in listed] for user, listed in whole.items()
    }


def test_an_older_export_is_replaced_and_anything_else_is_left_alone(export, cli, finished, tmp_path):
    out = tmp_path / "out"
    export("llmemb")
    export("popularity")
    assert not (out / "users.parquet").exists()
    (out / "mine.txt").write_text("mine")
    assert "holds files that are not an export -> name a new folder" in export("popularity", code=2)
    assert (out / "mine.txt").read_text() == "mine"
    run = finished.run("id_only")
    before = {path.name for path in run.iterdir()}
    ran = cli("export", "llmemb", "-o", run, "--results", finished.results)
    assert (ran.code, "not an export" in ran.err, {path.name for path in run.iterdir()}) == (2, True, before)
    (tmp_path / "file").write_text("mine")
    ran = cli("export", "llmemb", "-o", tmp_path / "file", "--results", finished.results)
    assert (ran.code, "is a file" in ran.err) == (2, True)
    assert "no run 'nobody'" in cli("export", "nobody", "-o", out, "--results", finished.results).err


def test_an_export_that_fails_leaves_nothing(export, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("llmemb_bench.serving.export.write_json", fail)
    error = export("llmemb", code=4)
    assert error == f"error: {tmp_path / 'out'}: cannot be used: No space left on device -> {ROOM}\n"
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]  # empty, and taken by the next


KILLED = """
import os, signal, sys
from llmemb_bench.cli import main
from llmemb_bench.serving import export
export._manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["llmemb-bench", *sys.argv[1:]]
main()
"""


def test_a_killed_export_leaves_nothing_half_made_and_the_next_one_clears_up(export, finished, tmp_path):
    words = ["export", "llmemb", "-o", str(tmp_path / "out"), "--results", str(finished.results)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, env={**os.environ})
    assert killed.returncode == -9, killed.stderr
    assert all(path.name.startswith(".out") for path in tmp_path.iterdir())
    assert list(tmp_path.glob(".out.part-*"))
    export("llmemb")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
