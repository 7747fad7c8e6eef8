"""`recommend`: what a finished run would show a user or after a history, and what it takes to load a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmemb_bench.base.errors import MissingError
from llmemb_bench.base.seal import seal
from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.spec.cells import load_cells
from llmemb_bench.stages import recommender as stage
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import Graph
from tests.helpers.finished_runs import METHODS, Finished, finish, run_spec


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    """A run of every method; whoever changes something works on a copy."""
    return finish(tmp_path_factory.getbasetemp() / "finished")


@pytest.fixture
def copied(finished, tmp_path) -> Finished:
    """The same without its cache."""
    shutil.copytree(finished.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".cache"))
    return Finished(tmp_path / "copy", finished.histories)


@pytest.fixture
def recommend(cli, finished):
    """`recommend("llmemb", "--user", "u3")` as JSON, from the shared runs."""

    def call(run, *words, results=finished.results, code=0):
        ran = cli("recommend", run, *words, "--results", results, "--format", "json", "--progress", "none")
        assert (ran.code, "Traceback" in ran.err) == (code, False), ran.err
        return json.loads(ran.out) if code == 0 else ran.err

    return call


@pytest.mark.parametrize("method", METHODS)
def test_every_method_recommends_items_that_the_user_does_not_have(method, recommend, finished):
    counts = finished.training_events()
    head = sorted(counts, key=lambda item: -counts[item])[:4]  # a fifth of the catalogue
    for user in ("u0", "u7", "u29"):
        found = recommend(method, "--user", user, "-k", 20)
        items = [item["item"] for item in found["items"]]
        history = finished.histories[user]
        assert [event["item"] for event in found["history"]] == history
        assert (len(items), set(items) | set(history)) == (14, set(counts))
        assert [item["rank"] for item in found["items"]] == list(range(1, 15))
        scores = [item["score"] for item in found["items"]]
        assert scores == sorted(scores, reverse=True)
        for item in found["items"]:
            assert item["training_events"] == counts[item["item"]]
            if item["training_events"] != counts[head[-1]]:
                assert item["bucket"] == ("head" if item["item"] in head else "tail")
            assert item["title"].endswith(f"number {item['item'].lstrip('i,')}")
            assert item["title"] in item["text"]


@pytest.mark.parametrize("method", METHODS)
def test_a_history_given_is_as_good_as_the_user_who_has_it(method, recommend, finished):
    history = finished.histories["u3"]
    words = [word for item in history for word in ("--history", item)]
    assert recommend(method, *words)["items"] == recommend(method, "--user", "u3")["items"]


def test_of_a_long_history_the_latest_events_are_read_and_all_are_left_out(recommend):
    short = recommend("llmemb", "--history", "i1,i2,i3,i4", "-k", 20)
    long = recommend("llmemb", "--history", "i9,i8,i1,i2,i3,i4", "-k", 20)
    assert (short["read"], long["read"], len(long["history"])) == (4, 4, 6)
    assert [i["item"] for i in long["items"]] == [i["item"] for i in short["items"] if i["item"] not in ("i8", "i9")]


def test_an_id_that_holds_a_comma_is_given_by_an_option_of_its_own(recommend):
    found = recommend("popularity", "--history", "i1, i2", "--history", "i,19", "--history", "i3")
    assert [event["item"] for event in found["history"]] == ["i1", "i2", "i,19", "i3"]


def test_where_evaluation_keeps_the_history_so_does_recommend(recommend, finished, tmp_path):
    text = (finished.folder / "spec.yaml").read_text().replace("[full]", "[full], history: keep")
    spec = finished.folder / "keep.yaml"
    spec.write_text(text.partition("matrix:")[0] + "matrix: {recommender.method: [popularity]}\n")
    run_spec(spec, tmp_path)
    found = recommend("popularity", "--user", "u3", "-k", 20, results=tmp_path)
    assert (len(found["items"]), found["history_left_out"]) == (20, False)


def test_the_table_shows_the_history_and_then_the_items(cli, finished):
    ran = cli("recommend", "llmemb", "--user", "u3", "-k", "3", "--results", finished.results)
    history, _, items = ran.out.partition("\n\n")
    assert "user u3, 6 events; the model reads the latest 4" in history
    assert all(item in history for item in finished.histories["u3"])
    assert [line.split()[0] for line in items.splitlines()] == ["RANK", "1", "2", "3"]
    assert "number" in items
    everything = ",".join(f"i{item}" for item in range(19))
    ran = cli("recommend", "llmemb", "--history", everything, "--history", "i,19", "--results", finished.results)
    assert (ran.code, "10 earlier" in ran.out, "nothing is left to recommend" in ran.out) == (0, True, True)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("llmemb", "--user", "u33"), 2, "--user: no user has the id 'u33' -> did you mean 'u3'"),
        (("llmemb", "--user", "zebra"), 2, "ids look like: u"),
        (("llmemb", "--history", "i1,i44"), 2, "--history: no item has the id 'i44' -> did you mean 'i4'"),
        (("llmemb", "--history", " , "), 2, "the history is empty"),
        (("llmemb", "--history", ""), 2, "the history is empty"),
        (("llmemb",), 2, "give either a user or a history"),
        (("llmemb", "--user", "u3", "--history", "i1"), 2, "give either a user or a history"),
        (("sasrec", "--user", "u3"), 2, "'sasrec' is a part of 2 runs -> name one of them: mine/id_only-sasrec-"),
        (("llmembb", "--user", "u3"), 4, "no run 'llmembb' in"),
        (("llmemb", "--user", "u3", "-k", "0"), 2, "-k"),
    ],
)
def test_a_mistake_is_one_clear_line(words, code, message, recommend):
    error = recommend(*words, code=code)
    assert message in error
    assert message == "-k" or len(error.splitlines()) == 1


def test_a_run_is_named_by_path_folder_or_experiment(recommend, finished, monkeypatch, tmp_path):
    run = finished.run("llmemb")
    expected = recommend("llmemb", "--user", "u3")
    for name in (run, run.name, f"mine/{run.name}", "mine/llmemb"):
        assert recommend(name, "--user", "u3") == expected
    monkeypatch.chdir(tmp_path)  # the cache is that of the results that the run lies in
    assert recommend(run, "--user", "u3", results="results") == expected
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_was_run_the_error_says_what_to_type(recommend, tmp_path):
    assert "there are none in" in recommend("llmemb", "--user", "u3", results=tmp_path, code=4)


@pytest.mark.parametrize("method", ["id_only", "llmemb"])
def test_without_the_cache_the_weights_of_the_run_folder_serve_and_nothing_is_trained(
    method, recommend, copied, finished, monkeypatch
):
    read = []
    monkeypatch.setattr("llmemb_bench.stages.recommender.train", None)  # whoever trains fails
    monkeypatch.setattr(stage, "load_file", lambda path: read.append(path) or load_file(path))
    found, expected = (
        recommend(method, "--user", "u3", results=results) for results in (copied.results, finished.results)
    )
    assert [item["item"] for item in found["items"]] == [item["item"] for item in expected["items"]]
    assert read[0] == copied.run(method) / "weights.safetensors"
    assert not (copied.results / ".cache" / "recommender").exists()


def test_items_that_must_be_encoded_again_are_announced(cli, copied):
    ran = cli("recommend", "llmemb", "--user", "u3", "--results", copied.results, "--progress", "plain")
    assert "so the items are encoded again" in ran.err
    ran = cli("recommend", "llmemb", "--user", "u3", "--results", copied.results, "--progress", "plain")
    assert "encoded again" not in ran.err


def test_an_encoder_is_never_tuned_to_recommend(finished, tmp_path):
    """Nor is an empty folder left for whoever looks next."""
    [cell, *_] = [cell for cell in load_cells(finished.folder / "spec.yaml") if cell.labels.method == "llmemb"]
    scft = ScftConfig(augmentations=["drop_attributes"], loss="info_nce", steps=1, batch_size=2, learning_rate=0.1)
    embeddings = cell.spec.embeddings.model_copy(update={"scft": scft})
    tuned = (
        Graph(Cache(tmp_path), run=finished.run("llmemb"))
        .vectors(cell.spec.dataset, cell.spec.split, embeddings)
        .adapter
    )
    with pytest.raises(MissingError, match="the encoder that SCFT tuned for this run is no longer in"):
        tuned.result()
    assert not (tmp_path / "adapter").exists()


def break_weights(run: Path) -> None:
    weights = load_file(run / "weights.safetensors")
    torch.manual_seed(0)
    save_file({name: torch.randn_like(weight) for name, weight in weights.items()}, run / "weights.safetensors")
    seal(run)


def lose_weight(run: Path) -> None:
    weights = load_file(run / "weights.safetensors")
    weights.pop("mask")
    save_file(weights, run / "weights.safetensors")
    seal(run)


def change_schema(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda run: (run / "weights.safetensors").unlink(), 5, "weights.safetensors is missing -> run the spec again"),
        (lambda run: (run / "weights.safetensors").write_bytes(b"\x10"), 5, "weights.safetensors is damaged (1 of "),
        (break_weights, 5, "30 users differently from the run"),
        (lose_weight, 5, "weights.safetensors: does not fit the method"),
        (lambda run: (run / "manifest.json").write_text("{"), 1, "manifest.json: cannot be read"),
        (lambda run: (run / "manifest.json").write_text("{}"), 1, "is not the manifest of a run"),
        (lambda run: (run / "spec.resolved.yaml").unlink(), 5, "spec.resolved.yaml is missing"),
        (lambda run: (run / "per_user.parquet").write_bytes(b"PAR1"), 5, "per_user.parquet is damaged (4 of "),
        (lambda run: (run / "seal.json").unlink(), 5, "has no seal.json"),
        (change_schema, 4, "a newer version of llmemb-bench wrote it (schema 99, this one knows 5)"),
    ],
)
def test_a_run_folder_that_is_not_what_it_was_is_refused(change, code, message, recommend, copied):
    change(copied.run("id_only"))
    error = recommend("id_only", "--user", "u3", results=copied.results, code=code)
    assert (message in error, len(error.splitlines())) == (True, 1), error


def test_other_data_than_those_of_the_run_are_refused(recommend, copied):
    lines = (copied.folder / "events.csv").read_text().splitlines()
    (copied.folder / "events.csv").write_text("\n".join(lines[:-1]) + "\n")
    words = ("--user", "u3", "--spec-folder", copied.folder)
    error = recommend("popularity", *words, results=copied.results, code=5)
    assert "the data are not those of the run" in error


def test_files_that_have_moved_are_found_with_spec_folder(recommend, copied):
    path = copied.run("popularity") / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest.pop("folders").keys() == {"events.csv", "items.csv"}
    path.write_text(json.dumps(manifest))  # as of a run before folders were noted
    seal(path.parent)
    error = recommend("popularity", "--user", "u3", results=copied.results, code=4)
    assert "no file" in error
    assert "if the files have moved, --spec-folder FOLDER" in error
    moved = copied.folder / "moved"
    moved.mkdir()
    for name in ("events.csv", "items.csv"):
        shutil.move(copied.folder / name, moved)
    found = recommend("popularity", "--user", "u3", "--spec-folder", moved, results=copied.results)
    assert found == recommend("popularity", "--user", "u3")
