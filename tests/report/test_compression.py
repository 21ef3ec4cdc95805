"""Sizes and moments: Huffman laws, sparse storage by hand, pruning, and the moments of levels."""

from __future__ import annotations

import itertools
import json
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qnn
from qnn import nn
from qnn.errors import CheckpointError
from qnn.nn import prune
from qnn.numerics import keep, unpruned
from qnn.report.compression import INDEX_BITS, _size, huffman_lengths, layer_sizes, moments, total


def net(recipe: str) -> Any:
    return qnn.models.build(
        "digits-cnn", recipe=recipe, input_shape=(8, 8, 1), classes=10, mean=(0.3,), std=(0.4,), seed=1
    )


@given(st.dictionaries(st.integers(-8, 8), st.integers(1, 1000), min_size=2))
def test_a_huffman_code_is_full_and_within_a_bit_of_the_entropy(counts: dict[int, int]) -> None:
    lengths = huffman_lengths(counts)
    assert sum(Fraction(1, 2**n) for n in lengths.values()) == 1, "Kraft: decodable, and nothing to spare"
    n = sum(counts.values())
    entropy = -sum(c / n * math.log2(c / n) for c in counts.values())
    mean = sum(counts[s] * lengths[s] for s in counts) / n
    assert entropy - 1e-9 <= mean < entropy + 1
    assert huffman_lengths(dict(reversed(counts.items()))) == lengths
    ranked = sorted(counts, key=lambda s: counts[s])
    assert all(lengths[a] >= lengths[b] for a, b in itertools.pairwise(ranked) if counts[a] < counts[b])


def test_codes_of_one_symbol_and_of_none() -> None:
    assert huffman_lengths({5: 9}) == {5: 1}
    assert huffman_lengths({5: 0}) == {}


def entries_by_hand(integers: list[int]) -> int:
    count = since = 0
    for value in integers:
        if value == 0:
            since += 1
            if since == 2**INDEX_BITS:
                count, since = count + 1, 0
        else:
            count, since = count + 1, 0
    return count - (0 if since or not integers or integers[-1] else 1) if any(integers) else 0


@given(st.lists(st.sampled_from([0] * 30 + [1, -4]), max_size=300))
def test_sparse_storage_by_hand(values: list[int]) -> None:
    size = _size("x", np.array(values, np.int8), 3)
    while values and values[-1] == 0:  # what follows the last weight needs no entry
        values = values[:-1]
    sparse = (3 + INDEX_BITS) * entries_by_hand(values)
    assert size.quantized == min(3 * size.weights, sparse)
    assert size.huffman <= size.quantized <= size.full or size.weights == 0


@pytest.mark.parametrize("recipe", ["nbq(n=1)", "nbq(n=3)", "nbq(n=5)", "dfp8", "ternary"])
def test_sizes_of_a_network(recipe: str) -> None:
    model = net(recipe)
    sizes = layer_sizes(model)
    assert [size.weights for size in sizes] == [16 * 9, 32 * 9 * 16, 10 * 512]
    bits = {"nbq(n=1)": 1, "nbq(n=3)": 3, "nbq(n=5)": 5, "dfp8": 8, "ternary": 2}[recipe]
    for size in sizes:
        assert size.full == 32 * size.weights
        assert size.quantized <= bits * size.weights
    summed = total(sizes)
    assert summed.weights == sum(size.weights for size in sizes)
    assert summed.full / summed.huffman >= 32 / bits


def test_pruning_makes_zeros_and_saves_bits() -> None:
    model = net("nbq")
    before = total(layer_sizes(model))
    prune(model, 0.9)
    after = total(layer_sizes(model))
    assert after.zeros >= 0.9 * after.weights - 3 > before.zeros
    assert after.full / after.quantized > 30
    assert after.huffman < after.quantized < before.quantized
    prune(model, 0.0)
    assert total(layer_sizes(model)) == after
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match="share"):
            prune(model, wrong)
    with pytest.raises(ValueError, match="no level 0"):
        prune(net("nbq(n=1)"), 0.5)
    with pytest.raises(ValueError, match="two masters"):
        prune(net("deepshift(form=ps)"), 0.5)
    assert total(layer_sizes(net("deepshift(form=ps)"))).zeros > 0
    with pytest.raises(ValueError, match="rule of its own"):
        prune(net("niti"), 0.5)
    with pytest.raises(ValueError, match="float32"):
        layer_sizes(net("fp32"))


