"""Integers that are made when they are asked for: the same bits, counts and noise as those made at once, however many
look at them and when."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from inside import at_once, inside
from same_arrays import same_arrays

from qnn import _kernels, nn, recipes
from qnn.lazy import Emitted, Masked
from qnn.numerics import DFP
from qnn.operation import no_grad, trace
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor

STOCHASTIC = partial(recipes.dfp, 8, 8, 8, a_rounding="stochastic")


def integers(*shape: int, seed: int = 0, exponent: int = -5) -> DFP:
    return DFP(np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8), exponent)


def scale_layer(recipe: Recipe, steps: int = 1) -> nn.Scale:
    """A layer that has seen data, so that its exponents are settled."""
    layer = nn.Scale(3, recipe)
    run = nn.prepare(layer, seed=4)
    for step in range(steps):
        layer(Tensor(integers(4, 3, seed=step)))
        run.advance()
    return layer


class Residual(nn.Module):
    """Scale and add, both before a ReLU, and in between whoever wants to look."""

    def __init__(self, recipe: Recipe, look: str) -> None:
        super().__init__(recipe)
        self.first, self.relu = nn.Hardtanh(recipe), nn.Relu(recipe)
        self.scale, self.add = nn.Scale(3, recipe), nn.Add(recipe)
        self.look = look

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images)
        scaled = self.scale(x)
        if self.look == "before":
            scaled.numpy()
        active = self.relu(scaled)
        if self.look == "after":
            scaled.numpy()
        if self.look == "unused":
            self.scale(x)
        if self.look == "out of order":
            late, early = self.scale(x), self.scale(x)
            active = self.add(early, late)
        total = self.add(active, x)
        return total if self.look == "no relu" else self.relu(total)


def trained(recipe: Recipe, look: str) -> dict[str, np.ndarray]:
    net = Residual(recipe, look)
    run = nn.prepare(net, seed=9)
    found = {}
    for step in range(4):
        x = Tensor(integers(40, 3, seed=step, exponent=-5 + step % 2), requires_grad=True)
        out = net(x)
        out.backward(integers(40, 3, seed=10 + step, exponent=-9))
        found |= {f"{step} out": out.data.ints, f"{step} x": x.grad.ints}
        found |= {f"{step} {name}": p.grad for name, p in net.named_parameters()}
        net.zero_grad()
        run.advance()
        found |= {f"{step} {name}": np.array(str(site.counts)) for name, site in run.sites}
    return found | net.state_dict()


@pytest.mark.clause("LAY-6", "LAY-2", "EXP-2", "NOI-1")
@pytest.mark.parametrize("look", ["never", "before", "after", "unused", "out of order", "no relu"])
@pytest.mark.parametrize("recipe", [recipes.dfp8, STOCHASTIC], ids=["dfp8", "stochastic activations"])
def test_late_is_as_at_once(recipe: Callable[[], Recipe], look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late = trained(recipe(), look)
    monkeypatch.setattr(Quantizer, "emit_lazily", at_once)
    once = trained(recipe(), look)
    same_arrays(late, once)


@pytest.mark.clause("LAY-2")
def test_a_relu_takes_its_integers_from_the_kernel_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One kernel call for both, and the integers between them are never there."""
    net = nn.Sequential(scale_layer(recipes.dfp8()), nn.Relu(recipes.dfp8()))
    x = Tensor(integers(4, 3))
    called: list[str] = []
    call = _kernels.call
    monkeypatch.setattr(_kernels, "call", lambda name, *args: called.append(name) or call(name, *args))
    with trace() as entries:
        out = net(x)
    scaled = entries[0].output
    assert called.count("scale") == 1
    assert "relu" not in called
    assert isinstance(scaled, Emitted)
    assert np.array_equal(out.data.ints, np.maximum(scaled.ints, 0))
    assert type(scaled) is DFP  # now that it has its integers


def test_nothing_late_leaves_the_outermost_module() -> None:
    """Arrays may be written to after a call and after backward()."""
    recipe = recipes.dfp8()
    layer, data, gradient = scale_layer(recipe), integers(4, 3), integers(4, 3, seed=1)
    wanted = scale_layer(recipe)(Tensor(integers(4, 3))).data.ints
    out = layer(Tensor(data))
    assert type(out.data) is DFP
    data.ints.fill(0)
    assert np.array_equal(out.data.ints, wanted)
    x = Tensor(integers(4, 3, seed=2), requires_grad=True)
    y = nn.Relu(recipe)(x)
    y.backward(gradient)
    assert type(x.grad) is DFP
    wanted = np.where(y.data.ints > 0, gradient.ints, 0)
    gradient.ints.fill(0)
    y.data.ints.fill(0)
    assert np.array_equal(x.grad.ints, wanted)


