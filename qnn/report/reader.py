"""Reads a run folder into a :class:`~qnn.report.view.RunView`; a missing or broken part becomes a note on the page."""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.pictures import Images
from qnn.errors import QnnError, RunError
from qnn.numerics import DFP
from qnn.report.markup import short_name
from qnn.report.restore import Restored, restore, weights_of
from qnn.report.view import RunView, SiteTrace, WeightHistogram, WorstExample
from qnn.training.runs import CONFIG, EVALUATION, METRICS, TRACES, RunFolder

RUNTIME = "runtime.json"
BINS = 64
_ENDINGS = {
    "weight_site": "",
    "bias_site": "bias",
    "activation": "",
    "gradient": "",
    "gradient_sum": "sum",
    "input": "",
}


def read_run(path: str | Path) -> RunView:
    """Everything the report shows about a run.

    Parameters
    ----------
    path : path-like
        The run folder.

    Raises
    ------
    RunError
        If it is no run folder.
    ConfigError
        If its ``config.toml`` cannot be read.
    """
    folder = RunFolder(path)
    config = folder.config()
    shown = {key: value for key, value in config.to_dict().items() if key != "out"}
    text = (folder.path / CONFIG).read_text(encoding="utf-8")
    view = RunView(folder.path, folder.path.resolve().name, shown, text)
    _events(view, folder)
    restored = _checkpoint(view, folder, config.seed)
    _traces(view, folder, restored)
    _evaluation(view, folder)
    return view


def _events(view: RunView, folder: RunFolder) -> None:
    if not (folder.path / METRICS).exists():
        return
    try:
        events = folder.events()
    except RunError as error:
        view.notes.append(str(error))
        return
    for event in events:
        _take(view, event)
    runtime = _json_file(folder.path / RUNTIME, view)
    view.runtime.update({key: value for key, value in runtime.items() if key not in view.runtime})
    if view.seconds is None and view.epochs:
        view.seconds = sum(_number(epoch.get("seconds")) or 0.0 for epoch in view.epochs)


def _take(view: RunView, event: dict[str, Any]) -> None:
    """Put one event of ``metrics.jsonl`` where it belongs."""
    kind = event.get("kind")
    if kind == "start":
        keys = ("kernels", "threads", "n_train", "n_test", "parameters", "total_steps")
        view.runtime.update({key: event[key] for key in keys if key in event})
        view.classes = [str(name) for name in event.get("classes", [])]
        view.steps_per_epoch = int(event.get("steps_per_epoch", 0))
        view.covered = bool(event.get("covered", True))
    elif kind == "step":
        for target, key in ((view.loss, "loss"), (view.lr, "lr")):
            value = _number(event.get(key))
            if value is not None:
                target.append((float(event.get("step", 0)), value))
    elif kind == "epoch":
        view.epochs.append(event)
        view.digest = event.get("digest", view.digest)
        view.test_accuracy, view.test_loss = _number(event.get("test_accuracy")), _number(event.get("test_loss"))
        view.images_per_second = _number(event.get("images_per_second"))
    elif kind == "note":
        view.notes.append(str(event.get("message", "")))
    elif kind == "interrupt":
        view.digest = event.get("digest", view.digest)
    elif kind == "end":
        view.finished = True
        view.digest = event.get("digest", view.digest)
        view.test_accuracy, view.test_loss = _number(event.get("test_accuracy")), _number(event.get("test_loss"))
        view.seconds = _number(event.get("seconds"))
        view.images_per_second = _number(event.get("images_per_second"))


def _number(value: Any) -> float | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if ok else None


def _json_file(path: Path, view: RunView) -> dict[str, Any]:
    """The object in a JSON file; empty when there is none, with a note when it is broken."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        view.notes.append(f"cannot read {path.name}: {error}")
        return {}
    return content if isinstance(content, dict) else {}


def _checkpoint(view: RunView, folder: RunFolder, seed: int) -> Restored | None:
    if not folder.checkpoint.exists() and not folder.previous.exists():
        return None
    try:
        restored = restore(folder.path, seed)
        if restored.note:
            view.notes.append(restored.note)
        view.classes = restored.classes
        view.weights = [_histogram(*item) for item in weights_of(restored.model)]
        view.layers = _layers(restored)
    except QnnError as error:
        view.notes.append(str(error))
        return None
    return restored


def _histogram(name: str, module: Any, master: Any) -> WeightHistogram:
    """Counts of master values and of integer codes in the same bins; without masters, those of the codes twice."""
    copy = master.data if isinstance(master.data, DFP) else module.weight_site.parameter(master)
    half = 2 ** (copy.bits - 1)
    bins = min(BINS, 2 * half)
    real = copy.to_float() if copy is master.data else master.data
    values = np.ldexp(np.asarray(real, np.float64).ravel(), -copy.exponent)
    codes = np.asarray(copy.ints).ravel().astype(np.int64)
    floats, _ = np.histogram(values, bins, (-half, half))
    counted, _ = np.histogram(codes, bins, (-half, half))
    clipped = int(np.count_nonzero((values < -half) | (values >= half)))
    label = place(name, {name: type(module).__name__})
    shape = tuple(int(n) for n in master.data.shape)
    return WeightHistogram(label, shape, copy.bits, copy.exponent, floats, counted, len(np.unique(codes)), clipped)


def _layers(restored: Restored) -> list[dict[str, Any]]:
    """The rows of the model's summary table for a batch of one."""
    from qnn import nn

    summary = nn.summarize(restored.model, np.zeros((1, *restored.input_shape), np.uint8))
    restored.model.eval()
    return [vars(row) for row in summary.rows]


