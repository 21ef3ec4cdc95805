"""Integer training steps of the engine equal a slow independent version, bit for bit; and parts of a batch add up
exactly."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from slow import Site, matmul

from qnn import nn, recipes
from qnn.numerics import sgd, softmax_cross_entropy
from qnn.quantizer import Quantizer
from qnn.tensor import Tensor

LR, MOMENTUM, SEED = 0.1, 0.9, 11


def fractions(array: np.ndarray) -> list[Fraction]:
    return [Fraction(float(v)) for v in array.reshape(-1)]


def grid(ints: list[int], width: int) -> list[list[int]]:
    return [ints[i : i + width] for i in range(0, len(ints), width)]


def real(rows: list[list[int]], exponent: int) -> list[Fraction]:
    return [v * Fraction(2) ** exponent for row in rows for v in row]


class SlowNet:
    """linear(5, 4) - relu - linear(4, 3) - cross-entropy in exact arithmetic with the engine's stream numbers."""

    def __init__(self, net: nn.Sequential, criterion: nn.Module) -> None:
        def site(s: Quantizer) -> Site:
            return Site(s.stream, SEED, s.rounding.name == "STOCHASTIC", s.bits)

        one, two = net[1], net[3]
        self.input = site(net[0].input)
        self.w = [site(one.weight_site), site(two.weight_site)]
        self.b = [site(one.bias_site), site(two.bias_site)]
        self.out = [site(one.activation), site(two.activation)]
        self.back = [site(one.gradient), site(two.gradient)]
        self.loss = site(criterion.gradient)
        self.masters = [one.weight.data, one.bias.data, two.weight.data, two.bias.data]
        self.velocity = [np.zeros_like(m) for m in self.masters]

    def layer(
        self, k: int, x: list[list[int]], ex: int, step: int
    ) -> tuple[list[list[int]], int, list[list[int]], int]:
        weight, bias = self.masters[2 * k], self.masters[2 * k + 1]
        w, ew = self.w[k].quantize(fractions(weight), step)
        rows = grid(w, weight.shape[1])
        b, eb = self.b[k].quantize(fractions(bias), step, at_least=ex + ew)
        acc = matmul(x, [list(c) for c in zip(*rows, strict=True)])
        acc = [[v + bj * 2 ** (eb - ex - ew) for v, bj in zip(row, b, strict=True)] for row in acc]
        y, ey = self.out[k].quantize(real(acc, ex + ew), step)
        return grid(y, weight.shape[0]), ey, rows, ew

    def step(self, x: np.ndarray, labels: np.ndarray, step: int) -> int:
        q, ex = self.input.quantize(fractions(x), step)
        x0 = grid(q, x.shape[1])
        y1, e1, w1, _ = self.layer(0, x0, ex, step)
        x1 = [[max(v, 0) for v in row] for row in y1]
        y2, e2, w2, ew2 = self.layer(1, x1, e1, step)
        logits = np.array([[float(v * Fraction(2) ** e2) for v in row] for row in y2], np.float32)
        losses, slope = softmax_cross_entropy(logits, labels)
        g, eg = self.loss.quantize(fractions(slope), step)
        g2 = grid(g, len(w2))
        dx, edx = self.back[1].quantize(real(matmul(g2, w2), eg + ew2), step)
        g1 = [
            [v if a > 0 else 0 for v, a in zip(r, row, strict=True)]
            for r, row in zip(grid(dx, len(w1)), x1, strict=True)
        ]
        self.update(2, g2, eg, x1, e1)
        self.update(0, g1, edx, x0, ex)
        for site in [self.input, *self.w, *self.b, *self.out, self.back[1], self.loss]:
            site.advance()
        return int(losses.sum())

    def update(self, k: int, g: list[list[int]], eg: int, x: list[list[int]], ex: int) -> None:
        columns = [list(c) for c in zip(*g, strict=True)]
        dw = np.array(matmul(columns, x), np.int64).astype(np.float32) * np.float32(2.0 ** (eg + ex))
        db = np.array([sum(c) for c in columns], np.int64).astype(np.float32) * np.float32(2.0**eg)
        for i, gradient in ((k, dw), (k + 1, db)):
            self.masters[i], self.velocity[i] = sgd(self.masters[i], gradient, self.velocity[i], LR, MOMENTUM)


