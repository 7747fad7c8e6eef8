"""Archives that mean harm unpack to nothing."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from llmemb_bench.base.errors import DataError
from llmemb_bench.data.archives import unpack


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, member: tarfile.TarInfo, content: bytes = b"x") -> Path:
    member.size = len(content) if member.isreg() else 0
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_files_and_folders_arrive(tmp_path):
    archive = zipped(tmp_path / "ml.zip", {"ml/u.data": b"1", "ml/README": b"2"})
    assert unpack(archive, tmp_path) == [tmp_path / "ml/u.data", tmp_path / "ml/README"]
    assert (tmp_path / "ml/u.data").read_bytes() == b"1"
    unpack(tarred(tmp_path / "a.tar.gz", tarfile.TarInfo("deep/file")), tmp_path)
    assert (tmp_path / "deep/file").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil"])
def test_a_name_that_leads_outside_is_refused(name, tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    for archive in (
        zipped(tmp_path / "a.zip", {"good": b"1", name: b"2"}),
        tarred(tmp_path / "a.tar.gz", tarfile.TarInfo(name)),
    ):
        with pytest.raises(DataError, match="leads outside"):
            unpack(archive, room)
    assert everything(tmp_path) == {"room", "a.zip", "a.tar.gz"}


def test_links_and_devices_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        with pytest.raises(DataError, match="holds a link or a device"):
            unpack(tarred(tmp_path / "a.tar.gz", member), tmp_path)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="holds a link"):
        unpack(tmp_path / "a.zip", tmp_path)
    assert everything(tmp_path) == {"a.zip", "a.tar.gz"}


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path):
    archive = zipped(tmp_path / "bomb.zip", {"zeros": bytes(40 << 20)})  # 40 MiB in 40 KiB
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        unpack(archive, tmp_path)
    assert everything(tmp_path) == {"bomb.zip"}


def test_a_broken_archive_is_a_clear_error(tmp_path):
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"not an archive")
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path)
    whole = zipped(tmp_path / "b.zip", {"file": b"content " * 1000})
    whole.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(whole, tmp_path)
