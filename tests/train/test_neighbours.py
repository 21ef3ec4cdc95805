"""Runs of niti, wage and banner8: equal digests on all paths and threads, resumable, and they learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qnn
from qnn import data, training
from qnn.errors import ConfigError
from qnn.report.restore import restore
from qnn.training.config import TrainConfig
from qnn.training.digest import replay
from qnn.training.evaluation import evaluate
from qnn.training.trainer import Trainer

WAGE: dict[str, Any] = {"recipe": "wage", "lr": 8.0, "schedule": "step", "lr_gamma": 0.125}
SHORT: dict[str, dict[str, Any]] = {
    "niti": {"recipe": "niti"},
    "niti with noise": {"recipe": "niti(g_rounding=stochastic)"},
    "wage": WAGE,
    "banner8": {"recipe": "banner8"},
    "range": {"recipe": "dfp(norm=range)"},
    "niti of 2020": {"recipe": "niti(a_rounding=psr)"},
    "range of the paper": {"recipe": "banner8(norm=range_paper)"},
    "overflow of integers": {"recipe": "dfp(overflow=integer)"},
}


def chain(settings: dict[str, Any]) -> list[str]:
    config = TrainConfig(**settings, train_limit=48, batch_size=16, epochs=2)
    trainer = Trainer(config, data.load("digits", split="train"))
    return [record.digest.hex() for record in trainer.steps()]


@pytest.mark.clause("INT-18")
@pytest.mark.parametrize("name", SHORT)
def test_one_digest_on_all_paths_and_threads(name: str) -> None:
    found = set()
    before = qnn.get_num_threads()
    try:
        for path in qnn.available_kernels():
            for threads in (1, 3):
                qnn.set_num_threads(threads)
                with qnn.use_kernels(path):
                    found.add(tuple(chain(SHORT[name])))
    finally:
        qnn.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("name", ["niti", "wage", "banner8"])
def test_golden_digests(name: str) -> None:
    path = Path(__file__).resolve().parents[1] / "golden" / "run_digests.json"
    golden = json.loads(path.read_text())["runs"][name]
    trainer = Trainer(TrainConfig(**golden["settings"]), data.load("digits", split="train"))
    assert [trainer.digest.hex(), *(record.digest.hex() for record in trainer.steps())] == golden["digests"]


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"recipe": "niti", "epochs": 4}, 0.95),
        ({**WAGE, "epochs": 6, "batch_size": 64, "lr_milestones": (4, 5)}, 0.92),
    ],
    ids=["niti", "wage"],
)
def test_a_small_net_without_batch_norm_learns_the_digits(settings: dict[str, Any], least: float) -> None:
    trainer = Trainer(TrainConfig(**settings), data.load("digits", split="train"))
    for _ in trainer.steps():
        pass
    assert evaluate(trainer.model, data.load("digits", split="test")).accuracy > least


@pytest.mark.clause("INT-6")
def test_a_run_of_niti_is_saved_replayed_and_restored(tmp_path: Path) -> None:
    config = TrainConfig(recipe="niti", train_limit=48, batch_size=16, epochs=2, out=str(tmp_path / "run"))
    result = training.train(config)
    assert replay(result.run_dir).same
    trainer = Trainer(config, data.load("digits", split="train"))
    chains = [record.digest.hex() for record in trainer.steps()]
    assert chains[-1] == result.digest
    other = Trainer(config, data.load("digits", split="train"))
    other.restore(trainer.checkpoint())
    assert other.tensor_hashes()["parameters"] == trainer.tensor_hashes()["parameters"]
    named = dict(other.named_arrays()["parameters"])
    assert named["net.layers.1.weight"].dtype == np.int8
    assert named["net.layers.1.weight.exponent"].shape == (1,)
    assert other.parameter_count == sum(p.size for _, p in other.parameters)


@pytest.mark.parametrize(
    "recipe",
    ["niti(a_rounding=psr)", "banner8(norm=range_paper)", "dfp(w=8, a=8, g=8, overflow=integer, norm=range_paper)"],
)
def test_other_readings_are_replayed_and_frozen(recipe: str, tmp_path: Path) -> None:
    config = TrainConfig(recipe=recipe, train_limit=96, batch_size=16, epochs=2, out=str(tmp_path / "run"))
    result = training.train(config)
    assert replay(result.run_dir).same
    opened = restore(result.run_dir)
    assert opened.identity.recipe == recipe
    images = data.load("digits", split="test").images
    with qnn.no_grad():
        want = opened.model(images).numpy()
    np.testing.assert_array_equal(qnn.inference.freeze(opened.model, images[:1])(images), want)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"recipe": "niti", "lr": 0.1}, "lr"),
        ({"recipe": "niti", "schedule": "step"}, "schedule"),
        ({"recipe": "wage", "optimizer": "adam"}, "optimizer"),
        ({"recipe": "wage", "momentum": 0.5}, "momentum"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"got {key} ="):
        Trainer(TrainConfig(**settings), data.load("digits", split="train"))
