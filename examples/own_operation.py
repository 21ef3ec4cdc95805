"""Add an operation of your own, in float32 and in integers: leaky relu with slope 1/8.

    python examples/own_operation.py

Three parts: the float form with its gradient (checked against differences), the integer form (exact, then one rounding
per direction), and a module that owns the two quantisation sites and picks the form by its recipe. The last lines train
a net with it on two kernel paths and compare the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import qnn
from qnn import DFP, Quantizer, Tensor, nn
from qnn.extend import Operation, apply, check_gradients


class LeakyReluFloat(Operation):
    """x where x > 0, else x/8."""

    name = "leaky_relu"

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self.slope = np.where(x > 0, np.float32(1), np.float32(0.125))
        return x * self.slope

    def backward(self, gradient: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return (gradient * self.slope,)


class LeakyReluInteger(Operation):
    """The same on integers: 8q or q at an exponent that is 3 lower is exact; the site rounds it once and counts.

    Parameters
    ----------
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.

    Bit-exactness: clause REQ-1.
    """

    name = "leaky_relu"

    def __init__(self, output: Quantizer, gradient: Quantizer) -> None:
        self.output, self.gradient = output, gradient

    def forward(self, x: DFP) -> DFP:
        self.factor = np.where(x.ints > 0, np.int32(8), np.int32(1))
        return self.output.requantize(x.ints * self.factor, x.exponent - 3)

    def backward(self, gradient: DFP) -> tuple[DFP, ...]:
        return (self.gradient.requantize(gradient.ints * self.factor, gradient.exponent - 3),)


class LeakyRelu(nn.Module):
    """Leaky relu as a layer: an attribute that is a Quantizer is found, named and given a noise stream by itself."""

    def __init__(self, recipe: qnn.recipes.Recipe) -> None:
        super().__init__(recipe)
        if recipe.is_integer:
            self.activation = recipe.site("activation")
            self.gradient = recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        integer = self.wants_integers(x)
        return self.run(LeakyReluInteger(self.activation, self.gradient) if integer else LeakyReluFloat(), x)


def train(kernels: str, steps: int = 20) -> tuple[float, bytes]:
    """Train a small net on the digits; its last loss and all its weights as bytes."""
    data, recipe = qnn.data.load("digits"), qnn.recipes.dfp8()
    model = nn.Sequential(
        nn.ImageInput(data.mean, data.std, recipe),
        nn.Flatten(recipe),
        nn.Linear(64, 32, recipe=recipe),
        LeakyRelu(recipe),
        nn.Linear(32, 10, recipe=recipe, init="glorot"),
    )
    criterion = nn.CrossEntropyLoss(recipe)
    run = nn.prepare(model, criterion, seed=1)
    optimizer = qnn.optim.SGD(model.named_parameters(), momentum=0.9)
    with qnn.use_kernels(kernels), qnn.data.batches(data, 64, seed=1, epoch=0) as batches:
        for images, labels, _ in batches:
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step(lr=0.05)
            optimizer.zero_grad()
            run.advance()
            if run.step == steps:
                break
    return loss.item(), b"".join(p.numpy().tobytes() for p in model.parameters())


def main() -> None:
    """Check the gradients, compare the two forms, train on two paths."""
    check_gradients(lambda x: apply(LeakyReluFloat(), x), np.array([-2.0, -0.5, 0.5, 3.0], np.float32))
    print("float gradients agree with differences")

    layer = LeakyRelu(qnn.recipes.dfp8())
    x = Tensor(DFP(np.array([-128, -9, 0, 5, 127], np.int8), exponent=-5))
    print(f"{x.numpy().tolist()}\nbecome {layer(x).numpy().tolist()} in 8 bits")

    fast = qnn.available_kernels()[0]
    (loss, weights), (_, same) = train(fast), train("reference")
    print(
        f"loss after 20 steps: {loss:.6f}; weights on {fast} and reference: {'equal' if weights == same else 'DIFFER'}"
    )


if __name__ == "__main__":
    main()
