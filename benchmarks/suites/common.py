"""What the suites share: every kernel path as a parameter, one thread, the shapes and operands of ``qnn bench``."""

from __future__ import annotations

from typing import Any

import qnn
from qnn import _kernels
from qnn.bench.rows import on_path
from qnn.bench.shapes import Layer, codes, ints

__all__ = ["PATHS", "Kernel", "Layer", "codes", "ints"]

PATHS = [path for path in qnn.available_kernels() if path != "reference"]


class Kernel:
    """An operation on one path; a subclass says which operands it gets for a shape."""

    param_names = ("path", "shape")
    params: Any = (PATHS, [])
    timeout = 120
    operation = ""

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Arguments of the operation."""
        raise NotImplementedError

    def setup(self, path: str, shape: Any) -> None:
        """Bind the kernel; a path without the operation is skipped."""
        if path not in _kernels.TABLE[self.operation]:
            raise NotImplementedError(f"{path} has no {self.operation} of its own")
        qnn.set_num_threads(1)
        self.run = on_path(self.operation, path, *self.operands(shape))
        self.run()