@pytest.mark.clause("UPD-5")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamax"])
@pytest.mark.parametrize("recipe", ["nbq", "ternary", "dfp8", "fp32"])
def test_pruned_weights_stay_at_0_while_the_others_train(recipe: str, optimizer: str) -> None:
    from qnn.training import TrainConfig
    from qnn.training.trainer import Trainer

    settings = {"train_limit": 32, "batch_size": 16, "epochs": 2, "optimizer": optimizer, "lr": 0.01}
    trainer = Trainer(TrainConfig(recipe=recipe, **settings), qnn.data.load("digits", split="train"))
    steps = trainer.steps()
    next(steps)
    prune(trainer.model, 0.75)
    layers = [m for m in trainer.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    before = [np.asarray(layer.weight.data) for layer in layers]
    next(steps)
    for layer, old in zip(layers, before, strict=True):
        new, kept = np.asarray(layer.weight.data), layer.weight.kept
        assert kept is not None
        assert not new[~kept].any()
        assert kept.sum() == new.size - math.floor(0.75 * new.size)
        assert (new[kept] != old[kept]).any()
    prune(trainer.model, 0.0)
    next(steps)
    assert any(np.asarray(layer.weight.data)[old == 0].any() for layer, old in zip(layers, before, strict=True))


@pytest.mark.clause("DIG-4")
@pytest.mark.clause("DIG-5")
@pytest.mark.parametrize("recipe", ["nbq", "dfp8"])
def test_what_is_pruned_stays_so_after_a_checkpoint(recipe: str, tmp_path: Path) -> None:
    from qnn.report.restore import restore
    from qnn.training import TrainConfig, checkpoint
    from qnn.training.trainer import Trainer

    data = qnn.data.load("digits", split="train")
    made = TrainConfig(recipe=recipe, train_limit=32, batch_size=16, epochs=3, lr=0.01)
    path = tmp_path / checkpoint.CHECKPOINT

    def steps(trainer: Trainer, count: int) -> list[bytes]:
        return [record.digest for record in itertools.islice(trainer.steps(), count)]

    whole, plain = Trainer(made, data), Trainer(made, data)
    steps(whole, 1), steps(plain, 1)
    checkpoint.save(path, whole.checkpoint())
    assert checkpoint.load(path).tensors.keys() == plain.checkpoint().tensors.keys()
    assert header(path)["format"] == 1, "files of runs that are not pruned stay as they were"
    prune(whole.model, 0.75)
    steps(whole, 1)
    checkpoint.save(path, whole.checkpoint())
    assert header(path)["format"] == 2
    resumed = Trainer(made, data)
    resumed.restore(checkpoint.load(path, resumed.identity()))
    rest = steps(whole, 3)
    assert rest == steps(resumed, 3) != steps(plain, 4)[1:]
    for trainer in (whole, resumed):
        for layer in (m for m in trainer.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))):
            assert not np.asarray(layer.weight.data)[~layer.weight.kept].any()
    opened = restore(tmp_path).model  # of the file that was saved, three steps ago
    masks = [(p.kept, q.kept) for p, q in zip(opened.parameters(), whole.model.parameters(), strict=True)]
    assert [a is None for a, _ in masks] == [b is None for _, b in masks]
    assert all(np.array_equal(a, b) for a, b in masks if a is not None)
    free = whole.model.state_dict()
    whole.model.load_state_dict(plain.model.state_dict())
    assert all(parameter.kept is None for parameter in whole.model.parameters()), "what a state does not prune trains"
    key = next(name for name in free if name.endswith(".kept"))
    for wrong in (free[key].astype(np.int8), free[key][:1]):
        with pytest.raises(CheckpointError, match="kept"):
            whole.model.load_state_dict({**free, key: wrong})
    with pytest.raises(CheckpointError, match="does not know"):
        whole.model.load_state_dict({**free, "net.kept": free[key]})
    nn.transfer(free, plain.model)
    assert all(parameter.kept is None for parameter in plain.model.parameters())


def header(path: Path) -> Any:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["qnn"])


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(-2, 2, width=32)), st.data())
@pytest.mark.clause("UPD-5")
def test_what_is_kept_is_kept(w: np.ndarray, data: st.DataObject) -> None:
    kept = data.draw(hnp.arrays(np.bool_, w.shape))
    out = keep(w, kept)
    np.testing.assert_array_equal(out[kept], w[kept])
    assert not out[~kept].view(np.uint32).any(), "+0"
    np.testing.assert_array_equal(keep(out, kept), out)


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=st.sampled_from([-1, -0.5, -0.0, 0, 0.5])
    ),
    st.floats(0, 1, exclude_max=True),
)
@pytest.mark.clause("UPD-5")
def test_the_smallest_magnitudes_go_and_of_equal_ones_the_first(w: np.ndarray, share: float) -> None:
    kept = unpruned(w, share)
    assert kept.shape == w.shape
    ranked = sorted(range(w.size), key=lambda i: (abs(w.flat[i]), i))
    assert sorted(np.flatnonzero(~kept)) == sorted(ranked[: math.floor(share * w.size)])


def test_moments_of_masters_and_levels() -> None:
    layer = nn.Linear(4, 1, bias=False, recipe=qnn.recipes.nbq(3, thresholds="nearest", relative=False))
    layer.weight.data = np.array([[1, 0.5, -0.5, 0.1]], np.float32)
    (found,) = moments(nn.Sequential(layer))
    assert found.name == "layers.0"
    assert (found.mean, found.level_mean) == (float(1 + Fraction(float(np.float32(0.1)))) / 4, 0.25)
    assert found.level_variance == (0.75**2 + 0.25**2 + 0.75**2 + 0.25**2) / 4
    (plain,) = moments(nn.Sequential(nn.Linear(4, 1)))
    assert (plain.mean, plain.variance) == (plain.level_mean, plain.level_variance)


def test_weights_without_masters_have_sizes_too() -> None:
    model = net("niti")
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    sizes = layer_sizes(model)
    assert [size.weights for size in sizes] == [layer.weight.size for layer in layers]
