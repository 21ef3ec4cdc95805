"""What ``qnn data list`` and ``qnn data check`` show."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qnn.data import registry
from qnn.data.digits import DIGITS_FILE, load_digits
from qnn.data.files import read_bytes
from qnn.data.folder import needs_crop
from qnn.data.loading import load
from qnn.data.locate import candidates, data_root, find, present
from qnn.data.pictures import Pictures
from qnn.data.readers import difference
from qnn.errors import DataError

_TRIAL_SIDE = 224  # of the cuts, when pictures of several sizes are read as a trial


@dataclass(frozen=True)
class CatalogueRow:
    """One data set in the catalogue. ``state`` is ``built in``, ``present``, ``incomplete`` or ``missing``."""

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    download_bytes: int
    licence: str
    homepage: str
    state: str
    folder: str


@dataclass(frozen=True)
class CheckRow:
    """One checked file. ``state`` is ``ok``, ``missing`` or ``wrong``; ``detail`` says what was compared or what
    differs."""

    file: str
    state: str
    detail: str

    @property
    def ok(self) -> bool:
        """Whether the file is as it should be."""
        return self.state == "ok"


def catalogue(root: str | Path | None = None) -> list[CatalogueRow]:
    """Return one row per named data set and whether its files are on this machine (nothing is compared)."""
    rows = []
    for entry in registry.ENTRIES.values():
        state, folder, size = _state(entry, data_root(root))
        rows.append(
            CatalogueRow(
                entry.name,
                entry.title,
                entry.shape,
                len(entry.classes),
                *entry.counts,
                size,
                entry.licence,
                entry.homepage,
                state,
                str(folder),
            )
        )
    return rows


def _state(entry: registry.Entry, root: Path) -> tuple[str, Path, int]:
    if not entry.layouts:
        return "built in", DIGITS_FILE, 0
    size = sum(download.size for download in entry.layouts[0].downloads)
    located = find(entry, root)
    if located is not None:
        return "present", located.folder, size
    partly = next((folder for layout, folder in candidates(entry, root) if present(layout, folder)), None)
    return ("incomplete", partly, size) if partly else ("missing", root / entry.layouts[0].folder, size)


def check(name_or_path: str, root: str | Path | None = None) -> list[CheckRow]:
    """Compare every file of a named data set with its published size and checksum; read a path of your own as a trial.

    Returns
    -------
    list of CheckRow
        Damaged and missing files are rows, not errors.

    Raises
    ------
    DataError
        If the name is unknown and no such path exists.
    """
    if name_or_path not in registry.ENTRIES:
        if not os.path.exists(os.path.expanduser(name_or_path)):
            registry.entry(name_or_path)  # raises with the nearest name
        return _check_by_loading(name_or_path)
    entry = registry.ENTRIES[name_or_path]
    if not entry.layouts:
        return [_check_digits()]
    base = data_root(root)
    located = find(entry, base)
    if located is None:
        partly = ((la, folder) for la, folder in candidates(entry, base) if present(la, folder))
        layout, folder = next(partly, (entry.layouts[0], base / entry.layouts[0].folder))
        paths = present(layout, folder)
    else:
        layout, folder, paths = located.layout, located.folder, located.paths
    return [_check_part(part, paths.get(part.name), folder) for part in layout.parts]


def _check_part(part: registry.Part, path: Path | None, folder: Path) -> CheckRow:
    if path is None:
        return CheckRow(str(folder / part.name), "missing", "there is no such file")
    try:
        wrong = difference(part, read_bytes(path))
    except DataError as error:
        return CheckRow(str(path), "wrong", str(error))
    if wrong:
        return CheckRow(str(path), "wrong", wrong)
    return CheckRow(str(path), "ok", f"MD5 {part.md5}" if part.md5 else f"{part.size} bytes; no checksum is published")


def _check_digits() -> CheckRow:
    try:
        load_digits("test")
    except DataError as error:
        return CheckRow(str(DIGITS_FILE), "wrong", str(error))
    return CheckRow(str(DIGITS_FILE), "ok", "SHA-256 of the release")


def _check_by_loading(path: str) -> list[CheckRow]:
    rows = []
    for split in ("train", "test"):
        try:
            dataset = load(path, split, crop=_TRIAL_SIDE if needs_crop(Path(path).expanduser(), None) else None)
            if isinstance(dataset.images, Pictures):
                for position in range(len(dataset)):
                    dataset.images[position]  # decodes it
        except DataError as error:
            return [CheckRow(path, "wrong", str(error))]
        n, h, w, c = dataset.images.shape
        rows.append(
            CheckRow(
                path, "ok", f"{split}: {n} images {h}x{w}x{c}, {len(dataset.classes)} classes, {dataset.checksum[:16]}"
            )
        )
    return rows
