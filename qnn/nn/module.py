"""Module: a tree of layers with parameters, buffers and quantisation sites, addressed by dotted names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.errors import CheckpointError
from qnn.lazy import forget_waiting, make_waiting
from qnn.numerics import DFP
from qnn.operation import HERE, Operation, current_module
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Parameter, Tensor, apply

State = dict[str, NDArray[Any]]


class Module:
    """Base class of layers and models.

    Attributes that are a :class:`Parameter`, a :class:`Quantizer`, a Module or a list of Modules are found by
    themselves; buffers
    (arrays that belong to the state but are not trained) are declared with :meth:`register_buffer`.

    Parameters
    ----------
    recipe : Recipe, optional
        Formats of the layer; float32 without one.
    """

    def __init__(self, recipe: Recipe | None = None) -> None:
        self.recipe = self.given(recipe)
        self.training = True
        self.name = ""
        self._buffers: list[str] = []
        self._hooks: list[Callable[[Module, tuple[Any, ...], Any], None]] = []
        self.gradient_sum: Quantizer | None = self.recipe.site("gradient") if self.recipe.is_integer else None

    @classmethod
    def given(cls, recipe: Recipe | None) -> Recipe:
        """The recipe as it was given, float32 without one; a TypeError for anything else, such as its name."""
        if not (recipe is None or isinstance(recipe, Recipe)):
            raise TypeError(
                f"got {recipe!r} of type {type(recipe).__name__} as recipe of {cls.__name__}; allowed is a Recipe, as "
                "qnn.recipes.dfp8() and qnn.recipes.parse('dfp8') give it"
            )
        return recipe or Recipe("fp32")

    # --- running ---
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the layer does; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        outermost = not current_module()
        if outermost:  # before anything has changed
            refuse_empty(self.label, *inputs, *options.values())
            forget_waiting()
        HERE.modules.append(self.name or type(self).__name__)
        try:
            out = self.forward(*inputs, **options)
        finally:
            HERE.modules.pop()
        if outermost or self._hooks:
            make_waiting()
        for hook in self._hooks:
            hook(self, inputs, out)
        return out

    def run(self, operation: Operation, *inputs: Tensor) -> Tensor:
        """Run an operation as part of this layer: its output carries the layer's gradient site and the recipe's
        strictness."""
        return apply(operation, *inputs, grad_site=self.gradient_sum, strict=self.recipe.strict)

    def wants_integers(self, *inputs: Tensor) -> bool:
        """Whether the integer form of the layer runs; refuses inputs that do not fit the recipe."""
        integer = self.recipe.is_integer
        for tensor in inputs:
            if isinstance(tensor.data, DFP) != integer:
                got, want = ("integers", "float32") if tensor.is_integer else ("float32", "integers")
                raise TypeError(
                    f"got {got} as input of {self.label}, whose recipe {self.recipe.name!r} works in {want}; "
                    + (
                        "put nn.ImageInput or nn.Quantize before it"
                        if integer
                        else "put nn.Dequantize before it, or give the layer an integer recipe"
                    )
                )
        return integer

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], None]) -> Callable[[], None]:
        """Call ``hook(module, inputs, output)`` after each forward; returns a function that removes the hook."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def train(self, mode: bool = True) -> Module:
        """Training mode: batch statistics, dropout, moving exponents."""
        for module in self.modules():
            module.training = mode
        for _, site in self.named_sites():
            site.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode: running statistics, no dropout, frozen exponents."""
        return self.train(False)

    # --- the tree ---
    @property
    def label(self) -> str:
        """Name and kind for messages."""
        return f"{self.name} ({type(self).__name__})" if self.name else type(self).__name__

    def children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules by attribute name, in order of definition."""
        for key, value in vars(self).items():
            if isinstance(value, Module):
                yield key, value
            elif isinstance(value, (list, tuple)):
                for index, item in enumerate(value):
                    if isinstance(item, Module):
                        yield f"{key}.{index}", item

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it; one that stands in several places comes once, by its first name."""
        return self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for key, child in self.children():
            yield from child._walk(f"{prefix}.{key}" if prefix else key, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, without names."""
        return (module for _, module in self.named_modules())

    def assign_names(self) -> None:
        """Tell this module and all below it their dotted names, for messages and tables."""
        for name, module in self.named_modules():
            module.name = name or type(self).__name__.lower()

    def _own(self, kind: type) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for key, value in vars(module).items():
                if isinstance(value, kind) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{prefix}.{key}" if prefix else key), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Trained arrays by dotted name, a shared one once."""
        return self._own(Parameter)

    def parameters(self) -> Iterator[Parameter]:
        """Trained arrays."""
        return (p for _, p in self.named_parameters())

    def named_sites(self) -> Iterator[tuple[str, Quantizer]]:
        """Quantisation sites by dotted name."""
        return self._own(Quantizer)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    # --- state ---
    def register_buffer(self, name: str, value: NDArray[np.float32]) -> None:
        """Add an array to the state that is not trained."""
        setattr(self, name, value)
        self._buffers.append(name)

    def named_buffers(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Buffers by dotted name."""
        for prefix, module in self.named_modules():
            for key in module._buffers:
                yield (f"{prefix}.{key}" if prefix else key), getattr(module, key)

    def state_dict(self) -> State:
        """Copies of parameters, buffers and site exponents by dotted name; with ``<parameter>.kept`` what is pruned."""
        state: State = {}
        for name, parameter in self.named_parameters():
            state.update((key, array.copy()) for key, array in parameter.arrays(name).items())
        state.update((name, value.copy()) for name, value in self.named_buffers())
        state.update((f"{name}.exponent", site.state()) for name, site in self.named_sites())
        return state

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what :meth:`state_dict` gave; nothing changes unless everything fits.

        What is pruned afterwards is what the state says.

        Raises
        ------
        qnn.errors.CheckpointError
            Names what is missing, unknown, of another shape or dtype, or not as this model's formats have it.
        """
        own = self.state_dict()
        for name, parameter in self.named_parameters():  # any float32 parameter may be pruned, or no longer be
            own.pop(key := f"{name}.kept", None)
            if key in state and not isinstance(parameter.data, DFP):
                own[key] = np.ones(parameter.shape, bool)
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise CheckpointError(
                f"got a state that lacks {_some(missing)} and has {_some(unknown)} which this model does not know; "
                f"it belongs to another model or recipe: "
                "build the model with the settings it was saved with"
            )
        for key, mine in own.items():
            theirs = np.asarray(state[key])
            if theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise CheckpointError(
                    f"got {theirs.dtype} {theirs.shape} for {key}; this model has {mine.dtype} {mine.shape}: build "
                    f"the model with the settings it was saved with"
                )
            if theirs.dtype == np.float32 and not np.isfinite(theirs).all():
                raise CheckpointError(
                    f"got {int((~np.isfinite(theirs)).sum())} entries that are not finite in {key}; the state is "
                    f"damaged: use another checkpoint"
                )
        try:
            for name, parameter in self.named_parameters():
                parameter.read(name, state)
            for name, site in self.named_sites():
                site.check_state(np.asarray(state[f"{name}.exponent"]))
        except ValueError as error:
            raise CheckpointError(
                f"{error}; the state is damaged or of another recipe: build the model with the settings it was saved "
                "with"
            ) from error
        for name, parameter in self.named_parameters():
            parameter.load(name, state)
        for prefix, module in self.named_modules():
            for key in module._buffers:
                setattr(module, key, np.array(state[f"{prefix}.{key}" if prefix else key]))
        for name, site in self.named_sites():
            site.load_state(np.asarray(state[f"{name}.exponent"]))

    def __repr__(self) -> str:
        inside = "".join(f"\n  {key}: " + repr(child).replace("\n", "\n  ") for key, child in self.children())
        return f"{type(self).__name__}({inside}\n)" if inside else f"{type(self).__name__}()"


class Sequential(Module):
    """Modules that run one after the other.

    Parameters
    ----------
    *layers : Module
    recipe : Recipe, optional
        Recorded for messages; each layer has its own.
    """

    def __init__(self, *layers: Module, recipe: Recipe | None = None) -> None:
        super().__init__(recipe or (layers[0].recipe if layers else None))
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(
                    f"got {type(layer).__name__} as a layer of Sequential; allowed are modules: wrap functions in a "
                    f"Module"
                )
        self.gradient_sum = None
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, index: int) -> Module:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)


def refuse_empty(label: str, *inputs: Any) -> None:
    """Refuse a batch of no samples: it has no statistics, exponents or outputs, and would pass for a result of 0."""
    for given in inputs:
        shape = (len(given),) if isinstance(given, (list, tuple)) else getattr(given, "shape", ())
        if shape[:1] == (0,):
            raise ValueError(
                f"got an empty batch, shape {tuple(shape)}, as input of {label}; allowed is at least 1 sample: "
                "leave the step out, or check how the data were selected"
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"


__all__ = ["Module", "Sequential", "State", "refuse_empty"]
