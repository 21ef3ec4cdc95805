"""Nets that threads of one process train beside each other have the bits of nets trained alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

import qnn
from qnn import nn
from qnn.operation import is_recording, no_grad, trace
from qnn.tensor import Tensor


@pytest.fixture
def quick_turns() -> Iterator[None]:
    """Threads take turns after a few instructions, not after a twentieth of a second."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def side_by_side(work: list[Callable[[], None]]) -> None:
    """Run everything at once, and raise what anything raised."""
    raised: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def train(seed: int, recipe: str) -> dict[str, bytes]:
    model = qnn.models.build(
        "resnet20", recipe=recipe, input_shape=(8, 8, 3), classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, seed=seed
    )
    loss = nn.CrossEntropyLoss(model.recipe)
    optimizer = qnn.optim.SGD(model.named_parameters())
    run = nn.prepare(model, loss, seed=seed)
    random = np.random.default_rng(seed)
    for _ in range(3):
        loss(model(random.integers(0, 256, (2, 8, 8, 3), np.uint8)), np.arange(2)).backward()
        optimizer.step(0.1)
        optimizer.zero_grad()
        run.advance()
    return {name: values.tobytes() for name, values in model.state_dict().items()}


@pytest.mark.parametrize("recipe", ["dfp8", "bnn"])
def test_nets_in_threads_have_the_bits_of_nets_alone(recipe: str, quick_turns: None) -> None:
    alone = [train(seed, recipe) for seed in range(3)]
    found: dict[int, dict[str, bytes]] = {}

    def task(seed: int) -> None:
        found[seed] = train(seed, recipe)

    for _ in range(2):
        found.clear()
        side_by_side([partial(task, seed) for seed in range(3)])
        assert [found[seed] for seed in range(3)] == alone


def test_what_a_thread_records_is_its_own() -> None:
    x = Tensor([1.0], requires_grad=True)
    seen: list[bool] = []
    with no_grad(), trace() as entries:
        side_by_side([lambda: seen.append(is_recording()), lambda: (x * 2.0).backward()])
        assert not is_recording()
    assert seen == [True]
    assert entries == []
    assert x.grad == 2
