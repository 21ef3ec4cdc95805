"""``python -m qnn`` is the command ``qnn``."""

from __future__ import annotations

from qnn.cli import main

if __name__ == "__main__":
    main()
