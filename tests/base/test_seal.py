"""A sealed folder is what it was written as, or is said not to be and made again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb_bench.base.seal import SEAL, fault, seal, sealed
from llmemb_bench.stages.cache import Cache

KEY = "k" * 64


def make(folder: Path) -> None:
    (folder / "numbers.bin").write_bytes(bytes(range(256)) * 16)
    (folder / "inner").mkdir()
    (folder / "inner" / "words.txt").write_text("some words")


def filled(cache: Cache, make: Callable[[Path], object]) -> Path:
    """The place of a result, made where it is missing."""
    with cache.filling("stage", KEY) as folder:
        if folder is not None:
            make(folder)
    return cache.path("stage", KEY)


@pytest.fixture
def place(tmp_path) -> Path:
    """A cached result."""
    return filled(Cache(tmp_path / "cache"), make)


def flip(path: Path, at: int) -> None:
    held = bytearray(path.read_bytes())
    held[at] ^= 1
    path.write_bytes(held)


def same_size_and_time(path: Path) -> None:
    """As a disk does it that writes wrong bytes in a place: a new file with the old size and time."""
    about = path.stat()
    held = path.read_bytes()
    path.unlink()
    path.write_bytes(held[:-1] + b"!")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def linked(path: Path, goal: str) -> None:
    path.unlink()
    path.symlink_to(goal)


FAULTS = {
    "cut": (lambda p: os.truncate(p / "numbers.bin", 100), "numbers.bin is damaged (100 of 4,096 bytes)"),
    "emptied": (lambda p: os.truncate(p / "numbers.bin", 0), "numbers.bin is damaged (0 of 4,096 bytes)"),
    "longer": (lambda p: (p / "numbers.bin").open("ab").write(b"x"), "numbers.bin is damaged (4,097 of 4,096 bytes)"),
    "first bit": (lambda p: flip(p / "numbers.bin", 0), "numbers.bin is damaged (its bytes differ from those written)"),
    "last bit": (lambda p: flip(p / "numbers.bin", -1), "numbers.bin is damaged (its bytes differ from those written)"),
    "zeros": (lambda p: (p / "numbers.bin").write_bytes(bytes(4096)), "numbers.bin is damaged (its bytes"),
    "old time": (lambda p: same_size_and_time(p / "numbers.bin"), "numbers.bin is damaged (its bytes"),
    "deleted": (lambda p: (p / "numbers.bin").unlink(), "numbers.bin is missing"),
    "a folder": (lambda p: to_folder(p / "numbers.bin"), "numbers.bin is damaged (a folder in place of a file)"),
    "dead link": (lambda p: linked(p / "numbers.bin", "nowhere"), "numbers.bin is missing"),
    "link to itself": (lambda p: linked(p / "numbers.bin", "numbers.bin"), "numbers.bin cannot be read (Too many"),
    "inner": (lambda p: flip(p / "inner" / "words.txt", 3), "inner/words.txt is damaged (its bytes"),
    "seal cut": (lambda p: os.truncate(p / SEAL, 50), "seal.json is damaged"),
    "seal emptied": (lambda p: os.truncate(p / SEAL, 0), "seal.json is damaged"),
    "seal deleted": (lambda p: (p / SEAL).unlink(), "has no seal.json"),
    "seal of nothing": (lambda p: (p / SEAL).write_text('{"files": {}}'), "seal.json is damaged"),
    "seal of another form": (lambda p: (p / SEAL).write_text("[1, 2]"), "seal.json is damaged"),
    "seal of no text": (lambda p: (p / SEAL).write_bytes(b"\xff\xfe\x00"), "seal.json is damaged"),
}


@pytest.mark.parametrize(("damage", "words"), FAULTS.values(), ids=FAULTS)
def test_what_is_damaged_is_said_in_a_line_and_made_again(damage, words, place, tmp_path, capsys):
    damage(place)
    assert fault(place).startswith(words)
    cache = Cache(tmp_path / "cache")
    assert not cache.has("stage", KEY)
    assert filled(cache, make) == place
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{place}: {words}")
    assert line.endswith("; made again")
    assert (fault(place), (place / "inner" / "words.txt").read_text()) == ("", "some words")
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_a_whole_result_is_not_made_again_and_nothing_is_said(place, tmp_path, capsys):
    (place / "notes.txt").write_text("mine")  # no file of the result, so no business of the seal's
    assert filled(Cache(tmp_path / "cache"), lambda _: pytest.fail("made again")) == place
    assert capsys.readouterr().err == ""


def test_a_seal_lists_every_file_with_size_and_sum(place):
    recorded = json.loads((place / SEAL).read_text())["files"]
    assert recorded["inner/words.txt"] == {
        "size": 10,
        "sha256": "050777a35dcd48838062824126e60a0780dc322c5b1f84c3a32636cc7466b1b6",
    }
    assert set(sealed(place)) == set(recorded) == {"numbers.bin", "inner/words.txt"}


@pytest.mark.parametrize("name", ["cache", "cache/stage", f"cache/stage/{KEY[:24]}", f"cache/stage/.{KEY[:24]}.kept"])
def test_a_file_in_place_of_a_folder_of_the_cache_makes_way_with_a_line(name, tmp_path, capsys):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("no folder")
    cache = Cache(tmp_path / "cache")

    def make_with_kept(folder: Path) -> None:
        cache.unfinished("stage", KEY)
        make(folder)

    assert fault(filled(cache, make_with_kept)) == ""
    assert f"{tmp_path / name}: is a file and should be a folder" in capsys.readouterr().err


def test_a_file_is_read_once_a_process_however_often_its_folder_is_opened(place, tmp_path, monkeypatch):
    assert fault(place) == ""
    monkeypatch.setattr("llmemb_bench.base.seal.hash_of", lambda path: pytest.fail(f"read {path} again"))
    for _ in range(3):
        assert filled(Cache(tmp_path / "cache"), make) == place


def test_what_stays_of_a_result_whose_making_failed_is_the_old_one(place, tmp_path):
    os.truncate(place / "numbers.bin", 3)

    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ValueError("power cut")

    with pytest.raises(ValueError, match="power cut"):
        filled(Cache(tmp_path / "cache"), fails)
    assert (place / "inner" / "words.txt").read_text() == "some words"
    assert not list(place.parent.glob(".*part*"))
    seal(place)
    assert fault(place) == ""
