"""Training steps, import and memory."""

from __future__ import annotations

import subprocess
import sys

from qnn.bench.steps import Spec, make

from .common import PATHS


class Step:
    """A training step on one thread."""

    param_names = ("net", "recipe")
    params = (["lenet5", "mlp"], ["dfp8", "fp32"])
    timeout = 120

    def setup(self, net: str, recipe: str) -> None:
        """Build and warm up."""
        self.step = make(Spec("train", f"qnn {recipe}", net, 32, 1, PATHS[0] if PATHS else "reference")).step
        self.step()

    def time_step(self, net: str, recipe: str) -> None:
        """Forward, backward, update."""
        self.step()

    def peakmem_step(self, net: str, recipe: str) -> None:
        """The process at its largest."""
        self.step()


class Import:
    """What ``import qnn`` costs."""

    def time_import(self) -> None:
        """A fresh process."""
        subprocess.run([sys.executable, "-c", "import qnn"], check=True)
