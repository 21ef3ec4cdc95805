"""Unpacks tar and zip archives, refusing every name that could lead out of the target folder."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from qnn.data.messages import problem

MAX_UNPACKED_BYTES = 8 << 30
MAX_MEMBERS = 2_000_000
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class _Member:
    """A regular file in an archive; ``stream`` opens its content."""

    name: str
    size: int
    stream: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def extract(archive: Path, into: Path) -> list[Path]:
    """Unpack all regular files of a tar or zip archive below ``into``.

    All names are checked before the first byte is written: absolute names, ``..``, drive letters, backslashes, links
    and devices make the whole archive an error. Owner, mode and time are not taken over.

    Parameters
    ----------
    archive : Path
        A file that ends in .zip, .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz.
    into : Path
        An existing folder; best an empty temporary one, to be renamed when all is done.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DataError
        If the archive is damaged, too large, or has a name that is not allowed.
    """
    written = []
    try:
        with _members(archive) as members:
            targets = [(into / _safe(member.name, archive), member) for member in members]
            _check_size(targets, archive)
            for target, member in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.stream() as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                if target.stat().st_size != member.size:
                    raise EOFError(f"{member.name} is shorter than stated")
                written.append(target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise problem(
            f"a truncated or corrupt archive {archive} ({error})", "a complete, unencrypted archive", "fetch it again"
        ) from error
    except FileExistsError as error:
        raise problem(
            f"the name {error.filename} twice in {archive}", "different names", "pack the archive again"
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip's way to say that the data are damaged
            raise problem(f"a corrupt archive {archive} ({error})", "a complete archive", "fetch it again") from error
        raise
    return written


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield [_zip_member(packed, info, archive) for info in packed.infolist() if not info.is_dir()]
    else:
        with tarfile.open(archive, "r:*") as tarred:
            members = [_tar_member(tarred, info, archive) for info in tarred.getmembers() if not info.isdir()]
            _read_to_the_end(tarred)
            yield members


def _read_to_the_end(tarred: tarfile.TarFile) -> None:
    """Read what follows the last member: only then a compressed archive compares its checksum."""
    stream: IO[bytes] | None = tarred.fileobj  # type: ignore[assignment]
    while stream is not None and stream.read(1 << 20):
        pass


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> _Member:
    kind = info.external_attr >> 28  # the top four bits of a Unix mode: 0 none stated, 8 a regular file, 10 a link
    if kind not in (0, 8):
        raise problem(
            f"the special file {info.filename!r} in {archive}", "regular files only", "pack the archive without links"
        )
    return _Member(info.filename, info.file_size, lambda: packed.open(info))


def _tar_member(tarred: tarfile.TarFile, info: tarfile.TarInfo, archive: Path) -> _Member:
    if not info.isreg():
        raise problem(
            f"the link or special file {info.name!r} in {archive}",
            "regular files only",
            "do not trust it; pack it without links",
        )

    def stream() -> IO[bytes]:
        opened = tarred.extractfile(info)
        if opened is None:
            raise tarfile.ReadError(f"{info.name} has no content")
        return opened

    return _Member(info.name, info.size, stream)


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    clean = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in clean or not clean or any(c in name for c in "\\:\0"):
        raise problem(
            f"the name {name!r} in {archive}, which leads out of the target folder",
            "relative names without ..",
            "do not trust this archive; nothing was unpacked",
        )
    return PurePosixPath(*clean)


def _check_size(targets: list[tuple[Path, _Member]], archive: Path) -> None:
    total = sum(member.size for _, member in targets)
    if total > MAX_UNPACKED_BYTES or len(targets) > MAX_MEMBERS:
        raise problem(
            f"{len(targets)} files of {total} bytes in {archive}",
            f"up to {MAX_MEMBERS} files and {MAX_UNPACKED_BYTES} bytes",
            "split the data set",
        )
