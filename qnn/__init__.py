"""qnn: quantized neural networks that really run in integers and promise their bits."""

from __future__ import annotations

__version__ = "0.1.0"
