"""Makes ``run_digests.json``: digests of short runs, the proof that training computes what it computed before.

``python tests/golden/make_digests.py`` shows what would change and fails if anything would; ``--write`` regenerates. A
change is a change of bits: it belongs under **Bits** in the changelog, with the clause and the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("run_digests.json")

RUNS: dict[str, dict[str, Any]] = {
    # All defaults of the main job, on 64 digits.
    "digits-cnn": {"train_limit": 64, "batch_size": 16, "epochs": 2},
    # What the first leaves out: Adam, augmentation, other widths and rules, the LFSR, a large seed.
    "mlp": {
        "model": "mlp",
        "recipe": "dfp(w=6, a=7, g=12, a_rounding=nearest_even, noise=lfsr16, noise_bits=9, last_bits=16)",
        "train_limit": 48,
        "batch_size": 16,
        "epochs": 2,
        "optimizer": "adam",
        "lr": 0.002,
        "schedule": "step",
        "augment": "crop-flip",
        "seed": 2**63 - 1,
    },
    # Weights of a few levels: each rule, form and width of the weights' grid once, and the staircase.
    **{
        name: {"recipe": recipe, "train_limit": 48, "batch_size": 16, "epochs": 2}
        for name, recipe in {
            "nbq": "nbq",
            "nbq-1": "nbq(n=1, form=aqe, alpha=0.375, staircase=1)",
            "nbq-2": "nbq(n=2, a=16, thresholds=0.4, form=ste, exempt=last)",
            "nbq-5": "nbq(n=5, thresholds=log, relative=False)",
            "ternary": "ternary",
            "deepshift": "deepshift",
            "deepshift-ps": "deepshift(form=ps)",
            "logquant": "logquant(b=3, staircase=3)",
        }.items()
    },
    # Signs, drawn and normalised by shifts, with the optimiser of the paper.
    "bnn": {
        "recipe": "bnn(stochastic=True, norm=shift)",
        "train_limit": 48,
        "batch_size": 16,
        "epochs": 2,
        "optimizer": "adamax",
        "lr": 2.0**-6,
    },
    # A few bits: weights on powers of two, activations on a linear grid.
    "qnn": {"recipe": "qnn(w=4, a=2, g=6, quant=log)", "train_limit": 48, "batch_size": 16, "epochs": 2},
    "dorefa": {"recipe": "dorefa(w=2, a=3, g=6)", "train_limit": 48, "batch_size": 16, "epochs": 2},
    "dorefa-sample": {
        "recipe": "dorefa(w=1, a=2, g=6, scale=sample)",
        "train_limit": 48,
        "batch_size": 16,
        "epochs": 2,
    },
    # Recipes whose weights move by their own rule, range batch norm, gradients of two widths.
    "niti": {"recipe": "niti", "train_limit": 48, "batch_size": 16, "epochs": 2},
    "wage": {"recipe": "wage", "lr": 8.0, "train_limit": 48, "batch_size": 16, "epochs": 2},
    "banner8": {"recipe": "banner8", "train_limit": 48, "batch_size": 16, "epochs": 2},
}


def digests(settings: dict[str, Any]) -> list[str]:
    """The chain of a run, trained in memory."""
    from qnn import data
    from qnn.training.config import TrainConfig
    from qnn.training.trainer import Trainer

    trainer = Trainer(TrainConfig(**settings), data.load("digits", split="train"))
    return [trainer.digest.hex(), *(record.digest.hex() for record in trainer.steps())]


def make() -> dict[str, Any]:
    """The content of the file."""
    return {
        "what": "digests of short runs on the digits that ship with the package, after each step (clauses DIG-1..4)",
        "first_made_for": "0.1.0",
        "made_by": "tests/golden/make_digests.py",
        "runs": {name: {"settings": settings, "digests": digests(settings)} for name, settings in RUNS.items()},
    }


def main() -> int:
    """Command line; 0 when nothing would change or it was written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="write the file")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    new = make()
    old = json.loads(PATH.read_text()) if PATH.exists() else {"runs": {}}
    changed = False
    for name, run in new["runs"].items():
        before = old["runs"].get(name, {}).get("digests", [])
        step = next((i for i, pair in enumerate(zip(before, run["digests"], strict=False)) if pair[0] != pair[1]), None)
        if before == run["digests"]:
            print(f"{name}: the same")
        else:
            changed = True
            print(f"{name}: new" if not before else f"{name}: differs from step {step} on")
    if options.write:
        PATH.write_text(json.dumps(new, indent=1) + "\n")
        return 0
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
