"""Archives: what may come out, and what must not."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from qnn.data import extract as module
from qnn.data.extract import extract
from qnn.errors import DataError

BAD_NAMES = ["../evil", "a/../../evil", "/tmp/evil-qnn", "a\\..\\evil", "C:evil", "a/..", ".", "./"]


def tar(path: Path, members: list[tarfile.TarInfo], content: bytes = b"x") -> Path:
    with tarfile.open(path, "w") as archive:
        for info in members:
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def written(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "into"
    folder.mkdir(parents=True)
    return folder


def test_regular_files_come_out(tmp_path: Path, into: Path, make: SimpleNamespace) -> None:
    (tmp_path / "a.tar.gz").write_bytes(make.tar_gz({"x/one": b"1", "./x/two": b"22", "three": b""}))
    extract(tmp_path / "a.tar.gz", into)
    assert written(into) == ["three", "x/one", "x/two"]
    assert (into / "x/two").read_bytes() == b"22"


def test_zip_files_come_out(tmp_path: Path, into: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/", b"")
        archive.writestr("x/one", b"1")
    assert [p.name for p in extract(tmp_path / "a.zip", into)] == ["one"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_out(tmp_path: Path, into: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"x")
        info = zipfile.ZipInfo("x")
        info.filename = name if not name.endswith("/") else name + "x/.."
        archive.writestr(info, b"evil")
    for path in (tar(tmp_path / "a.tar", [member("good"), member(name)]), tmp_path / "a.zip"):
        with pytest.raises(DataError, match="leads out"):
            extract(path, into)
    assert written(tmp_path / "deep") == []
    assert not Path("/tmp/evil-qnn").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path: Path, into: Path, kind: bytes) -> None:
    path = tar(tmp_path / "a.tar", [member("good"), member("link", kind, "../outside"), member("link/evil")])
    with pytest.raises(DataError, match="link or special file"):
        extract(path, into)
    assert written(into) == []


def test_link_in_a_zip(tmp_path: Path, into: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "../outside")
    with pytest.raises(DataError, match="special file"):
        extract(tmp_path / "a.zip", into)


def test_same_name_twice(tmp_path: Path, into: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        extract(tar(tmp_path / "a.tar", [member("one"), member("./one")]), into)


def test_truncated_and_corrupt(tmp_path: Path, into: Path, make: SimpleNamespace) -> None:
    whole = make.tar_gz({"x/one": bytes(range(256)) * 400})
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x40
    half = whole[: len(whole) // 2]
    for i, damaged in enumerate((half, whole[:5], b"", b"nothing of the kind" * 40, bytes(flipped))):
        path = tmp_path / "a.tar.gz"
        path.write_bytes(damaged)
        target = into / str(i)
        target.mkdir()
        with pytest.raises(DataError, match="corrupt"):
            extract(path, target)


def test_truncated_and_corrupt_zip(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", bytes(range(256)) * 40)
    whole = path.read_bytes()
    for i, damaged in enumerate((whole[:-30], b"", whole[:60] + b"\xff\xff" + whole[62:])):
        path.write_bytes(damaged)
        (into / str(i)).mkdir()
        with pytest.raises(DataError, match="corrupt"):
            extract(path, into / str(i))


def test_too_much(tmp_path: Path, into: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar.gz").write_bytes(make.tar_gz({"one": bytes(5000), "two": bytes(5001)}))
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(DataError, match="10001 bytes"):
        extract(tmp_path / "a.tar.gz", into)
    assert written(into) == []