def _traces(view: RunView, folder: RunFolder, restored: Restored | None) -> None:
    if not (folder.path / TRACES).exists():
        return
    try:
        traces = folder.traces()
    except RunError as error:
        view.notes.append(str(error))
        return
    known = dict(restored.sites) if restored is not None else {}
    kinds = (
        {name: type(module).__name__ for name, module in restored.model.named_modules()} if restored is not None else {}
    )
    for i, (name, role, bits) in enumerate(zip(traces.sites, traces.roles, traces.bits, strict=True)):
        site = known.get(name)
        trace = SiteTrace(
            name,
            role,
            traces.steps,
            exponents=traces.exponents[:, i],
            overflow=traces.overflow[:, i],
            saturated=traces.saturated[:, i],
            total=traces.total[:, i],
            bits=bits,
        )
        if site is not None:
            trace.rounding, trace.stream = site.format.rule_name, site.stream
        view.sites.append(trace)
    _label(view.sites, kinds)


def place(name: str, kinds: dict[str, str]) -> str:
    """A readable name of a module: its place, and its kind where the place is only a number."""
    short = "loss" if name == "crossentropyloss" else short_name(name)
    return f"{short} {kinds.get(name, '')}".strip() if short.rpartition(".")[2].isdigit() or not short else short


def _label(sites: list[SiteTrace], kinds: dict[str, str]) -> None:
    """Readable names for pictures: place and kind of the module, the part of it only where two would be alike."""
    for group in {site.group for site in sites}:
        members = [site for site in sites if site.group == group]
        bases = []
        for site in members:
            owner, _, part = site.name.rpartition(".")
            bases.append((place(owner, kinds) or site.name, _ENDINGS.get(part, part)))
        for site, (base, ending) in zip(members, bases, strict=True):
            twin = sum(base == other for other, _ in bases) > 1
            site.label = f"{base} {ending}".strip() if twin and ending else base


def _evaluation(view: RunView, folder: RunFolder) -> None:
    content = _json_file(folder.path / EVALUATION, view)
    if not content:
        return
    try:
        classes = [str(name) for name in content["classes"]]
        confusion = np.array(content["confusion"], np.int64).reshape(len(classes), len(classes))
        worst = [_example(item, classes) for item in content.get("worst", [])]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        view.notes.append(f"{EVALUATION} cannot be read ({error})")
        return
    view.classes, view.confusion, view.worst = classes, confusion, worst


def _example(item: dict[str, Any], classes: list[str]) -> WorstExample:
    truth, said = classes[int(item["label"])], classes[int(item["predicted"])]
    return WorstExample(int(item["index"]), truth, said, float(item["loss"]), _pixels(item.get("image")))


def _pixels(stored: Any) -> NDArray[np.uint8] | None:
    """The picture stored with a worst example (see :func:`add_pictures`), or None."""
    if not isinstance(stored, dict):
        return None
    try:
        shape = tuple(int(n) for n in stored["shape"])
        flat = np.frombuffer(base64.b64decode(stored["pixels"], validate=True), np.uint8)
        return flat.reshape(shape)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None


def add_pictures(folder: RunFolder, images: Images) -> None:
    """Store the pixels of the worst examples in ``evaluation.json``, so that the report needs nothing but the folder.

    Each entry of ``worst`` gets ``image``: ``{"shape": [H, W, C], "pixels": base64 of the uint8 bytes in C order}``.

    Parameters
    ----------
    folder : RunFolder
        A finished run.
    images : uint8 [N, H, W, C] or Pictures
        Its test set.
    """
    content = folder.evaluation()
    for item in content.get("worst", []):
        image = np.ascontiguousarray(images[int(item["index"])])
        item["image"] = {"shape": list(image.shape), "pixels": base64.b64encode(image.tobytes()).decode("ascii")}
    folder.write_evaluation(content)
