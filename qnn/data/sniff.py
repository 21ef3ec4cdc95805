"""Finds out what a user's file or folder is, and reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from qnn.data.extract import extract, is_archive
from qnn.data.files import GZIP_MAGIC, read_bytes
from qnn.data.folder import is_image_folder, list_folder, read_folder
from qnn.data.idx import parse_idx_images, parse_idx_labels
from qnn.data.locate import Located, present
from qnn.data.messages import problem
from qnn.data.readers import read_split
from qnn.data.registry import ENTRIES
from qnn.data.source import ReadOptions, Samples, Source
from qnn.data.svhn import parse_svhn
from qnn.data.table import read_csv, read_npz

_ALLOWED_FILES = (
    "an .npz, .csv or .mat file, an IDX images file with its labels beside it, or an archive of one of the folders"
)
_ALLOWED_FOLDERS = (
    "class folders with pictures (in train/ and test/, or directly), train and test as .npz or .csv, "
    "or the official files of MNIST, CIFAR or SVHN"
)


def read_path(path: Path, options: ReadOptions) -> Source:
    """Read a file or folder, whatever its format.

    Raises
    ------
    DataError
        If nothing is there, the format is not known, its content is damaged, or an option does not fit the format.
    """
    if not path.exists():
        raise problem(f"the path {path}, where nothing is", "an existing file or folder", "check the path")
    if path.is_dir():
        return _read_folder(path, options)
    if is_archive(path):
        _refuse(
            options, ["label_column", "shape", "resize"], f"the archive {path}, which is unpacked for a moment only"
        )
        with tempfile.TemporaryDirectory(prefix="qnn-data-") as unpacked:
            extract(path, Path(unpacked))
            return _read_folder(_descend(Path(unpacked)), options)
    return _read_file(path, options)


def _refuse(options: ReadOptions, fitting: Sequence[str], what: str) -> None:
    strange = sorted(options.given() - set(fitting))
    if strange:
        allowed = ", ".join(fitting) or "no option"
        raise problem(f"the option {strange[0]} for {what}", f"{allowed} for this format", "leave the option out")


def _read_file(path: Path, options: ReadOptions) -> Source:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".npz"):
        _refuse(options, ["shape"], str(path))
        return read_npz(path, options.shape)
    if name.endswith(".csv"):
        _refuse(options, ["label_column", "shape"], str(path))
        return Source(read_csv(path, options.label_column, options.shape))
    _refuse(options, [], str(path))
    if name.endswith(".mat"):
        return Source(parse_svhn(read_bytes(path), str(path)), None, ENTRIES["svhn"].classes)
    if "idx" in name or _starts_like_idx(path):
        return Source(_read_idx_pair(path))
    raise problem(f"{path}, whose format is not known", _ALLOWED_FILES, "convert it, for instance to .npz")


def _starts_like_idx(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(4)
    return start[:2] == GZIP_MAGIC or (start[:2] == b"\0\0" and start[2:3] == b"\x08")


def _read_idx_pair(path: Path) -> Samples:
    images = parse_idx_images(read_bytes(path), str(path))
    if "images" not in path.name:
        raise problem(f"the name {path.name}", "IDX images with `images` in the name", "rename the pair, as in MNIST")
    stem = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    partners = [path.with_name(stem), path.with_name(f"{stem}.gz")]
    partner = next((p for p in partners if p.is_file()), None)
    if partner is None:
        raise problem(f"{path} without its labels", f"the file {stem} or {stem}.gz beside it", "put the labels there")
    labels = parse_idx_labels(read_bytes(partner), str(partner))
    if len(labels) != len(images):
        raise problem(
            f"{len(images)} images in {path} but {len(labels)} labels in {partner}",
            "one label per image",
            "check the pair",
        )
    return images, labels


def _read_folder(path: Path, options: ReadOptions) -> Source:
    tables = _read_tables(path, options)
    if tables is not None:
        return tables
    official = _official(path)
    if official is not None:
        _refuse(options, [], str(path))
        located, classes = official
        return Source(read_split(located, "train"), read_split(located, "test"), classes)
    if is_image_folder(path):
        _refuse(options, ["resize", "crop"], str(path))
        if options.crop is None:
            return read_folder(path, options.resize)
        if options.resize is not None:
            raise problem("resize and crop together", "one of them", "leave one out; crop keeps the proportions")
        return list_folder(path, options.crop)
    raise problem(
        f"the folder {path}, in which no data set is recognised", _ALLOWED_FOLDERS, "check the path or its content"
    )


def _read_tables(path: Path, options: ReadOptions) -> Source | None:
    for suffix in (".npz", ".csv", ".csv.gz"):
        train, test = path / f"train{suffix}", path / f"test{suffix}"
        if train.is_file():
            source = _read_file(train, options)
            if source.test is None and test.is_file():
                return Source(source.train, _read_file(test, options).train, source.classes)
            return source
    return None


def _official(path: Path) -> tuple[Located, tuple[str, ...] | None] | None:
    """Return the official layout of which files lie in a folder, which must then be complete."""
    partly = ""
    for entry in ENTRIES.values():
        for layout in entry.layouts:
            paths = present(layout, path)
            if len(paths) == len(layout.parts):
                # IDX files may hold anything, so their class names are not known
                return Located(layout, path, paths), None if layout.reader == "idx" else entry.classes
            missing = [part.name for part in layout.parts if part.name not in paths]
            if paths and not partly:
                partly = (
                    f"{path} with {', '.join(sorted(p.name for p in paths.values()))}, but without {', '.join(missing)}"
                )
    if partly:
        raise problem(partly, "all files of the layout", "add the missing files, or give the path of one file")
    return None


def _descend(path: Path) -> Path:
    """Go into the one folder that most archives wrap around their content."""
    content = [p for p in path.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    wrapped = len(content) == 1 and content[0].is_dir() and content[0].name != "train"
    return content[0] if wrapped and not is_image_folder(path) else path
