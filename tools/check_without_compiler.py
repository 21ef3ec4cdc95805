"""Check an installation made without a C compiler: one clear warning at import, everything works, the same bits.

Run it with the Python of that installation, from outside the checkout: ``python tools/check_without_compiler.py``.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "run_digests.json"


def main() -> int:
    """Import, train, compare; raises with what is wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import qnn
        from qnn.training import TrainConfig, train
    about = [w for w in caught if "compiled kernels" in str(w.message)]
    if len(about) != 1 or "C compiler" not in str(about[0].message):
        raise SystemExit(f"got warnings {[str(w.message) for w in caught]}; one is wanted that says how to get speed")
    if qnn.available_kernels() != ["reference"]:
        raise SystemExit(f"got kernels {qnn.available_kernels()}; this check is for an installation without extensions")
    golden = json.loads(GOLDEN.read_text())["runs"]["digits-cnn"]
    with tempfile.TemporaryDirectory() as folder:
        result = train(TrainConfig(**golden["settings"], out=str(Path(folder) / "run")))
    if result.digest != golden["digests"][-1]:
        raise SystemExit(f"got digest {result.digest}; the golden one is {golden['digests'][-1]}: a bit is wrong")
    print(f"without compiler: one warning, digest {result.digest[:16]}... as on the compiled paths")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
