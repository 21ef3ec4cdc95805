"""CIFAR batches in both forms; a pickle that wants more than data gets nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qnn.data.cifar import parse_binary, parse_python
from qnn.data.unpickle import load_plain_pickle
from qnn.errors import DataError


def test_binary_records(make: SimpleNamespace) -> None:
    images, labels = make.samples(7, (32, 32, 3))
    got = parse_binary(make.cifar_binary(images, labels), "x", 1)
    assert np.array_equal(got[0], images)
    assert got[1].tolist() == labels.tolist()


def test_binary_cifar100_takes_the_fine_label(make: SimpleNamespace) -> None:
    images, fine = make.samples(7, (32, 32, 3), 100)
    assert parse_binary(make.cifar_binary(images, fine // 5, fine), "x", 2)[1].tolist() == fine.tolist()


@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 2 * 3073 - 1])
def test_binary_of_a_wrong_size(size: int) -> None:
    with pytest.raises(DataError, match="multiple of 3073"):
        parse_binary(bytes(size), "x", 1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_python_batch_of_every_protocol(make: SimpleNamespace, protocol: int) -> None:
    images, labels = make.samples(4, (32, 32, 3))
    got = parse_python(make.cifar_python(images, labels, protocol=protocol), "x", "labels")
    assert np.array_equal(got[0], images)
    assert got[1].tolist() == labels.tolist()


def test_python_batch_as_python_2_wrote_it(make: SimpleNamespace) -> None:
    """The official files: protocol 2, text keys as byte strings, array bytes as a byte string, the old module name."""
    images, labels = make.samples(1, (32, 32, 3))
    data = images.transpose(0, 3, 1, 2).tobytes()
    raw = b"".join(
        [
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R",
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"T" + len(data).to_bytes(4, "little") + data + b"tb",
            b"U\x06labels]K\x00au.",
        ]
    )
    got = parse_python(raw, "x", "labels")
    assert np.array_equal(got[0], images)
    assert got[1].tolist() == labels.tolist()


class Attack:
    """Pickles to a call."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.args


def attacks(target: str) -> list[bytes]:
    command = f"touch {target}"
    forms = [Attack(os.system, command), Attack(eval, f"open({target!r}, 'w')"), Attack(open, target, "w")]
    raws = [pickle.dumps({"data": form, "labels": []}, protocol=p) for form in forms for p in (0, 2, 4)]
    raws += [
        b"cnumpy\nload\n(V" + target.encode() + b"\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(V" + target.encode() + b"\ntR.",
        b"cnumpy\nndarray.tofile\n(V" + target.encode() + b"\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.put\x93.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nV__class__\ntR.",
        b"(ios\nsystem\n.",
        b"(cos\nsystem\nV" + command.encode() + b"\no.",
        b"(S'" + command.encode() + b"'\nios\nsystem\n.",
    ]
    return raws


def test_no_attack_runs(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    for raw in attacks(str(target)):
        with pytest.raises(DataError, match="nothing in it was run"):
            load_plain_pickle(raw, "evil")
    assert not target.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"data": np.zeros(3)}, protocol=4)[:-5],
        pickle.dumps({"data": np.array([None, {}], dtype=object)}),  # an array of objects
        pickle.dumps({"data": np.zeros(2, "datetime64[s]")}),
        b"cnumpy\ndtype\n(VO8\ntR.",
        b"cnumpy\nndarray\n}V__call__\nI1\nsb.",  # sets an attribute of a name
        b"cnumpy\nndarray\n)\x81.",  # makes an instance of a name
        b"\x82\x01.",  # a registered extension
        b"Pid\n.",  # a persistent id
        # shapes that do not fit the bytes
        b"cnumpy.core.multiarray\n_reconstruct\n(tR((lI1\n(I9999999999\nI3\ntcnumpy\ndtype\n(Vu1\ntRI00\nVabc\ntb.",
        b"c_codecs\nencode\n(Vabc\nVzip\ntR.",
    ],
)
def test_damaged_and_odd_pickles(raw: bytes) -> None:
    with pytest.raises(DataError, match="nothing in it was run"):
        load_plain_pickle(raw, "odd")


def test_plain_values_pass() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    value = {"a": [1, 2.5, "x", None, True, (1, b"z")], "b": {"c": {1, 2}}, "d": array}
    got = load_plain_pickle(pickle.dumps(value, protocol=4), "x")
    assert got["a"] == value["a"]
    assert got["b"] == value["b"]
    assert got["d"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_fortran_order_is_kept() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for protocol in (2, 5):
        assert load_plain_pickle(pickle.dumps({"a": array}, protocol=protocol), "x")["a"].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([1, 2], "a dictionary"),
        ({"labels": []}, "without data"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "without labels"),
        ({"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]}, "float32"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}, "3071"),
        ({"data": [1, 2], "labels": [0, 1]}, "data as list"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": "ab"}, "labels as str"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [2**70]}, "labels as list"),
    ],
)
def test_batches_of_another_form(batch: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_python(pickle.dumps(batch), "x", "labels")
