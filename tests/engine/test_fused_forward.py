"""What the kernels of a convolution and a normalisation make for the layer behind them is what that would make itself,
whoever else looks at what is between them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from inside import at_once, inside
from same_arrays import same_arrays

from qnn import _kernels, nn, recipes
from qnn.nn.module import Module
from qnn.numerics import DFP
from qnn.operation import no_grad
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor


def write(module: Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
    np.floor_divide(out.data.ints, 2, out=out.data.ints)


class Halved(Quantizer):
    """A site that does more than its kernel."""

    def emit(self, *args: Any) -> DFP:
        found = super().emit(*args)
        np.floor_divide(found.ints, 2, out=found.ints)
        return found


class Net(nn.Module):
    """Convolution, normalisation, scale and ReLU, with a way to meddle with what lies between."""

    def __init__(self, recipe: Recipe, between: str) -> None:
        super().__init__(recipe)
        groups = 2 if between == "groups" else 1
        self.input = nn.Hardtanh(recipe)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=groups, bias=between == "a bias", recipe=recipe)
        self.norm, self.relu, self.add = nn.BatchNorm(6, recipe=recipe), nn.Relu(recipe), nn.Add(recipe)
        self.other = nn.BatchNorm(6, recipe=recipe)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        x = self.input(images)
        between = self.between
        convolved = self.conv(x)
        if between == "a look at the convolution":
            convolved.numpy()
        if between == "the convolution used twice":
            return self.add(self.norm(convolved), self.other(convolved))
        if between == "the convolution run twice":
            return self.add(self.norm(convolved), self.other(self.conv(x)))
        if between == "the convolution rectified":
            return self.relu(convolved)
        if between == "an unused convolution":
            self.conv(x)
        normalized = self.norm.normalize(convolved)
        if between == "a look at the normalised values":
            normalized.numpy()
        if between == "normalised values rectified":
            return self.relu(normalized)
        if between == "normalised values scaled twice":
            return self.add(self.norm.scale(normalized), self.other.scale(normalized))
        if between == "unused normalised values":
            self.other.normalize(convolved)
        scaled = self.norm.scale(normalized)
        if between == "a late look at the normalised values":
            normalized.numpy()
        if between == "a look at the scaled values":
            scaled.numpy()
        if between == "unused scaled values":
            self.other.scale(normalized)
        if between == "no relu":
            return self.add(scaled, scaled)
        out = self.relu(scaled)
        return self.add(out, normalized) if between == "normalised values used twice" else out


def trained(recipe: Recipe, between: str) -> dict[str, np.ndarray]:
    """Everything that four steps leave."""
    net = Net(recipe, between)
    sites = {"the convolution": net.conv, "the normalisation": net.norm.normalize, "the scale layer": net.norm.scale}
    for name, module in sites.items():
        if between == f"a site of another kind in {name}":
            module.activation = Halved("activation", module.activation.format)
        if between == f"a hook that writes on {name}":
            module.register_forward_hook(write)
    run = nn.prepare(net, seed=3)
    found: dict[str, np.ndarray] = {}
    for step in range(4):
        rng = np.random.default_rng(step)
        values = (rng.standard_normal((3, 7, 5, 4)) * 40).clip(-128, 127).astype(np.int8)
        x = Tensor(DFP(values, -6 + step % 2), requires_grad=True)
        out = net(x)
        if between == "a copy":
            net, run = copy.deepcopy((net, run))
            copied = Tensor(DFP(values, -6 + step % 2), requires_grad=True)
            out, x = net(copied), copied
        if between == "a pickle":
            pickle.loads(pickle.dumps(net))
        if between == "evaluation":
            with no_grad():
                found[f"{step} evaluated"] = net.eval()(x).data.ints
            net.train()
        out.backward(DFP(rng.integers(-128, 128, out.shape).astype(np.int8), -9))
        found |= {f"{step} out": out.data.ints, f"{step} x": x.grad.ints}
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                found[f"{step} {name}"] = parameter.grad
                parameter.data = (parameter.data - 0.01 * parameter.grad).astype(np.float32)
                parameter.zero_grad()
        run.advance()
        found |= {f"{step} {name}": np.array(str((site.exponent, site.counts))) for name, site in run.sites}
    return found | net.state_dict()


BETWEEN = [
    "nothing",
    "a bias",
    "groups",
    "a look at the convolution",
    "the convolution used twice",
    "the convolution run twice",
    "the convolution rectified",
    "an unused convolution",
    "a look at the normalised values",
    "normalised values rectified",
    "normalised values scaled twice",
    "unused normalised values",
    "a late look at the normalised values",
    "a look at the scaled values",
    "unused scaled values",
    "no relu",
    "normalised values used twice",
    *(
        f"{what} {name}"
        for what in ("a site of another kind in", "a hook that writes on")
        for name in ("the convolution", "the normalisation", "the scale layer")
    ),
    "a copy",
    "a pickle",
    "evaluation",
]
RECIPES = {
    "dfp8": recipes.dfp8,
    "stochastic activations": partial(recipes.dfp, 8, 8, 8, a_rounding="stochastic"),
    "activations of 12 bits": partial(recipes.dfp, 8, 12, 8),
    "overflow of integers": partial(recipes.dfp, 8, 8, 8, overflow="integer"),
}


@pytest.mark.clause("BN-1", "BN-5", "BN-8", "LAY-2", "LAY-6", "EXP-2", "NOI-1")
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_fused_is_one_by_one(recipe: Callable[[], Recipe], between: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = trained(recipe(), between)
    monkeypatch.setattr(Quantizer, "emit_lazily", at_once)
    separate = trained(recipe(), between)
    same_arrays(fused, separate)


def kernels_of_a_step(monkeypatch: pytest.MonkeyPatch, between: str = "nothing") -> list[str]:
    """What a step's way forward calls when all exponents have settled."""
    net = Net(recipes.dfp8(), between)
    run = nn.prepare(net, seed=3)
    x = Tensor(DFP(np.random.default_rng(1).integers(-128, 128, (3, 7, 5, 4)).astype(np.int8), -6))
    net(x)
    run.advance()
    called: list[str] = []
    call = _kernels.call
    with monkeypatch.context() as patch:
        patch.setattr(_kernels, "call", lambda name, *args: called.append(name) or call(name, *args))
        net(x)
    return called


