"""Fine-tuning: arrays go from a float network into one of levels; what does not fit changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qnn
from qnn import nn
from qnn.errors import CheckpointError, ConfigError, RunError


def net(recipe: str, model: str = "digits-cnn", classes: int = 10) -> Any:
    return qnn.models.build(
        model, recipe=recipe, input_shape=(8, 8, 1), classes=classes, mean=(0.3,), std=(0.4,), seed=1
    )


def test_masters_and_statistics_go_over_and_exponents_stay() -> None:
    full, small = net("fp32"), net("nbq")
    for name, parameter in full.named_parameters():
        parameter.data = np.random.default_rng(len(name)).normal(0, 1, parameter.shape).astype(np.float32)
    full.net[2].normalize.running_mean = np.arange(16, dtype=np.float32)
    exponents = {name: site.state().tolist() for name, site in small.named_sites()}
    nn.transfer(full, small)
    theirs = dict(full.named_parameters())
    for name, parameter in small.named_parameters():
        if name not in theirs:
            assert name in ("net.layers.10.scale.gamma", "net.layers.10.scale.beta")
            continue
        value = theirs[name].numpy()
        want = value if parameter.limit is None else np.clip(value, -1, 1)
        np.testing.assert_array_equal(parameter.numpy(), want)
    assert {p.limit for p in small.parameters()} == {None, 1.0}
    np.testing.assert_array_equal(small.net[2].normalize.running_mean, np.arange(16))
    assert {name: site.state().tolist() for name, site in small.named_sites()} == exponents
    assert dict(full.named_parameters()).keys() < dict(small.named_parameters()).keys(), (
        "outputs of levels are normalised"
    )
    again = net("nbq")
    nn.transfer(small.state_dict(), again)
    np.testing.assert_array_equal(again.net[1].weight.numpy(), small.net[1].weight.numpy())


def test_what_does_not_fit_changes_nothing() -> None:
    small = net("nbq")
    before = small.state_dict()
    broken = net("fp32").state_dict()
    broken["net.layers.1.weight"] = np.full_like(broken["net.layers.1.weight"], np.nan)
    for source, part in ((net("fp32", "mlp"), "names"), (net("fp32", classes=9), "must be"), (broken, "finite")):
        with pytest.raises(CheckpointError, match=part):
            nn.transfer(source, small)
        after = small.state_dict()
        assert all(np.array_equal(after[key], value) for key, value in before.items())


def test_fine_tuning_is_better_than_three_epochs_from_scratch() -> None:
    from qnn.training.config import TrainConfig
    from qnn.training.trainer import Trainer

    train, test = qnn.data.load("digits", split="train"), qnn.data.load("digits", split="test")

    def run(recipe: str, start: Any = None) -> Any:
        trainer = Trainer(TrainConfig(recipe=recipe, epochs=3), train)
        if start is not None:
            nn.transfer(start, trainer.model)
        for _ in trainer.steps():
            pass
        return trainer.model.eval()

    def accuracy(model: Any) -> float:
        with qnn.no_grad():
            return float((model(test.images).numpy().argmax(1) == test.labels).mean())

    scratch, tuned = accuracy(run("nbq(n=2)")), accuracy(run("nbq(n=2)", run("dfp8")))
    assert tuned > scratch


def test_a_run_starts_from_another_and_says_so_in_its_digest(tmp_path: Any) -> None:
    from qnn import training
    from qnn.training.config import TrainConfig
    from qnn.training.digest import replay

    settings = TrainConfig(recipe="nbq", epochs=1, train_limit=32, batch_size=16)
    full = training.train(settings.replace(recipe="fp32", out=str(tmp_path / "full"))).run_dir
    tuned = settings.replace(init=str(full))
    digests = [
        training.train(each.replace(out=str(tmp_path / name))).digest
        for name, each in (("fresh", settings), ("one", tuned), ("two", tuned))
    ]
    assert digests[1] == digests[2] != digests[0]
    assert replay(tmp_path / "one").same
    first = (tmp_path / "one" / "digest.jsonl").read_text().splitlines()[0]
    assert "init_checksum" in first
    assert "init" not in (tmp_path / "fresh" / "digest.jsonl").read_text().splitlines()[0]
    with pytest.raises(CheckpointError, match=r"cannot start from the run .*names"):
        training.train(tuned.replace(model="mlp", recipe="dfp8", out=str(tmp_path / "other")))
    with pytest.raises(RunError, match="does not exist"):
        training.train(settings.replace(init=str(tmp_path / "nowhere"), out=str(tmp_path / "none")))


@pytest.mark.clause("DIG-1", "DIG-5", "UPD-5")
def test_a_pruned_run_resumes_replays_and_freezes(tmp_path: Any) -> None:
    from qnn import inference, training
    from qnn.report.restore import restore
    from qnn.training.config import TrainConfig
    from qnn.training.digest import replay
    from qnn.training.runs import RunFolder

    settings = TrainConfig(recipe="nbq", epochs=2, train_limit=64, batch_size=16, checkpoint_every=1)
    full = training.train(settings.replace(recipe="fp32", out=str(tmp_path / "full"))).run_dir
    pruned = settings.replace(init=str(full), prune=0.75)
    whole = training.train(pruned.replace(out=str(tmp_path / "whole")))
    assert '"prune":"0x1.8000000000000p-1"' in (tmp_path / "whole" / "digest.jsonl").read_text().splitlines()[0]
    assert "prune = 0.75" in (tmp_path / "whole" / "config.toml").read_text()

    def stop(event: Any) -> None:
        if event["kind"] == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(pruned.replace(out=str(tmp_path / "cut")), on_event=stop)
    assert len(RunFolder(tmp_path / "cut").digests()) < len(RunFolder(tmp_path / "whole").digests())
    with pytest.raises(ConfigError, match=r"prune \(stored 0.75, now 0.5\)"):
        training.resume(tmp_path / "cut", prune=0.5)
    assert training.resume(tmp_path / "cut").digest == whole.digest
    for start in ("seed", "checkpoint"):
        assert replay(tmp_path / "cut", start=start).same
    model = restore(tmp_path / "whole", 1).model.eval()
    weights = [p for p in model.parameters() if p.kept is not None]
    assert len(weights) == 3
    assert all(not p.numpy()[~p.kept].any() and (~p.kept).sum() == p.size * 3 // 4 for p in weights)
    images = qnn.data.load("digits", split="test").images
    with qnn.no_grad():
        layers = model(images).numpy()
    np.testing.assert_array_equal(inference.freeze(model, images[:1])(images), layers)


def test_what_cannot_be_pruned_is_refused_before_there_is_a_folder(tmp_path: Any) -> None:
    from qnn import training
    from qnn.training.config import TrainConfig

    settings = TrainConfig(recipe="nbq(n=1)", epochs=1, train_limit=32, batch_size=16, out=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="without init"):
        training.train(settings.replace(prune=0.5))
    full = training.train(settings.replace(recipe="fp32", out=str(tmp_path / "full"))).run_dir
    with pytest.raises(ConfigError, match=r"cannot prune .*no level 0"):
        training.train(settings.replace(prune=0.5, init=str(full)))
    assert not (tmp_path / "out" / "config.toml").exists()