def fast_net(recipe: recipes.Recipe) -> tuple[nn.Sequential, nn.Module, nn.Run]:
    layers = [nn.Quantize(recipe), nn.Linear(5, 4, recipe=recipe), nn.Relu(recipe)]
    net = nn.Sequential(*layers, nn.Linear(4, 3, recipe=recipe.last_layer()))
    criterion = nn.CrossEntropyLoss(recipe)
    return net, criterion, nn.prepare(net, criterion, seed=SEED)


def batches(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(4)
    scale = [1.0, 40.0, 0.01]  # so that exponents really move
    return [
        ((random.standard_normal((size, 5)) * scale[i % 3]).astype(np.float32), random.integers(0, 3, size))
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "recipe",
    ["dfp8", "dfp(w=4, a=6, g=5)", "dfp(w=8, a=8, g=8, last_bits=16)", "dfp(w=3, a=2, g=12)"],
)
def test_steps_equal_the_slow_version(recipe: str) -> None:
    net, criterion, run = fast_net(recipes.parse(recipe))
    slow = SlowNet(net, criterion)
    parameters = [p for _, p in net.named_parameters()]
    velocity = [np.zeros_like(p.data) for p in parameters]
    for step, (x, labels) in enumerate(batches(12, 7)):
        criterion(net(Tensor(x)), labels).backward()
        assert criterion.last.loss_sum == slow.step(x, labels, step), f"loss of step {step}"
        for i, p in enumerate(parameters):
            p.data, velocity[i] = sgd(p.data, p.grad, velocity[i], LR, MOMENTUM)
            p.zero_grad()
            assert np.array_equal(p.data, slow.masters[i]), f"parameter {i} after step {step}"
        run.advance()


def test_parts_of_a_batch_give_the_bits_of_the_whole() -> None:
    """After the first step (which fixes exponents) a batch may be cut anywhere (no batch norm in this net)."""
    grads = []
    for cuts in ([8], [3, 8], [1, 2, 5, 8]):
        net, criterion, run = fast_net(recipes.dfp8())
        (x, labels), (x2, labels2) = batches(2, 8)
        criterion(net(Tensor(x)), labels).backward()
        run.advance()
        net.zero_grad()
        start = 0
        for end in cuts:
            criterion(net(Tensor(x2[start:end])), labels2[start:end], total=8).backward()
            start = end
        run.advance()
        grads.append([p.grad for p in net.parameters()] + [np.array(s.exponent) for _, s in run.sites])
    for other in grads[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(grads[0], other, strict=True))


def test_evaluation_moves_nothing() -> None:
    net, criterion, run = fast_net(recipes.dfp8())
    (x, labels), (x2, _) = batches(2, 8)
    criterion(net(Tensor(x)), labels).backward()
    run.advance()
    before = net.state_dict()
    net.eval()
    whole = net(Tensor(x2)).data
    parts = [net(Tensor(x2[i : i + 3])).data for i in range(0, 8, 3)]
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before)
    assert np.array_equal(whole.ints, np.concatenate([p.ints for p in parts]))


def test_site_exponents_replay_from_their_counts() -> None:
    from qnn.numerics import next_exponent

    net, criterion, run = fast_net(recipes.dfp8())
    trace: dict[str, list[tuple[int, object]]] = {}
    for x, labels in batches(6, 4):
        criterion(net(Tensor(x)), labels).backward()
        used = {name: site.exponent for name, site in run.sites if site.initialised}
        run.advance()
        net.zero_grad()
        for name, site in run.sites:
            if site.counts is not None and name in used:
                trace.setdefault(name, []).append((used[name], site.counts))
    assert len(trace) == 7  # all but the two biases, still zero, and the first layer's input gradient
    for name, rows in trace.items():
        for (exponent, counts), (following, _) in itertools.pairwise(rows):
            assert next_exponent(counts, exponent) == following, name
