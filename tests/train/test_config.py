"""Settings: TOML both ways, refusal of what is not allowed, and which of them fix bits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.errors import ConfigError
from qnn.training.config import AUGMENTATIONS, OPTIMIZERS, SCHEDULES, TrainConfig, unknown_name

# Control characters are left out of nothing: TOML must escape them. Lone surrogates are no text.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
words = st.text(letters, min_size=1).filter(lambda text: bool(text.strip()))
shares = st.floats(0.0, 0.999)
configs = st.builds(
    TrainConfig,
    data=words,
    model=words,
    recipe=words,
    epochs=st.integers(1, 10**6),
    batch_size=st.integers(1, 65536),
    lr=st.floats(5e-324, 1e6),
    schedule=st.sampled_from(SCHEDULES),
    lr_gamma=st.floats(1e-300, 1.0),
    lr_milestones=st.lists(st.integers(1, 10**6), max_size=4).map(tuple),
    lr_final=st.floats(0, 1e6),
    optimizer=st.sampled_from(OPTIMIZERS),
    momentum=st.floats(2.0**-1000, 0.999),
    nesterov=st.booleans(),
    weight_decay=st.floats(0, 1e6),
    beta1=shares,
    beta2=shares,
    epsilon=st.floats(1e-30, 1.0),
    augment=st.sampled_from(AUGMENTATIONS),
    train_limit=st.integers(0, 2**31),
    seed=st.integers(0, 2**63 - 1),
    out=st.text(letters),
    kernels=words,
    threads=st.integers(0, 1024),
)


@given(configs)
def test_toml_is_read_back_unchanged(config: TrainConfig) -> None:
    assert TrainConfig.from_toml_text(config.to_toml()) == config


@given(configs)
def test_dict_is_read_back_unchanged(config: TrainConfig) -> None:
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('model = "mlp"\nepochs = 3\nlr = 1  # an int is a fine float\nlr_milestones = [1, 2]\n')
    config = TrainConfig.from_toml(path)
    assert (config.model, config.epochs, config.lr, config.lr_milestones) == ("mlp", 3, 1.0, (1, 2))
    assert isinstance(config.lr, float)
    assert config.recipe == TrainConfig().recipe


def test_every_key_is_in_the_toml_once_with_its_help() -> None:
    text = TrainConfig(init="run", prune=0.5).to_toml()
    for key in TrainConfig().to_dict():
        assert text.count(f"\n{key} = ") == 1
        assert TrainConfig.doc(key) in text
    assert "out = " not in TrainConfig().to_toml(without=["out"])


@pytest.mark.clause("DIG-1")
def test_optional_settings_are_on_record_only_where_they_are_set() -> None:
    assert "prune" not in TrainConfig().numeric()
    assert "prune" not in TrainConfig().to_toml()
    assert TrainConfig(prune=0.5).numeric()["prune"] == 0.5
    assert "prune" in TrainConfig.numeric_keys(), "a resumed run keeps it"
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="prune"):
            TrainConfig(prune=wrong)


def test_paths_are_taken_as_text(tmp_path: Path) -> None:
    config = TrainConfig(data=tmp_path, out=tmp_path)  # type: ignore[arg-type]
    assert config.data == config.out == str(tmp_path)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("batch-size", "batch_size"),
        ("learning_rate", "lr"),
        ("epoch", "epochs"),
        ("momentun", "momentum"),
        ("Seed", "seed"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({key: 1}, "my.toml")
    assert "my.toml" in str(caught.value)
    assert f"'{key}'" in str(caught.value)
    assert nearest in str(caught.value)
    if key != "learning_rate":
        assert f"did you mean '{nearest}'?" in str(caught.value)


def test_unknown_name_without_a_near_one_lists_all() -> None:
    assert unknown_name("model", "zzz", ["mlp", "lenet5"]) == "got unknown model 'zzz' (known: mlp, lenet5)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 2.0},
        {"epochs": True},
        {"epochs": "3"},
        {"batch_size": -1},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"lr": "fast"},
        {"lr": 10**400},
        {"lr_gamma": 1.5},
        {"lr_final": -0.1},
        {"lr_milestones": [0]},
        {"lr_milestones": [1.5]},
        {"lr_milestones": 3},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"beta1": 1.0},
        {"epsilon": 0.0},
        {"nesterov": 1},
        {"nesterov": True, "momentum": 0.0},
        {"schedule": "cosin"},
        {"optimizer": "adamw"},
        {"augment": "flip"},
        {"seed": -1},
        {"seed": 2**63},
        {"threads": -1},
        {"threads": 1025},
        {"log_every": 0},
        {"checkpoint_every": -1},
        {"eval_batch_size": 0},
        {"train_limit": -1},
        {"data": ""},
        {"model": "  "},
        {"recipe": None},
        {"data": "\ud800"},
    ],
)
def test_value_that_is_not_allowed_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(wrong)
    assert next(iter(wrong)) in str(caught.value)


@pytest.mark.parametrize("text", ["epochs = ", "epochs = 1\nepochs = 2", "[", "lr = 0,1"])
def test_text_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML"):
        TrainConfig.from_toml(path)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        TrainConfig.from_toml(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        TrainConfig.from_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'data = "caf\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        TrainConfig.from_toml(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta1": 0.5}, 'beta1 = 0.5 with optimizer = "sgd".*for adam, adamax, adamax-ap2'),
        ({"optimizer": "adam", "momentum": 0.2}, 'momentum = 0.2 with optimizer = "adam"'),
        ({"optimizer": "adamax", "nesterov": True}, "nesterov = true"),
        ({"lr_milestones": (3,)}, r'lr_milestones = \[3\] with schedule = "cosine".*for step'),
        ({"schedule": "step", "lr_final": 0.1}, "lr_final = 0.1"),
        ({"schedule": "constant", "lr_gamma": 0.5}, "lr_gamma = 0.5"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(settings).validate()
    TrainConfig.from_dict(settings).validate(begun=True)  # what a run began with is what it goes on with


def test_validate_knows_models_and_recipes() -> None:
    assert TrainConfig().validate() == TrainConfig()
    with pytest.raises(ConfigError, match="did you mean 'lenet5'"):
        TrainConfig(model="lenet").validate()
    with pytest.raises(ConfigError, match="dfp8"):
        TrainConfig(recipe="dfp88").validate()


def test_replace_refuses_unknown_names() -> None:
    assert TrainConfig().replace(epochs=2).epochs == 2
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        TrainConfig().replace(epoch=2)


def test_differences_look_at_what_fixes_bits() -> None:
    base = TrainConfig()
    assert (
        base.differences(base.replace(out="x", kernels="reference", threads=3, log_every=1, checkpoint_every=5)) == {}
    )
    assert base.differences(base.replace(seed=2, lr=0.5)) == {"lr": (base.lr, 0.5), "seed": (base.seed, 2)}
    assert base.differences(base.replace(out="x"), ["out"]) == {"out": ("", "x")}


def test_config_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3  # type: ignore[misc]
