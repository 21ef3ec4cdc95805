"""The public data sets by name: files, checksums, sources, class names and statistics."""

from __future__ import annotations

from dataclasses import dataclass

from qnn.data import class_names
from qnn.data.messages import nearest, problem


@dataclass(frozen=True)
class Part:
    """One unpacked file of a layout. ``size`` and ``md5`` are of the unpacked content; None where none is published."""

    name: str
    split: str
    role: str
    size: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Download:
    """One file to fetch: its checksum, its sources in order of preference, and what it becomes."""

    file: str
    md5: str
    size: int
    urls: tuple[str, ...]
    unpack: str  # "gunzip" to the name without .gz, "tar" into the layout's folder, "keep" as it is

    def provides(self, layout: Layout) -> tuple[Part, ...]:
        """Return the parts of the layout that this download brings."""
        if self.unpack == "tar":
            return layout.parts
        name = self.file.removesuffix(".gz") if self.unpack == "gunzip" else self.file
        return tuple(part for part in layout.parts if part.name == name)


@dataclass(frozen=True)
class Layout:
    """One of the forms in which a data set lies on disk."""

    reader: str
    folder: str
    parts: tuple[Part, ...]
    downloads: tuple[Download, ...]
    system_folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A data set that can be asked for by name."""

    name: str
    title: str
    shape: tuple[int, int, int]
    counts: tuple[int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    homepage: str
    layouts: tuple[Layout, ...] = ()


# The four IDX files: name, split, role, unpacked size.
_IDX = (
    ("train-images-idx3-ubyte", "train", "images", 47040016),
    ("train-labels-idx1-ubyte", "train", "labels", 60008),
    ("t10k-images-idx3-ubyte", "test", "images", 7840016),
    ("t10k-labels-idx1-ubyte", "test", "labels", 10008),
)


def _idx_layout(
    folder: str,
    md5: tuple[str, ...],
    gz: tuple[tuple[str, int], ...],
    bases: tuple[str, ...],
    system_folders: tuple[str, ...] = (),
) -> Layout:
    parts = tuple(
        Part(name, split, role, size, sum_) for (name, split, role, size), sum_ in zip(_IDX, md5, strict=True)
    )
    downloads = tuple(
        Download(f"{row[0]}.gz", sum_, size, tuple(f"{base}{row[0]}.gz" for base in bases), "gunzip")
        for row, (sum_, size) in zip(_IDX, gz, strict=True)
    )
    return Layout("idx", folder, parts, downloads, system_folders)


_MNIST = _idx_layout(
    "mnist",
    (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    (
        ("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9912422),
        ("d53e105ee54ea40749a09fcbcd1e9432", 28881),
        ("9fb629c4189551a2d022fa330f9573f3", 1648877),
        ("ec29112dd5afa0611ce80d1b7f02629c", 4542),
    ),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
)

_FASHION = _idx_layout(
    "fashion-mnist",
    (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
    (
        ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26421880),
        ("25c81989df183df01b3e8a0aad5dffbe", 29515),
        ("bef4ecab320f06d8554ea6380940ec79", 4422102),
        ("bb300cfdad3c16e7a12a480ee83cd310", 5148),
    ),
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    # where Debian's package dataset-fashion-mnist puts the files
    ("/usr/share/datasets/fashion-mnist",),
)

_TORONTO = "https://www.cs.toronto.edu/~kriz/"


def _archive(file: str, md5: str, size: int) -> tuple[Download, ...]:
    return (Download(file, md5, size, (_TORONTO + file,), "tar"),)


_CIFAR10_BINARY = Layout(
    "cifar10-binary",
    "cifar-10-batches-bin",
    (
        Part("data_batch_1.bin", "train", "records", 30730000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
        Part("data_batch_2.bin", "train", "records", 30730000, "5ea93a67294ea407fff1d09f752e9692"),
        Part("data_batch_3.bin", "train", "records", 30730000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
        Part("data_batch_4.bin", "train", "records", 30730000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
        Part("data_batch_5.bin", "train", "records", 30730000, "53f37980c15c3d472c316c40844f3f0d"),
        Part("test_batch.bin", "test", "records", 30730000, "803d5f7f4d78ea53de84dbe85f74fb6d"),
    ),
    _archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170052171),
)

_CIFAR10_PYTHON = Layout(
    "cifar10-python",
    "cifar-10-batches-py",
    (
        Part("data_batch_1", "train", "records", None, "c99cafc152244af753f735de768cd75f"),
        Part("data_batch_2", "train", "records", None, "d4bba439e000b95fd0a9bffe97cbabec"),
        Part("data_batch_3", "train", "records", None, "54ebc095f3ab1f0389bbae665268c751"),
        Part("data_batch_4", "train", "records", None, "634d18415352ddfa80567beed471001a"),
        Part("data_batch_5", "train", "records", None, "482c414d41f54cd18b22e5b47cb7c3cb"),
        Part("test_batch", "test", "records", None, "40351d587109b95175f43aff81a1287e"),
    ),
    _archive("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170498071),
)

# No checksum of the unpacked binary files is published: the size is checked, and the archive's checksum when it is
# fetched.
_CIFAR100_BINARY = Layout(
    "cifar100-binary",
    "cifar-100-binary",
    (Part("train.bin", "train", "records", 153700000), Part("test.bin", "test", "records", 30740000)),
    _archive("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 168513733),
)

_CIFAR100_PYTHON = Layout(
    "cifar100-python",
    "cifar-100-python",
    (
        Part("train", "train", "records", None, "16019d7e3df5f24257cddd939b257f8d"),
        Part("test", "test", "records", None, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
    _archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169001437),
)

_STANFORD = "http://ufldl.stanford.edu/housenumbers/"
_SVHN_SUMS = (
    ("train_32x32.mat", "train", 182040794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
    ("test_32x32.mat", "test", 64275384, "eb5a983be6a315427106f1b164d9cef3"),
)
_SVHN = Layout(
    "svhn",
    "svhn",
    tuple(Part(name, split, "records", size, md5) for name, split, size, md5 in _SVHN_SUMS),
    tuple(Download(name, md5, size, (_STANFORD + name,), "keep") for name, _, size, md5 in _SVHN_SUMS),
)

# Means and deviations are those of the training images (clause DAT-7), rounded to four digits as they are usually
# quoted.
ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "digits",
            "UCI handwritten digits",
            (8, 8, 1),
            (1437, 360),
            class_names.DIGITS,
            (),
            (),
            "CC BY 4.0",
            "https://archive.ics.uci.edu/dataset/80",
        ),
        Entry(
            "mnist",
            "MNIST handwritten digits",
            (28, 28, 1),
            (60000, 10000),
            class_names.DIGITS,
            (0.1307,),
            (0.3081,),
            "no licence stated",
            "https://yann.lecun.com/exdb/mnist/",
            (_MNIST,),
        ),
        Entry(
            "fashion-mnist",
            "Fashion-MNIST clothing",
            (28, 28, 1),
            (60000, 10000),
            class_names.FASHION,
            (0.2860,),
            (0.3530,),
            "MIT",
            "https://github.com/zalandoresearch/fashion-mnist",
            (_FASHION,),
        ),
        Entry(
            "cifar10",
            "CIFAR-10 small photographs",
            (32, 32, 3),
            (50000, 10000),
            class_names.CIFAR10,
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            "no licence stated",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            (_CIFAR10_BINARY, _CIFAR10_PYTHON),
        ),
        Entry(
            "cifar100",
            "CIFAR-100 small photographs",
            (32, 32, 3),
            (50000, 10000),
            class_names.CIFAR100,
            (0.5071, 0.4865, 0.4409),
            (0.2673, 0.2564, 0.2762),
            "no licence stated",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            (_CIFAR100_BINARY, _CIFAR100_PYTHON),
        ),
        Entry(
            "svhn",
            "Street View House Numbers, cropped",
            (32, 32, 3),
            (73257, 26032),
            class_names.DIGITS,
            (0.4377, 0.4438, 0.4728),
            (0.1980, 0.2010, 0.1970),
            "for non-commercial use",
            "http://ufldl.stanford.edu/housenumbers/",
            (_SVHN,),
        ),
    )
}


def names() -> list[str]:
    """Return the names that ``load`` knows."""
    return list(ENTRIES)


def entry(name: str) -> Entry:
    """Return the entry of a name.

    Raises
    ------
    DataError
        If the name is not known; the message has the nearest one.
    """
    if name not in ENTRIES:
        raise problem(
            f"the unknown data set {name!r}{nearest(name, ENTRIES)}",
            f"{', '.join(ENTRIES)}, or the path of an existing file or folder",
            "correct the name or the path",
        )
    return ENTRIES[name]
