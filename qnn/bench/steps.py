"""What a process of its own runs for ``train`` and ``inference``: one step of one variant, and facts about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn.bench.shapes import NETS

__all__ = ["Spec", "make"]

Step = Callable[[], Any]
BATCHES = 4  # different ones, used in turn
LR, MOMENTUM, WEIGHT_DECAY = 0.001, 0.9, 1e-4


@dataclass(frozen=True)
class Spec:
    """One variant in one process.

    Parameters
    ----------
    job : "train" or "infer"
    variant : str
        Such as ``qnn dfp8`` or ``torch fp32``.
    net : str
    batch : int
    threads : int
    path : str
        Kernel path of qnn.
    width, depth : int
        Of the networks whose growth is measured; 0 for the network as it is.
    """

    job: str
    variant: str
    net: str
    batch: int
    threads: int
    path: str = ""
    width: int = 0
    depth: int = 0


@dataclass
class Made:
    """A step, a checksum to call after two steps (or None), and facts for the table."""

    step: Step
    checksum: Callable[[], str] | None
    about: dict[str, Any] = field(default_factory=dict)


def make(spec: Spec) -> Made:
    """Build the variant."""
    side, _, rest = spec.variant.partition(" ")
    if side == "qnn":
        return _qnn_train(spec, rest) if spec.job == "train" else _qnn_infer(spec, rest)
    if side == "ORT":
        from qnn.bench import peers_ort

        return Made(peers_ort.resnet20(spec.batch, spec.threads, rest == "int8"), None)
    return _torch_train(spec, rest) if spec.job == "train" else _torch_infer(spec, rest)


def _qnn_model(spec: Spec, recipe: str) -> Any:
    import qnn
    from qnn.models.mlp import MLP
    from qnn.models.resnet import ResNet

    shape = NETS[spec.net].shape
    channels = shape[2]
    mean, std = (0.5,) * channels, (0.25,) * channels
    model = qnn.models.build(spec.net, recipe=recipe, input_shape=shape, classes=10, mean=mean, std=std, seed=1)
    if not spec.width and not spec.depth:
        return model
    chosen = model.recipe
    front = qnn.nn.ImageInput(mean, std, chosen)
    grown: Any
    if spec.width:
        grown = MLP(shape[0] * shape[1] * channels, 10, chosen, front, hidden=(spec.width, spec.width))
    else:
        grown = ResNet(spec.depth, shape, 10, chosen, front)
    qnn.nn.initialize(grown, seed=1)
    grown.assign_names()
    return grown


def _use(spec: Spec) -> None:
    import qnn

    qnn.set_num_threads(spec.threads)
    if spec.path:
        qnn.use_kernels(spec.path)


def _images(spec: Spec) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCHES, spec.batch, *NETS[spec.net].shape), np.uint8)
    return images, random.integers(0, 10, (BATCHES, spec.batch))


def _qnn_train(spec: Spec, recipe: str) -> Made:
    import qnn

    _use(spec)
    model = _qnn_model(spec, recipe)
    criterion = qnn.nn.CrossEntropyLoss(model.recipe)
    optimizer = qnn.optim.SGD(model.named_parameters(), momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    run = qnn.nn.prepare(model, criterion, seed=1)
    images, labels = _images(spec)

    def step() -> None:
        turn = run.step % BATCHES
        criterion(model(images[turn]), labels[turn]).backward()
        optimizer.step(LR)
        optimizer.zero_grad()
        run.advance()

    def checksum() -> str:
        state = hashlib.blake2b(digest_size=8)
        for name, parameter in sorted(model.named_parameters()):
            state.update(name.encode() + np.ascontiguousarray(parameter.data).tobytes())
        return state.hexdigest()

    count = sum(parameter.size for parameter in model.parameters())
    return Made(step, checksum if recipe != "fp32" else None, {"parameters": count})


def _qnn_infer(spec: Spec, recipe: str) -> Made:
    import qnn

    _use(spec)
    recipe, _, form = recipe.partition(" ")
    model = _qnn_model(spec, recipe)
    qnn.nn.prepare(model, seed=1)
    images, _ = _images(spec)
    model(images[0])  # one batch in training mode: exponents and statistics that the evaluation then uses
    model.eval()
    frozen = qnn.inference.freeze(model, images[0][:1]) if form == "frozen" else None

    def step() -> Any:
        if frozen is not None:
            return frozen(images[0])
        with qnn.no_grad():
            return model(images[0]).numpy()

    def checksum() -> str:
        return hashlib.blake2b(np.ascontiguousarray(step()).tobytes(), digest_size=8).hexdigest()

    return Made(step, checksum if recipe != "fp32" else None)


def _torch_model(spec: Spec, kind: str) -> tuple[Any, Callable[[Any], Any]]:
    import torch

    from qnn.bench import nets_torch

    torch.set_num_threads(spec.threads)
    torch.manual_seed(0)
    wrap: Callable[[Any], Any] = lambda sgd: sgd  # noqa: E731 - a default for what follows
    if "fake" in kind:
        model = nets_torch.dfp8_layers(spec.net)
    elif "QPyTorch" in kind:
        model, wrap = nets_torch.qpytorch_layers(spec.net)
    else:
        model = nets_torch.build(spec.net)
    if kind != "fp32" and spec.net != "mlp":
        model = model.to(memory_format=torch.channels_last)
    return model, wrap


def _torch_batches(spec: Spec, kind: str) -> Any:
    import torch

    height, width, channels = NETS[spec.net].shape
    images = [torch.randn(spec.batch, channels, height, width) for _ in range(BATCHES)]
    if kind != "fp32" and spec.net != "mlp":
        images = [x.contiguous(memory_format=torch.channels_last) for x in images]
    return images


def _torch_train(spec: Spec, kind: str) -> Made:
    import torch
    from torch.nn import functional

    model, wrap = _torch_model(spec, kind)
    images = _torch_batches(spec, kind)
    labels = [torch.randint(0, 10, (spec.batch,)) for _ in range(BATCHES)]
    sgd = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    optimizer = wrap(sgd)
    run: Any = torch.compile(model) if "compile" in kind else model
    half, turn = "bf16" in kind, 0

    def step() -> None:
        nonlocal turn
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = functional.cross_entropy(run(images[turn]).float(), labels[turn])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        turn = (turn + 1) % BATCHES

    return Made(step, None, {"parameters": sum(parameter.numel() for parameter in model.parameters())})


def _torch_infer(spec: Spec, kind: str) -> Made:
    import torch

    model, _ = _torch_model(spec, kind)
    model.eval()
    images = _torch_batches(spec, kind)
    run: Any = torch.compile(model) if "compile" in kind else model

    def step() -> Any:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in kind):
            return run(images[0])

    return Made(step, None)
