"""Fetches the public data sets, checks them, and puts them in place without ever leaving half a file there."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from qnn.data import registry
from qnn.data.digits import DIGITS_FILE
from qnn.data.extract import extract
from qnn.data.files import md5_file, read_bytes
from qnn.data.locate import data_root, find, present
from qnn.data.messages import problem
from qnn.data.readers import difference
from qnn.data.registry import Download, Entry, Layout
from qnn.errors import DataError

# Called with the file's name, the bytes so far and the bytes in all (0 when the server does not say).
Progress = Callable[[str, int, int], None]

MIRROR_VARIABLE = "QNN_DATA_MIRROR"
_TIMEOUT_SECONDS = 30
_FOLDER_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def get(
    name: str, progress: Progress | None = None, *, root: str | Path | None = None, mirror: str | None = None
) -> Path:
    """Make sure that a public data set lies on this machine, complete and unchanged, and return its folder.

    Files that are right already are left alone. A file or archive that somebody put into the data folder by hand is
    used instead of the network. Everything is fetched, checked and unpacked in a temporary folder next to its final
    place and moved there by renaming; an interruption leaves either the old state or the new one.

    Parameters
    ----------
    name : str
        One of ``registry.names()``. ``digits`` is part of the package, so nothing is done for it.
    progress : callable, optional
        Called as ``progress(file, done, total)`` with bytes.
    root : path, optional
        The data folder; ``$QNN_DATA`` or ``~/.cache/qnn`` if left out.
    mirror : str, optional
        A base address to fetch from instead of the official ones, as ``mirror/NAME/FILE``; ``$QNN_DATA_MIRROR`` if
        left out.

    Raises
    ------
    DataError
        If the name is unknown, the network or the server fails, a checksum is wrong, or the folder cannot be written.
    """
    entry = registry.entry(name)
    if not entry.layouts:
        return DIGITS_FILE.parent
    base = data_root(root)
    located = find(entry, base)
    if located is not None and not any(_wrong(part, located.paths.get(part.name)) for part in located.layout.parts):
        return located.folder
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=base) as temporary:
            return _fetch_all(entry, base, Path(temporary), progress, mirror or os.environ.get(MIRROR_VARIABLE))
    except OSError as error:
        raise problem(
            f"no way to write into {base} ({error.strerror or error})",
            "a folder this user can write, with room for the data",
            "make room, or set QNN_DATA to another folder",
        ) from error


def _wrong(part: registry.Part, path: Path | None) -> str:
    """Return why a part is not the official file, or an empty string."""
    if path is None:
        return "it is missing"
    try:
        return difference(part, read_bytes(path))
    except DataError as error:  # a gzip file that cannot be unpacked
        return str(error)


def _fetch_all(entry: Entry, base: Path, temporary: Path, progress: Progress | None, mirror: str | None) -> Path:
    layout = _layout_by_hand(entry, base) or entry.layouts[0]
    folder = base / layout.folder
    content = temporary / "content"
    content.mkdir()
    paths = present(layout, folder)
    for download in layout.downloads:
        if all(not _wrong(part, paths.get(part.name)) for part in download.provides(layout)):
            continue
        packed = _by_hand(download, layout, base) or _fetch(entry, layout, download, base, temporary, progress, mirror)
        _unpack(packed, download, layout, content)
    _check(layout, content, entry, paths)
    _move(content, folder)
    return folder


def _layout_by_hand(entry: Entry, base: Path) -> Layout | None:
    """Return the first layout of which an archive lies in the data folder already."""
    return next((la for la in entry.layouts if any(_by_hand(d, la, base) for d in la.downloads)), None)


def _by_hand(download: Download, layout: Layout, base: Path) -> Path | None:
    for path in (base / download.file, base / layout.folder / download.file):
        if path.is_file() and path.stat().st_size == download.size and md5_file(path) == download.md5:
            return path
    return None


class _Meter:
    """What pooch wants of a progress bar, passed on to a callback."""

    def __init__(self, file: str, progress: Progress) -> None:
        self.file, self.progress, self.total, self.done = file, progress, 0, 0

    def update(self, amount: int) -> None:
        self.done += amount  # pooch counts whole chunks, the last one too
        self.progress(self.file, min(self.done, self.total) if self.total else self.done, self.total)

    def reset(self) -> None:
        """Begin to count again; pooch calls it before it sets the count to the total at the end."""
        self.done = 0

    def close(self) -> None:
        """Nothing is held open."""


def _fetch(
    entry: Entry,
    layout: Layout,
    download: Download,
    base: Path,
    temporary: Path,
    progress: Progress | None,
    mirror: str | None,
) -> Path:
    """Return the path of a fetched file with the right checksum, from the first source that has it."""
    import pooch  # lazily: importing qnn must stay quick

    pooch.get_logger().setLevel(logging.WARNING)
    urls = [f"{mirror.rstrip('/')}/{entry.name}/{download.file}"] if mirror else download.urls
    tried = []
    for url in urls:
        meter = _Meter(download.file, progress) if progress is not None else False
        try:
            fetched = pooch.retrieve(
                url,
                known_hash=f"md5:{download.md5}",
                fname=download.file,
                path=temporary,
                downloader=pooch.HTTPDownloader(progressbar=meter, timeout=_TIMEOUT_SECONDS),
            )
            return Path(fetched)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, pooch's wrong checksum is a ValueError
            if isinstance(error, OSError) and error.errno in _FOLDER_TROUBLE:
                raise
            tried.append(f"{url} ({_reason(error)})")
    raise problem(
        f"no copy of {download.file}; tried {'; '.join(tried)}",
        f"a file with MD5 {download.md5} and {download.size} bytes",
        f"check the network and try again, or put {download.file} into {base} by hand and repeat "
        f"`qnn data get {entry.name}`, "
        f"or put the unpacked files into {base / layout.folder}",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and "hash" in str(error).lower():
        return "wrong checksum: the transfer was cut short or the file was changed"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def _unpack(packed: Path, download: Download, layout: Layout, content: Path) -> None:
    if download.unpack == "tar":
        inner = content.parent / "unpacked"
        inner.mkdir()
        extract(packed, inner)
        for file in sorted((inner / layout.folder).iterdir()) if (inner / layout.folder).is_dir() else []:
            os.replace(file, content / file.name)
    elif download.unpack == "gunzip":
        target = content / download.file.removesuffix(".gz")
        try:
            with gzip.open(packed) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise problem(
                f"a corrupt file {packed.name} ({error})", "a complete gzip file", "fetch it again"
            ) from error
    else:
        shutil.copyfile(packed, content / download.file)


def _check(layout: Layout, content: Path, entry: Entry, before: dict[str, Path]) -> None:
    """Fail unless every part is now there and right: newly unpacked, or present before."""
    for part in layout.parts:
        new = content / part.name
        wrong = _wrong(part, new if new.is_file() else before.get(part.name))
        if wrong:
            raise problem(
                f"{part.name} of {entry.name} after unpacking: {wrong}",
                "the official file",
                "report it: the archive has the right checksum but another content",
            )


def _move(content: Path, folder: Path) -> None:
    """Put the checked files in place: one rename of the folder, or of each file when the folder is there already."""
    if not folder.exists():
        content.rename(folder)
        return
    for file in sorted(content.iterdir()):
        os.replace(file, folder / file.name)
