"""`llmemb-bench data`: fetch, verify, describe, prepare."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmemb_bench.contracts import Download
from llmemb_bench.registry.entries import find


@pytest.fixture
def hats(tmp_path) -> list[str]:
    """Arguments that name a small dataset in Amazon's form."""
    folder = tmp_path / "raw"
    folder.mkdir()
    find("datasets", "amazon_2018").load().example(folder)
    return [
        *("amazon_2018", "--set", f"path={folder}", "--set", "category=Hats"),
        *("--results", str(tmp_path / "results")),
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_prepare_is_done_once_and_says_where(cli, hats, tmp_path):
    first = cli("data", "prepare", *hats, "--progress", "plain")
    assert first.code == 0
    assert first.out.startswith("8 users, 9 items, 32 events in ")
    assert "preparing" in first.err
    again = cli("data", "prepare", *hats, "--progress", "plain")
    assert (again.code, again.out, "preparing" in again.err) == (0, first.out, False)


def test_memory_is_a_setting_that_prepares_nothing_again(cli, hats):
    first = cli("data", "prepare", *hats)
    assert cli("data", "prepare", *hats, "--set", "memory_limit=64MB").out == first.out


def test_describe_prints_statistics_and_the_leak_report(cli, hats):
    printed = cli("data", "describe", *hats).out
    for line in ("size: users", "lengths: user median", "popularity: item p95", "text: items with title"):
        assert line in printed
    for line in ("preparation: events read", "leaks: twin users", "leaks: targets before others training"):
        assert line in printed
    facts = json.loads(cli("data", "describe", *hats, "--format", "json").out)["facts"]
    assert (facts["size"]["users"], facts["size"]["items"], facts["leaks"]["targets"]) == (8, 9, 8)


def test_describe_takes_a_spec_and_a_split(cli, tmp_path, events_csv):
    (tmp_path / "s.yaml").write_text(
        f"version: 1\nname: s\ndataset: {{use: table, events: {events_csv}}}\nsplit: {{by: time, test_share: 0.2}}\n"
    )
    ran = cli("data", "describe", tmp_path / "s.yaml", "--results", tmp_path / "results")
    assert (ran.code, "split by time" in ran.out) == (0, True)
    plugin = cli("data", "describe", "table", "--set", f"events={events_csv}", "--set", "split.by=time")
    assert "split by time" in plugin.out


def test_describe_counts_the_tail_and_what_of_it_training_never_saw(cli, tmp_path):
    histories = {"a": "1212", "b": "2213", "c": "1141"}  # targets 2, 3 and 1; the two of three and more are head
    rows = [f"{user},{item},{time}\n" for user, items in histories.items() for time, item in enumerate(items)]
    (tmp_path / "events.csv").write_text("user,item,time\n" + "".join(rows))
    words = ("data", "describe", "table", "--set", f"events={tmp_path / 'events.csv'}", "--results", tmp_path)
    facts = json.loads(cli(*words, "--set", "evaluate.tail_below=2", "--format", "json").out)["facts"]
    assert facts["buckets"] == {
        "head_items": 2,
        "head_items_events_at_least": 3,
        "tail_items_tied_with_head": 0,
        "targets_head": 2,
        "targets_tail": 1,
        "targets_tail_seen": 0,
        "targets_tail_never_seen_in_training": 1,
    }
    printed = cli(*words, "--set", "evaluate.tail_below=1000").out
    assert "none is head" in printed
    assert "buckets: targets tail never seen in training" in printed


def test_attributes_that_tell_popularity_come_with_a_warning(cli, hats):
    assert not re.search(r"\brank\b", cli("data", "describe", *hats).out)
    ran = cli("data", "describe", *hats, "--set", "attributes=[title, rank]")
    assert "items with rank" in ran.out
    assert "warning: the texts hold rank: popularity over the whole period" in ran.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("describe", "amazn_2018"), 2, "did you mean 'amazon_2018'"),
        (("describe", "amazon_2018"), 2, "the key 'dataset.path' is missing"),
        (("prepare", "amazon_2018", "--set", "path=nowhere", "--set", "category=X"), 4, "data fetch amazon_2018"),
        (("prepare", "table", "--set", "event=x.csv"), 2, "unknown key 'dataset.event'"),
        (("prepare", "nowhere.yaml"), 2, "cannot be read"),
        (("fetch", "yelp", "--set", "path=x"), 4, "accept the terms at https://www.yelp.com/dataset"),
        (("fetch", "movielens", "--set", "path=x"), 4, "nothing was downloaded -> read the terms, then add --yes"),
        (("prepare", "movielens", "--set", "path=x", "--set", "memory_limit=lots"), 2, "memory_limit"),
    ],
)
def test_a_mistake_gets_its_message_and_code(words, code, message, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = cli("data", *words)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert not list(tmp_path.rglob("*.npy"))


def test_fetch_shows_the_terms_and_brings_the_files(cli, tmp_path, monkeypatch):
    from tests.helpers.server import Server

    server = Server()
    config = find("datasets", "steam").load().config_type()
    monkeypatch.setattr(config, "downloads", lambda self: [Download(server.url("a.json.gz"))])
    ran = cli("data", "fetch", "steam", "--set", f"path={tmp_path}", "--yes")
    assert (ran.code, ran.out.strip()) == (0, str(tmp_path / "a.json.gz"))
    assert "terms: research use; cite Kang & McAuley 2018" in ran.err
    assert (tmp_path / "SHA256SUMS").exists()
    server.http.shutdown()
    server.http.server_close()


def test_verify_holds_raw_files_to_what_was_recorded(cli, hats, tmp_path):
    import hashlib

    fine = cli("data", "verify", *hats)
    assert (fine.code, fine.out.count("nothing recorded")) == (0, 2)
    raw = tmp_path / "raw" / "Hats.json.gz"
    sums = f"{hashlib.sha256(raw.read_bytes()).hexdigest()}  Hats.json.gz\n"
    (tmp_path / "raw" / "SHA256SUMS").write_text(sums)
    assert "as recorded" in cli("data", "verify", *hats).out
    raw.write_bytes(gzip.compress(b"{}\n"))
    changed = cli("data", "verify", *hats)
    assert (changed.code, "BAD" in changed.out, "has changed" in changed.out) == (5, True, True)


def test_verify_reads_an_archive_to_its_checksum(cli, hats, tmp_path):
    raw = tmp_path / "raw" / "Hats.json.gz"
    content = bytearray(raw.read_bytes())
    content[-6] ^= 0xFF  # the checksum that DuckDB does not look at
    raw.write_bytes(content)
    broken = cli("data", "verify", *hats)
    assert (broken.code, "is broken: CRC check failed" in broken.out) == (5, True)


def test_verify_finds_prepared_files_that_changed_or_went(cli, hats, tmp_path):
    cli("data", "prepare", *hats)
    assert cli("data", "verify", *hats).out.count("as prepared") == 10
    [items] = (tmp_path / "results").rglob("items.npy")
    items.write_bytes(items.read_bytes()[:-1] + b"\x07")
    changed = cli("data", "verify", *hats)
    assert (changed.code, "items.npy: is damaged (its bytes differ from those written)" in changed.out) == (5, True)
    items.unlink()
    assert "items.npy: is missing" in cli("data", "verify", *hats).out


def test_figures_that_are_not_the_known_ones_are_told(cli, tmp_path):
    find("datasets", "movielens").load().example(tmp_path)
    ran = cli("data", "describe", "movielens", "--set", f"path={tmp_path}", "--results", tmp_path / "results")
    assert (ran.code, "943" in ran.out) == (5, True)
    assert "not as GroupLens, items that were rated has them: users, items, events" in ran.err


def test_a_kill_in_the_middle_leaves_nothing_half_made_and_the_next_call_completes(tmp_path):
    from tests.helpers.raw_amazon import CATEGORY, write

    write(tmp_path / "raw", 100_000, 10_000, level=1)
    results = tmp_path / "results"
    words = [
        *(sys.executable, "-m", "llmemb_bench", "data", "prepare", "amazon_2018", "--results", str(results)),
        *("--set", f"path={tmp_path / 'raw'}", "--set", f"category={CATEGORY}", "--set", "min_user_events=2"),
    ]
    cache = results / ".cache" / "data"
    killed = 0
    for patience in (0.0, 0.1, 0.2):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(cache.glob(".*.part-*")):
            time.sleep(0.01)
        time.sleep(patience)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
            assert not list(cache.glob("[!.]*"))
    assert killed
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    [folder] = cache.iterdir()  # and nothing of the killed ones is left
    subprocess.run([*words[:-8], "--results", str(tmp_path / "once"), *words[-6:]], check=True, capture_output=True)
    [other] = (tmp_path / "once" / ".cache" / "data").iterdir()
    assert files(folder) == files(other)


def test_describe_says_what_its_statistics_count(cli, tmp_path):
    words = ("data", "describe", "synthetic", "--set", "users=40", "--set", "catalogue=80", "--results", tmp_path)
    table = " ".join(cli(*words).out.replace("│", " ").split())
    assert "leaks: training events after a target" in table
    assert "later than a test target, averaged over" in table
    told = json.loads(cli(*words, "--format", "json").out)
    assert set(told["meanings"]) <= {name for section in told["facts"].values() for name in section}
    assert told["meanings"]["training_events_after_a_target"].startswith("share of the training events")
