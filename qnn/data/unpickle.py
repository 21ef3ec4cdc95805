"""Reads pickles of plain values and integer arrays without running anything they name.

A pickle is a program. Here no name in it ever reaches a real object: the few names that NumPy's own array pickles use
are answered by inert stand-ins that only collect bytes, shape and type, and every other name is an error.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem

_ARRAY_TYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"}
_MAX_AXES = 8


class _Dtype:
    """Stands for ``numpy.dtype(code)``; its state holds the byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: object) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else str(code)
        if text not in _ARRAY_TYPES:
            raise pickle.UnpicklingError(f"an array of type {text!r}")
        self.code, self.order = text, "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii", "replace") if isinstance(state[1], bytes) else str(state[1])
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"the byte order {order!r}")
        self.order = order

    def resolve(self) -> np.dtype[Any]:
        return np.dtype(self.code).newbyteorder("<" if self.order in "|=" else self.order)  # type: ignore[arg-type]


class _Array:
    """Stands for an array; its state is (version, shape, dtype, Fortran order, bytes)."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, raw = state
        self.value = _build(raw, dtype, shape, "F" if fortran else "C")


def _build(raw: object, dtype: object, shape: Any, order: str) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("an array that is not made of plain bytes")
    if len(shape) > _MAX_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"the array shape {shape!r}")
    flat = np.frombuffer(raw, dtype.resolve()) if len(raw) else np.empty(0, dtype.resolve())
    return flat.reshape(shape, order="F" if order == "F" else "C")  # a length that does not fit is a ValueError


class _Callable:
    """A name that a pickle may call. Has no attributes that a pickle could set."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any) -> Any:
        if self.name == "_reconstruct":
            return _Array()
        if self.name == "dtype" and args:
            return _Dtype(args[0])
        if self.name == "_frombuffer" and len(args) == 4:
            array = _Array()
            array.value = _build(*args)
            return array
        if self.name == "encode" and len(args) == 2 and args[1] in ("latin1", b"latin1") and isinstance(args[0], str):
            return args[0].encode("latin1")
        raise pickle.UnpicklingError(f"a call of {self.name} with {len(args)} arguments")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"a change of {self.name}")


_ADMITTED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "_reconstruct" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "_frombuffer" for core in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


class _Unpickler(pickle.Unpickler):
    """Answers the admitted names with stand-ins and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _Callable(_ADMITTED[module, name])
        except KeyError:
            raise pickle.UnpicklingError(f"the name {module}.{name}") from None


def load_plain_pickle(raw: bytes, where: str) -> dict[str, Any]:
    """Return the dictionary that a pickle holds, with text keys and with arrays as NumPy arrays.

    Parameters
    ----------
    raw : bytes
        A pickle of any protocol, written by Python 2 or 3.
    where : str
        The file's name, for errors.

    Raises
    ------
    DataError
        If the pickle is truncated or corrupt, names anything but NumPy's array reconstruction, or is no dictionary.
    """
    try:
        content = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a hostile or damaged pickle can raise nearly anything
        raise problem(
            f"{where}, a pickle that is damaged or asks for more than data ({type(error).__name__}: {error})",
            "plain values and integer arrays",
            "fetch the file again from its official source; nothing in it was run",
        ) from error
    if not isinstance(content, dict):
        raise problem(f"{where} holding a {type(content).__name__}", "a dictionary", "give an official batch file")
    return {_text(key): value.value if isinstance(value, _Array) else value for key, value in content.items()}


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