@pytest.mark.clause("BN-1")
def test_the_sums_come_from_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    called = kernels_of_a_step(monkeypatch)
    assert called.count("conv2d_requantize") == 1
    assert "channel_sums" not in called
    assert "channel_sums" in kernels_of_a_step(monkeypatch, "a look at the convolution")


@pytest.mark.clause("BN-5", "BN-8")
def test_normalising_and_scaling_are_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for between in ("nothing", "no relu", "a look at the scaled values", "a late look at the normalised values"):
        called = kernels_of_a_step(monkeypatch, between)
        late = between.startswith("a late")
        assert [called.count(name) for name in ("normalize_scale", "normalize", "scale")] == (
            [0, 1, 1] if late else [1, 0, 0]
        )
    called = kernels_of_a_step(monkeypatch, "normalised values scaled twice")
    assert [called.count(name) for name in ("normalize_scale", "normalize", "scale")] == [1, 0, 1]


def test_an_error_has_the_name_of_the_site_where_it_happened() -> None:
    net = Net(recipes.dfp8(), "nothing")
    run = nn.prepare(net, seed=3)
    values = np.random.default_rng(1).integers(-128, 128, (3, 7, 5, 4)).astype(np.int8)
    net(Tensor(DFP(values, -6)))
    run.advance()
    call = _kernels.call

    def refuse(name: str, *args: Any) -> Any:
        if name == "normalize_scale":
            raise ValueError("got NaN")
        return call(name, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "call", refuse)
        with pytest.raises(ValueError, match=r"^site norm\.normalize\.activation \(activation\): got NaN$"):
            net(Tensor(DFP(values, -6)))
    for _, site in run.sites:
        site.forget_step()
    assert np.array_equal(net(Tensor(DFP(values, -6))).data.ints, net(Tensor(DFP(values, -6))).data.ints)


@pytest.mark.clause("EXP-2")
@pytest.mark.parametrize("backwards", [False, True])
def test_a_step_may_end_before_anybody_has_looked(backwards: bool) -> None:
    """Whichever site ends it first."""
    net = Net(recipes.dfp8(), "unused scaled values")
    run = nn.prepare(net, seed=3)
    x = Tensor(DFP(np.random.default_rng(1).integers(-128, 128, (3, 7, 5, 4)).astype(np.int8), -6))
    net(x)
    run.advance()
    with inside("a module"):
        net.norm.scale(net.norm.normalize(net.conv(x)))
    sites = [site for _, site in run.sites]
    for site in sites[::-1] if backwards else sites:
        site.advance()
    for module in (net.conv, net.norm.normalize, net.norm.scale):
        assert module.activation.counts.total == 3 * 7 * 5 * 6


def test_the_caller_may_reuse_the_batch_when_the_module_has_returned() -> None:
    """Convolutions whose results nobody has looked at are made before that, with the counts that go with them."""

    class Feature(Module):
        def __init__(self) -> None:
            super().__init__(recipes.dfp8())
            self.conv, self.aux = (nn.Conv2d(4, 6, 3, recipe=self.recipe) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            self.feature = self.aux(x)
            return self.conv(x)

    found = []
    for reuse in (False, True):
        net = Feature()
        run = nn.prepare(net, seed=1)
        for step in range(3):
            batch = np.random.default_rng(step).integers(-128, 128, (2, 6, 6, 4)).astype(np.int8)
            net(Tensor(DFP(batch, -6)))
            if reuse:
                batch[...] = 0
            run.advance()
        assert type(net.feature.data) is DFP
        found.append((net.feature.data.ints.tolist(), net.aux.activation.counts, net.aux.activation.exponent))
    assert found[0] == found[1]


def test_what_a_failed_call_left_does_not_hinder_the_next_one() -> None:
    net = nn.Sequential(nn.Conv2d(4, 6, 3, recipe=recipes.dfp8()), nn.Linear(5, 2, recipe=recipes.dfp8()))
    run = nn.prepare(net, seed=1)
    x = Tensor(DFP(np.ones((2, 6, 6, 4), np.int8), -6))
    with pytest.raises(ValueError, match="got"):
        net(x)
    run.step = run.step
    x.data.ints[...] = 0
    assert net[0](x).data.ints.shape == (2, 4, 4, 6)
    assert net[0].activation.counts is None


@pytest.mark.filterwarnings("ignore:invalid value")
def test_numbers_that_leave_float32_move_no_running_statistics() -> None:
    net = nn.BatchNorm(3, eps=1e-45, recipe=recipes.dfp8())
    run = nn.prepare(net, seed=1)
    ints = np.arange(96, dtype=np.int8).reshape(2, 4, 4, 3)
    net(Tensor(DFP(ints, -6)))
    run.advance()
    before = net.normalize.running_mean.copy()
    with pytest.raises(ValueError, match="got"):
        net(Tensor(DFP(np.full_like(ints, 5), 60)))
    assert (net.normalize.running_mean == before).all()
