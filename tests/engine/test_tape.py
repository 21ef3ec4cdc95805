"""The tape: order, fan-out, hooks, freeing, no_grad, strictness, traces and their messages."""

from __future__ import annotations

import copy
import doctest
import pickle
import weakref

import numpy as np
import pytest

import qnn.nn.run
from qnn import extend, nn, recipes
from qnn.errors import StrictError
from qnn.extend import Operation, Quantizer, apply, check_gradients
from qnn.numerics import DFP
from qnn.operation import no_grad, trace
from qnn.quantizer import Format
from qnn.tensor import Tensor


def test_examples_in_the_docs_run() -> None:
    for module in (extend, qnn.nn.run):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


def test_deep_graphs_need_no_recursion() -> None:
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1.0
    y.backward()
    assert x.grad == 1


def test_second_backward_is_refused() -> None:
    y = Tensor([2.0], requires_grad=True) * 3.0
    y.backward()
    with pytest.raises(RuntimeError, match="second backward"):
        y.backward()


def test_traces_within_each_other_end_one_by_one() -> None:
    with trace() as outer:
        with trace() as inner:
            pass
        _ = Tensor([1.0]) + 1.0
    assert (len(outer), inner) == (1, [])
    with trace() as after:
        pass
    _ = Tensor([1.0]) + 1.0
    assert (after, len(outer)) == ([], 1)


def test_no_grad_records_nothing() -> None:
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        y = x * 2.0
    with pytest.raises(RuntimeError, match="no_grad"):
        y.backward()


def test_hooks_see_and_replace_the_whole_gradient() -> None:
    x = Tensor([1.0], requires_grad=True)
    seen: list[float] = []

    def hook(gradient: np.ndarray) -> np.ndarray:
        seen.append(float(gradient[0]))
        return gradient * 10

    remove = x.register_hook(hook)
    (x * 2.0 + x * 3.0).backward()
    assert seen == [5.0]
    assert x.grad == 50
    remove()
    x.zero_grad()
    (x * 2.0).backward()
    assert x.grad == 2


def test_retained_gradient_of_an_inner_tensor() -> None:
    x = Tensor([3.0], requires_grad=True)
    y = (x * x).retain_grad()
    (y * 2.0).backward()
    assert y.grad == 2
    assert x.grad == 12


def test_arrays_that_no_operation_keeps_go_with_their_tensors() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    y = x * 2.0
    seen = weakref.ref(y.data)
    z = y + 1.0  # a sum needs neither of its terms on the way back
    del y
    assert seen() is None
    z.backward(np.float32([1, 2, 3]))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, [2, 4, 6])


def test_backward_frees_what_it_has_passed() -> None:
    """A gradient finds room where the arrays behind it were: the tape never has all of both."""
    x = Tensor(np.ones(3), requires_grad=True)
    squares = [weakref.ref(x)]
    alive: list[int] = []
    y: Tensor = x
    for _ in range(4):
        y = y * y
        squares.append(weakref.ref(y.data))
        y.register_hook(lambda _: alive.append(sum(ref() is not None for ref in squares[1:])))
    last, y = y, x
    last.backward(np.ones(3))
    assert alive == [4, 3, 2, 1]  # the caller has the last; it goes when ``last`` does, the others in their turn
    np.testing.assert_array_equal(x.grad, [16, 16, 16])


def test_a_leaf_that_was_frozen_after_the_forward_pass_gets_no_gradient() -> None:
    x, w = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    y = x * w
    w.requires_grad = False
    y.backward(np.ones(3))
    assert w.grad is None
    np.testing.assert_array_equal(x.grad, [1, 1, 1])


def test_copies_of_a_graph_have_gradients_of_their_own() -> None:
    x = Tensor([3.0], requires_grad=True)
    y = (x * x).retain_grad()
    z = y * 2.0
    for x2, y2, z2 in (copy.deepcopy((x, y, z)), pickle.loads(pickle.dumps((x, y, z)))):
        z2.backward()
        assert (x2.grad, y2.grad) == (12, 2)
    assert (x.grad, y.grad) == (None, None)


def test_the_gradient_of_an_inner_tensor_may_be_dropped_with_it() -> None:
    x = Tensor([3.0], requires_grad=True)
    y = x * x
    y.retain_grad()
    z = y * 2.0
    del y
    z.backward()
    assert x.grad == 12


@pytest.mark.parametrize("bad", ["text", [object()], np.array(["a"])])
def test_odd_data_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="allowed are numbers"):
        Tensor(bad)