def test_hooks_get_plain_tensors_that_they_may_write_to() -> None:
    def hook(in_place: bool) -> Callable[[DFP], DFP | None]:
        def change(gradient: DFP) -> DFP | None:
            assert type(gradient) is DFP
            if not in_place:
                return dataclasses.replace(gradient, ints=np.where(gradient.ints > 0, gradient.ints, 0).astype(np.int8))
            np.maximum(gradient.ints, 0, out=gradient.ints)
            return None

        return change

    found = []
    for in_place in (False, True):
        norm, relu = nn.BatchNorm(3, recipe=recipes.dfp8()), nn.Relu(recipes.dfp8())
        nn.prepare(nn.Sequential(norm, relu), seed=2)
        x = Tensor(integers(9, 3), requires_grad=True)
        normalized = norm.normalize(x)
        scaled = norm.scale(normalized)
        for tensor in (normalized, scaled):
            tensor.register_hook(hook(in_place))
        relu(scaled).backward(integers(9, 3, seed=3))
        found.append(x.grad.ints)
    assert np.array_equal(*found)


@pytest.mark.clause("EXP-2")
def test_a_step_that_is_dropped_leaves_no_counts() -> None:
    layer = scale_layer(STOCHASTIC())
    with inside("a module"):
        old = layer(Tensor(integers(4, 3)))
        layer.activation.forget_step()
        again = layer(Tensor(integers(4, 3)))
    assert isinstance(old.data, Emitted)
    assert np.array_equal(old.data.ints, again.data.ints)  # the same noise addresses
    layer.activation.advance()
    assert layer.activation.counts.total == 12
    assert layer.activation._awaited == []


def test_evaluation_counts_nothing() -> None:
    layer = scale_layer(recipes.dfp8()).eval()
    with no_grad():
        assert layer(Tensor(integers(4, 3))).numpy().shape == (4, 3)
    assert layer.activation._pending is None
    assert layer.activation._awaited == []


@pytest.mark.parametrize("kind", ["emitted", "masked"])
def test_copies_are_plain_tensors(kind: str) -> None:
    with inside("a module"):
        made = scale_layer(recipes.dfp8())(Tensor(integers(4, 3))).data
    lazy = made if kind == "emitted" else Masked.by(integers(4, 3), np.array([[-1, 0, 1]] * 4, np.int8))
    assert lazy.shape == (4, 3)
    assert "shape=(4, 3)" in repr(lazy)
    copies = [copy.copy(lazy), copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy)), dataclasses.replace(lazy)]
    for copied in copies:
        assert type(copied) is DFP
        assert np.array_equal(copied.ints, lazy.ints)
        assert (copied.exponent, copied.bits) == (lazy.exponent, lazy.bits)
    assert lazy.to_float().dtype == np.float32
    with pytest.raises(AttributeError):
        lazy.exponent = 3


@pytest.mark.parametrize("kind", [Emitted, Masked])
def test_a_class_of_a_late_tensor_makes_a_plain_one(kind: type[DFP]) -> None:
    made = kind(np.ones(3, np.int8), -2, bits=8)
    assert type(made) is DFP
    assert made.exponent == -2


class Halved(Quantizer):
    """A site that does more than its kernel."""

    def emit(self, *args: Any) -> DFP:
        found = super().emit(*args)
        return DFP(found.ints // 2, found.exponent, found.bits)


def test_a_site_with_an_emit_of_its_own_keeps_it() -> None:
    layer = scale_layer(recipes.dfp8())
    usual = layer(Tensor(integers(4, 3))).data.ints
    site = layer.activation
    layer.activation = Halved("activation", site.format, exponent=site.exponent, initialised=True)
    out = nn.Sequential(layer, nn.Hardtanh(recipes.dfp8()))(Tensor(integers(4, 3)))
    assert np.array_equal(out.data.ints, np.clip(usual // 2, *limits(out.data)))


def limits(x: DFP) -> tuple[int, int]:
    one = 1 << -x.exponent
    return -one, min(one, 127)


@pytest.mark.clause("EXP-2")
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_copies_of_a_model_have_the_counts_of_what_nobody_looked_at(copied: Callable[[Any], Any]) -> None:
    layer = scale_layer(recipes.dfp8())
    with inside("a module"):
        for _ in range(3):
            layer(Tensor(integers(4, 3)))
    twin = copied(layer)
    for one in (twin, layer):
        one.activation.advance()
        assert one.activation.counts.total == 36


def test_a_hook_that_writes_meets_nobody_elses_gradient() -> None:
    recipe = recipes.dfp8()
    first, add = nn.Hardtanh(recipe), nn.Add(recipe)
    nn.prepare(nn.Sequential(first, add), seed=3)
    found = []
    for hooked in (False, True):
        x = Tensor(integers(4, 3), requires_grad=True)
        a, b = nn.Relu(recipe)(x), nn.Hardtanh(recipe)(Tensor(integers(4, 3), requires_grad=True))
        if hooked:
            b.register_hook(lambda g: g.ints.fill(0))
        add(a, b).backward(integers(4, 3, seed=1))
        found.append(x.grad.ints)
    assert np.array_equal(*found)


def test_forward_hooks_may_write_into_inputs() -> None:
    layer = scale_layer(recipes.dfp8())
    wanted = layer(Tensor(integers(4, 3))).data.ints
    layer.register_forward_hook(lambda module, inputs, out: inputs[0].data.ints.fill(0))
    outer = nn.Sequential(layer)
    assert np.array_equal(outer(Tensor(integers(4, 3))).data.ints, wanted)
