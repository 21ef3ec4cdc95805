"""Finds the files of a public data set on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qnn.data.messages import problem
from qnn.data.registry import Entry, Layout


@dataclass(frozen=True)
class Located:
    """A complete layout on disk: part name to path."""

    layout: Layout
    folder: Path
    paths: dict[str, Path]


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder of the data sets: the argument, else ``$QNN_DATA``, else ``~/.cache/qnn``."""
    chosen = root or os.environ.get("QNN_DATA") or "~/.cache/qnn"
    return Path(chosen).expanduser()


def present(layout: Layout, folder: Path) -> dict[str, Path]:
    """Return the parts of a layout that lie in a folder. IDX files may be gzipped or spelled ``images.idx3``."""
    found = {}
    for part in layout.parts:
        spellings = [part.name]
        if layout.reader == "idx":
            dotted = part.name.replace("-idx", ".idx")
            spellings += [f"{part.name}.gz", dotted, f"{dotted}.gz"]
        for spelling in spellings:
            if (folder / spelling).is_file():
                found[part.name] = folder / spelling
                break
    return found


def candidates(entry: Entry, root: Path) -> Iterator[tuple[Layout, Path]]:
    """Yield every layout with every folder in which it may lie, in the order of preference."""
    for layout in entry.layouts:
        for folder in (root / layout.folder, *map(Path, layout.system_folders)):
            yield layout, folder


def find(entry: Entry, root: str | Path | None = None) -> Located | None:
    """Return the first complete layout, or None."""
    for layout, folder in candidates(entry, data_root(root)):
        paths = present(layout, folder)
        if len(paths) == len(layout.parts):
            return Located(layout, folder, paths)
    return None


def require(entry: Entry, root: str | Path | None = None) -> Located:
    """Return the first complete layout.

    Raises
    ------
    DataError
        If there is none; the message tells where it was looked for and what is missing.
    """
    located = find(entry, root)
    if located is not None:
        return located
    looked = []
    for layout, folder in candidates(entry, data_root(root)):
        paths = present(layout, folder)
        missing = [part.name for part in layout.parts if part.name not in paths]
        looked.append(f"{folder} (without {', '.join(missing)})" if paths else str(folder))
    raise problem(
        f"no complete copy of {entry.name} on this machine; looked in {'; '.join(looked)}",
        "the official files in one of these folders",
        f"run `qnn data get {entry.name}`, or set QNN_DATA to the folder that holds {entry.layouts[0].folder}/",
    )
