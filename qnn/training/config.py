"""The settings of a training run: one frozen dataclass that says what the flags and a TOML file say.

Every field carries in its metadata whether it is *numeric* (changes the bits of the run, hence part of the first
digest and fixed for the life of the run), a one-line help text, and for names the allowed ones. A ``TrainConfig`` that
exists is locally valid; :meth:`TrainConfig.validate` also asks the rest of the package whether the names are known.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnn.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same parser under its older name
    import tomli as tomllib

SCHEDULES = ("constant", "step", "cosine", "exponential")
OPTIMIZERS = ("sgd", "adam", "adamax", "adamax-ap2")  # the last: adamax whose state is its rounded divisor
AUGMENTATIONS = ("none", "crop-flip")


def _field(default: Any, doc: str, *, numeric: bool, choices: tuple[str, ...] = (), optional: bool = False) -> Any:
    """Make a dataclass field with its documentation; an optional one is on record only where it is set."""
    metadata = {"doc": doc, "numeric": numeric, "choices": choices, "optional": optional}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that defines a training run; the defaults are the bare ``qnn train``.

    Raises
    ------
    ConfigError
        If a value has the wrong type or is outside its range. The message names the key.

    Notes
    -----
    Bit-exactness: clause DIG-1; the numeric fields (:meth:`numeric_keys`) fix the bits of a run, the others never
    change one.
    """

    data: str = _field("digits", "data set: a known name or a path", numeric=False)
    model: str = _field("digits-cnn", "network", numeric=True)
    recipe: str = _field("dfp8", "number formats and roundings", numeric=True)
    epochs: int = _field(15, "passes over the training set", numeric=True)
    batch_size: int = _field(32, "images per step", numeric=True)
    lr: float = _field(0.05, "learning rate at the start", numeric=True)
    schedule: str = _field("cosine", "course of the learning rate", numeric=True, choices=SCHEDULES)
    lr_final: float = _field(0.0, "learning rate at the end of cosine, exponential (there 0: lr / 100)", numeric=True)
    lr_gamma: float = _field(0.1, "factor of each drop of the step schedule", numeric=True)
    lr_milestones: tuple[int, ...] = _field((), "epochs after which step drops (none: at 1/2 and 3/4)", numeric=True)
    optimizer: str = _field("sgd", "optimiser", numeric=True, choices=OPTIMIZERS)
    momentum: float = _field(0.9, "momentum of sgd", numeric=True)
    nesterov: bool = _field(False, "Nesterov's form of the momentum", numeric=True)
    weight_decay: float = _field(1e-4, "weight decay", numeric=True)
    beta1: float = _field(0.9, "decay of the first moment of adam, adamax", numeric=True)
    beta2: float = _field(0.999, "decay of adam's second moment, of adamax's largest gradient", numeric=True)
    epsilon: float = _field(1e-8, "guard of adam, adamax against division by zero", numeric=True)
    augment: str = _field("none", "augmentation of the training images", numeric=True, choices=AUGMENTATIONS)
    crop: int = _field(
        0, "side of squares cut from a folder's pictures (0: the network's own where they need it)", numeric=False
    )
    train_limit: int = _field(0, "use only the first so many training images (0: all)", numeric=True)
    seed: int = _field(1, "seed of initial weights, order, augmentation and rounding noise", numeric=True)
    prune: float = _field(
        0.0, "share of each layer's weights to prune before the first step (needs init)", numeric=True, optional=True
    )
    init: str = _field("", "run whose weights and statistics to start from (empty: fresh ones)", numeric=False)
    out: str = _field("", "folder of the run (empty: a fresh one under runs/)", numeric=False)
    kernels: str = _field("auto", "kernel path: auto, or one that show_runtime() lists", numeric=False)
    threads: int = _field(0, "threads of the kernels (0: as the environment says)", numeric=False)
    eval_batch_size: int = _field(256, "images per step when testing", numeric=False)
    log_every: int = _field(10, "steps between two step events", numeric=False)
    checkpoint_every: int = _field(0, "steps between two checkpoints (0: one per epoch)", numeric=False)

    def __post_init__(self) -> None:
        for name in ("data", "init", "out"):
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, name, os.fspath(value))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        for name, (low, high, kind) in _RANGES.items():
            _check_range(name, getattr(self, name), low, high, kind)
        if any(mark < 1 for mark in self.lr_milestones):
            raise ConfigError(
                f"got lr_milestones = {list(self.lr_milestones)}; they count finished epochs, so each is at least 1; "
                "write for instance [80, 120]"
            )
        if self.nesterov and self.momentum == 0.0:
            raise ConfigError(
                "got nesterov = true with momentum = 0; Nesterov's form needs a momentum above 0; "
                "set momentum (0.9 is usual) or nesterov = false"
            )

    # -- names ---------------------------------------------------------------------------------------------------

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """All setting names, in the order of the file."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def numeric_keys(cls) -> tuple[str, ...]:
        """The settings that change bits; they are fixed for the life of a run."""
        return tuple(field.name for field in dataclasses.fields(cls) if field.metadata["numeric"])

    @classmethod
    def doc(cls, key: str) -> str:
        """The one-line help text of a setting (with the allowed names, where there are few)."""
        for field in dataclasses.fields(cls):
            if field.name == key:
                choices = field.metadata["choices"]
                return field.metadata["doc"] + (f": {', '.join(choices)}" if choices else "")
        raise ConfigError(unknown_name("setting", key, cls.keys()))

    def numeric(self) -> dict[str, Any]:
        """The numeric settings as a dict (clause DIG-1); optional ones where they are set."""
        return {field.name: getattr(self, field.name) for field in self._on_record() if field.metadata["numeric"]}

    def _on_record(self) -> list[dataclasses.Field[Any]]:
        """All fields but the optional ones that are not set: digests and files without them stay as they were."""
        fields = dataclasses.fields(self)
        return [f for f in fields if not f.metadata["optional"] or getattr(self, f.name) != f.default]

    def differences(self, other: TrainConfig, keys: Iterable[str] | None = None) -> dict[str, tuple[Any, Any]]:
        """Which settings differ: ``{key: (mine, theirs)}``, over `keys` or the numeric ones."""
        chosen = self.numeric_keys() if keys is None else tuple(keys)
        return {
            key: (getattr(self, key), getattr(other, key))
            for key in chosen
            if getattr(self, key) != getattr(other, key)
        }

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with some settings changed.

        Raises
        ------
        ConfigError
            If a name is unknown (the nearest known one is named) or a value is not allowed.
        """
        _check_keys(changes, "the change")
        return dataclasses.replace(self, **changes)

    # -- dict and TOML -------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "the settings") -> TrainConfig:
        """Build from a mapping; `source` names it in errors.

        Raises
        ------
        ConfigError
            If a key is unknown (the nearest known one is named) or a value is not allowed.
        """
        _check_keys(values, source)
        return cls(**dict(values))

    def to_dict(self) -> dict[str, Any]:
        """All settings as a dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Read a TOML file whose keys are the field names.

        Raises
        ------
        ConfigError
            If the file cannot be read, is not TOML, or holds an unknown key or a value that is not allowed.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")  # some editors begin a file with a byte-order mark
        except OSError as error:
            raise ConfigError(
                f"cannot read the configuration {os.fspath(path)}: {error.strerror or error}; "
                "it must be a readable TOML file; check the path"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{os.fspath(path)} is not UTF-8 (byte {error.start}); TOML files are; save it as UTF-8"
            ) from error
        return cls.from_toml_text(text, os.fspath(path))

    @classmethod
    def from_toml_text(cls, text: str, source: str = "the text") -> TrainConfig:
        """Parse TOML text; see :meth:`from_toml`."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(
                f'{source} is not TOML: {error}; lines look like  epochs = 5  or  model = "lenet5"'
            ) from error
        return cls.from_dict(values, source)

    def to_toml(self, *, without: Iterable[str] = ()) -> str:
        """The settings as TOML text with a comment per key, optional ones where they are set.

        :meth:`from_toml_text` reads it back unchanged.
        """
        skip = set(without)
        lines = ["# Settings of a qnn training run; `qnn train THIS_FILE` runs it again."]
        titles = (
            "These fix the bits of the run (of data its content, not its name or place).",
            "These change no bit of it.",
        )
        for group, title in enumerate(titles):
            lines += ["", f"# {title}"]
            for field in self._on_record():
                first = field.metadata["numeric"] or field.name in ("data", "crop")
                if first is (group == 0) and field.name not in skip:
                    lines.append(f"{field.name} = {_toml_value(getattr(self, field.name))}  # {self.doc(field.name)}")
        return "\n".join(lines) + "\n"

    # -- checks that need the rest of the package ------------------------------------------------------------------

    def validate(self, *, begun: bool = False) -> TrainConfig:
        """Check the names of model and recipe against the package, and that something reads every setting that is not
        its default, unless the run has begun with it; returns the configuration itself.

        Raises
        ------
        ConfigError
            If the model or recipe is unknown (the message names the nearest known one), or a setting is not read.
        """
        from qnn import models, recipes  # late: a configuration can be read without loading the engine

        known = tuple(models.names())
        if self.model not in known:
            raise ConfigError(unknown_name("model", self.model, known))
        recipes.parse(self.recipe)
        if not begun:
            self._refuse_unread()
        return self

    def _refuse_unread(self) -> None:
        """A setting that nothing reads has no place in a run: it would change the digest and nothing else."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for chooser, readers in _READ_BY.items():
            chosen = getattr(self, chooser)
            for key, choices in readers.items():
                value = getattr(self, key)
                if chosen not in choices and value != defaults[key]:
                    raise ConfigError(
                        f"got {key} = {_toml_value(value)} with {chooser} = {_toml_value(chosen)}, which does not read "
                        f"it; {key} is for {', '.join(choices)}: leave it out, or change {chooser}"
                    )


def unknown_name(what: str, got: str, known: Iterable[str]) -> str:
    """The message for an unknown name: what was got, the nearest known one, and all that are allowed."""
    names = tuple(known)
    near = difflib.get_close_matches(
        got.lower().replace("-", "_"), [n.lower().replace("-", "_") for n in names], n=1, cutoff=0.5
    )
    hint = ""
    if near:
        nearest = next(n for n in names if n.lower().replace("-", "_") == near[0])
        hint = f"; did you mean '{nearest}'?"
    return f"got unknown {what} '{got}'{hint} (known: {', '.join(names)})"


# Inclusive bounds, and what they mean in words. Strict ones are written as the next float.
_TINY = math.ulp(0.0)
_BELOW_ONE = 1.0 - 2.0**-53
_RANGES: dict[str, tuple[float, float, str]] = {
    "epochs": (1, 1_000_000, "from 1 to 1000000"),
    "batch_size": (1, 65536, "from 1 to 65536"),
    "lr": (_TINY, 1e6, "above 0 and at most 1e6"),
    "lr_gamma": (_TINY, 1.0, "above 0 and at most 1"),
    "lr_final": (0.0, 1e6, "from 0 to 1e6"),
    "momentum": (0.0, _BELOW_ONE, "from 0 to below 1"),
    "weight_decay": (0.0, 1e6, "from 0 to 1e6"),
    "beta1": (0.0, _BELOW_ONE, "from 0 to below 1"),
    "beta2": (0.0, _BELOW_ONE, "from 0 to below 1"),
    "epsilon": (_TINY, 1.0, "above 0 and at most 1"),
    "prune": (0.0, _BELOW_ONE, "above 0 and below 1 (0: nothing is pruned)"),
    "crop": (0, 4096, "from 0 (the network's own where the pictures need it) to 4096"),
    "train_limit": (0, 2**31, "from 0 (all) to 2147483648"),
    "seed": (0, 2**63 - 1, "from 0 to 9223372036854775807"),
    "threads": (0, 1024, "from 0 (as the environment says) to 1024"),
    "eval_batch_size": (1, 65536, "from 1 to 65536"),
    "log_every": (1, 1_000_000_000, "at least 1"),
    "checkpoint_every": (0, 1_000_000_000, "0 (once per epoch) or more"),
}


_ADAPTIVE = ("adam", "adamax", "adamax-ap2")
_READ_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "optimizer": {
        "momentum": ("sgd",),
        "nesterov": ("sgd",),
        "beta1": _ADAPTIVE,
        "beta2": _ADAPTIVE,
        "epsilon": _ADAPTIVE,
    },
    "schedule": {"lr_final": ("cosine", "exponential"), "lr_gamma": ("step",), "lr_milestones": ("step",)},
}
"""Settings that only some choices of another one read."""


def _check_keys(values: Mapping[str, Any], source: str) -> None:
    known = TrainConfig.keys()
    for key in values:
        if key not in known:
            raise ConfigError(f"{source}: {unknown_name('setting', str(key), known)}")


def _checked(field: Any, value: Any) -> Any:
    """The value in the field's type, or a ConfigError. An int is a fine float; a bool is no number."""
    kind = type(field.default)
    if kind is tuple and isinstance(value, (list, tuple)) and all(type(item) is int for item in value):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError as error:
            raise ConfigError(f"got {field.name} = a huge integer; it must be a float; write a smaller one") from error
    if type(value) is not kind:
        words = {
            "str": "text in quotes",
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "tuple": "a list of whole numbers",
        }
        raise ConfigError(
            f"got {field.name} = {value!r} of type {type(value).__name__}; it must be {words[kind.__name__]}; "
            f"the default is {_toml_value(field.default)}"
        )
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(unknown_name(field.name, str(value), choices))
    if isinstance(value, str):
        if field.name not in ("out", "init") and not value.strip():
            raise ConfigError(f"got an empty {field.name}; it must name one; the default is '{field.default}'")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(f"got {field.name} = {value!r}, which is not valid Unicode; rename it") from error
        if "\0" in value:
            raise ConfigError(f"got {field.name} = {value!r} with a NUL character; no name or path has one; remove it")
    return value


def _check_range(name: str, value: float, low: float, high: float, words: str) -> None:
    if not low <= value <= high:  # also false for NaN
        raise ConfigError(f"got {name} = {value!r}; it must be {words}; change it or leave it out for the default")


def _toml_value(value: Any) -> str:
    """One TOML value: a bool, whole number, finite float or basic string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # repr() of 1e22 is '1e+22', of 5.0 '5.0': both are TOML floats and read back to the same double.
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    # A JSON string is a TOML basic string but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