def test_shape_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\) for `add`"):
        Tensor([1.0, 2.0]) + Tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="one element"):
        Tensor([1.0, 2.0], requires_grad=True).backward()
    with pytest.raises(ValueError, match=r"NHWC|allowed is"):
        nn.Conv2d(3, 4, 3)(Tensor(np.zeros((1, 8, 8, 1))))
    with pytest.raises(ValueError, match="flatten"):
        nn.Linear(4, 2)(Tensor(np.zeros((2, 2, 2))))


def test_a_wrong_backward_is_found_by_the_checker() -> None:
    class Wrong(Operation):
        name = "wrong"

        def forward(self, x: np.ndarray) -> np.ndarray:
            return x * x

        def backward(self, gradient: np.ndarray) -> tuple[np.ndarray]:
            return (gradient,)

    with pytest.raises(ValueError, match="differences say"):
        check_gradients(lambda x: apply(Wrong(), x), np.float32([1.0, 2.0]))


def integer_tensor(strict: bool) -> Tensor:
    return Tensor(DFP(np.array([[1, -2, 3]], np.int8), -2, 8), strict=strict)


@pytest.mark.parametrize("operation", [lambda t: t + 1.0, lambda t: t.exp(), lambda t: t @ Tensor(np.ones((3, 1)))])
def test_strict_names_the_operation_that_leaves_integers(operation: object) -> None:
    with pytest.raises(StrictError, match=r"`(add|exp|matmul)`.*work"):
        operation(integer_tensor(strict=True))
    assert not operation(integer_tensor(strict=False)).is_integer


def test_strict_names_the_module() -> None:
    class Leaky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2.0

    recipe = recipes.dfp8()
    net = nn.Sequential(nn.Quantize(recipe), nn.Linear(3, 3, recipe=recipe), Leaky(recipe))
    nn.prepare(net, seed=1)
    with pytest.raises(StrictError, match=r"`multiply` in layers\.2"):
        net(Tensor(np.ones((1, 3))))


def test_without_strict_integers_may_be_left_and_the_gradient_comes_back_as_integers() -> None:
    recipe = recipes.dfp(strict=False)
    net = nn.Sequential(nn.Quantize(recipe), nn.Linear(3, 2, recipe=recipe))
    nn.prepare(net, seed=1)
    y = net(Tensor(np.float32([[1, 2, 3]])))
    assert y.is_integer
    (y * y).sum().backward()
    assert net[1].weight.grad is not None
    assert np.abs(net[1].weight.grad).max() > 0


def test_modules_refuse_the_other_kind_of_input() -> None:
    recipe = recipes.dfp8()
    with pytest.raises(TypeError, match=r"put nn.ImageInput or nn.Quantize"):
        nn.Linear(3, 2, recipe=recipe)(Tensor(np.ones((1, 3))))
    with pytest.raises(TypeError, match="Dequantize"):
        nn.Linear(3, 2)(integer_tensor(strict=False))


def test_trace_lists_operations_with_formats() -> None:
    recipe = recipes.dfp8()
    net = nn.Sequential(nn.Quantize(recipe), nn.Linear(3, 2, recipe=recipe), nn.Relu(recipe))
    nn.prepare(net, seed=1)
    with trace() as entries:
        net(Tensor(np.ones((4, 3))))
    assert [e.name for e in entries] == ["quantize", "linear", "relu"]
    assert entries[1].module == "layers.1"
    assert entries[1].input_formats[1].startswith("2x3 int8")
    assert entries[1].cost["macs"] == 24


def test_unprepared_stochastic_site_says_prepare() -> None:
    site = Quantizer("gradient", Format(8, "stochastic"))
    with pytest.raises(RuntimeError, match="prepare"):
        site.quantize(np.ones(3, np.float32))


def test_changed_weights_without_advance_are_refused() -> None:
    recipe = recipes.dfp8()
    net = nn.Sequential(nn.Quantize(recipe), nn.Linear(3, 2, recipe=recipe))
    run = nn.prepare(net, seed=1)
    x = Tensor(np.ones((1, 3)))
    net(x)
    net[1].weight.data = net[1].weight.data * 2
    with pytest.raises(RuntimeError, match=r"run\.advance"):
        net(x)
    run.advance()
    net(x)


def test_parameter_counts_its_versions() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.version
    layer.weight.data = np.zeros((2, 2), np.float32)
    assert layer.weight.version == before + 1
