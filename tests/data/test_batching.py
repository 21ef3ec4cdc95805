"""Order, augmentation and resume of batches; the thread behind them ends cleanly."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.data import Batches, Dataset, batches
from qnn.data.augment import PAD, augment_words, crop_flip, pad_value
from qnn.data.batching import epoch_order
from qnn.errors import DataError
from qnn.numerics.initial import permutation
from qnn.numerics.noise import philox32


def dataset(n: int, side: int = 5, channels: int = 2) -> Dataset:
    images = np.random.default_rng(n).integers(0, 256, (n, side, side, channels), dtype=np.uint8)
    return Dataset(images, np.arange(n) % 3, ["a", "b", "c"], "made")


def collect(made: Batches) -> list[tuple[np.ndarray, ...]]:
    return list(made)


def joined(parts: list[tuple[np.ndarray, ...]], field: int) -> np.ndarray:
    return np.concatenate([part[field] for part in parts])


@pytest.mark.clause("DAT-1")
@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_order_is_the_addressed_permutation(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert np.array_equal(order, permutation(seed, 0xFFFF0000, epoch, n))
    assert np.array_equal(np.sort(order), np.arange(n))


@pytest.mark.clause("DAT-1", "DAT-2")
@given(
    st.integers(1, 40),
    st.integers(1, 45),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "crop-flip"]),
    st.booleans(),
    st.data(),
)
def test_batches_are_pieces_of_the_order(
    n: int, size: int, shuffle: bool, drop_last: bool, augment: str | None, background: bool, data: st.DataObject
) -> None:
    made = dataset(n)
    settings: dict[str, Any] = {
        "shuffle": shuffle,
        "drop_last": drop_last,
        "augment": augment,
        "background": background,
    }
    if drop_last and size > n:
        with pytest.raises(DataError, match="use smaller batches"):
            batches(made, size, 7, 3, **settings)
        return
    count = n // size if drop_last else -(-n // size)
    start = data.draw(st.integers(0, count))
    whole = collect(batches(made, size, 7, 3, **settings))
    assert len(whole) == count
    order = epoch_order(n, 7, 3) if shuffle else np.arange(n)
    for b, (images, labels, positions) in enumerate(whole):
        assert positions.tolist() == order[b * size : (b + 1) * size].tolist()
        assert np.array_equal(labels, made.labels[positions])
        if augment is None:
            assert np.array_equal(images, made.images[positions])
        assert (images.dtype, labels.dtype, positions.dtype) == (np.uint8, np.int64, np.int64)
    resumed = batches(made, size, 7, 3, start_batch=start, **settings)
    assert len(resumed) == count - start
    for got, expected in itertools.zip_longest(resumed, whole[start:]):
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.clause("DAT-3")
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_batch_size_and_order_never_change_a_picture(n: int, size: int, seed: int, epoch: int) -> None:
    made = dataset(n)
    pictures = crop_flip(made.images, augment_words(seed, epoch, n), pad_value(made.mean))
    for shuffle in (True, False):
        parts = collect(batches(made, size, seed, epoch, shuffle, "crop-flip", drop_last=False, background=False))
        assert np.array_equal(joined(parts, 0), pictures[joined(parts, 2)])


@pytest.mark.clause("DAT-3")
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_crop_flip_is_a_cut_of_the_padded_image(height: int, width: int, channels: int, word: int) -> None:
    image = np.random.default_rng(word).integers(0, 256, (height, width, channels), dtype=np.uint8)
    pad = np.arange(channels, dtype=np.uint8) + 100
    padded = np.empty((height + 2 * PAD, width + 2 * PAD, channels), np.uint8)
    padded[...] = pad
    padded[PAD : PAD + height, PAD : PAD + width] = image
    down, right = (word % 2**15) * 9 >> 15, (word // 2**15 % 2**15) * 9 >> 15
    cut = padded[down : down + height, right : right + width]
    if word >= 2**31:
        cut = cut[:, ::-1]
    assert np.array_equal(crop_flip(image[None], np.array([word], np.uint32), pad)[0], cut)


@pytest.mark.clause("DAT-3")
def test_words_are_addressed_and_all_cuts_occur() -> None:
    words = augment_words(11, 5, 5000)
    assert np.array_equal(words, philox32(11, 0xFFFF0001, 0, 5000, step=5))
    assert np.array_equal(words[123:], philox32(11, 0xFFFF0001, 123, 5000 - 123, step=5))
    fields = {((int(w) % 2**15) * 9 >> 15, (int(w) // 2**15 % 2**15) * 9 >> 15, int(w) >> 31) for w in words}
    assert len(fields) == 9 * 9 * 2


@pytest.mark.clause("DAT-3")
def test_each_shift_is_equally_likely() -> None:
    counts = np.bincount(np.arange(2**15) * 9 >> 15)
    assert counts.tolist() == [3641] * 8 + [3640]


@pytest.mark.clause("DAT-4")
@given(st.floats(0, 1))
def test_pad_value_is_the_nearest_pixel(mean: float) -> None:
    value = int(pad_value((mean,))[0])
    assert min(abs(v - 255 * mean) for v in range(256)) == abs(value - 255 * mean)


@pytest.mark.clause("DAT-4")
def test_border_is_padded_with_it() -> None:
    made = dataset(40)
    pad = pad_value(made.mean)
    words = augment_words(1, 0, 40)
    images = joined(collect(batches(made, 40, 1, 0, False, "crop-flip")), 0)
    up = (words % 2**15 * 9 >> 15) == 0
    assert up.any()
    assert np.all(images[up][:, :PAD] == pad)


def test_arrays_are_new_and_writable() -> None:
    made = dataset(6)
    for images, labels, positions in batches(made, 3, 0, 0, shuffle=False):
        images[...], labels[...], positions[...] = 0, 0, 0
    assert made.images.any()
    assert [p.tolist() for _, _, p in batches(made, 3, 0, 0, shuffle=False)] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 2.0}, TypeError, "batch_size as float"),
        ({"batch_size": True}, TypeError, "batch_size as bool"),
        ({"batch_size": 11}, DataError, "11 for 10 samples"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"seed": 2**64}, ValueError, "seed="),
        ({"epoch": 2**32}, ValueError, "epoch="),
        ({"epoch": "1"}, TypeError, "epoch as str"),
        ({"augment": "flip"}, ValueError, "augment='flip'"),
        ({"start_batch": 4}, ValueError, r"start_batch=4; allowed: 0 \.\. 3"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        batches(dataset(10), **{"batch_size": 3, "seed": 0, "epoch": 0, **changes})


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "qnn-batches"]


def test_thread_ends_after_the_last_batch() -> None:
    made = batches(dataset(20), 2, 0, 0)
    assert len(collect(made)) == 10
    made.thread.join(10)
    assert not made.thread.is_alive()
    assert len(made) == 0
    with pytest.raises(StopIteration):
        next(made)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_thread_ends_when_the_iterator_is_dropped(taken: int) -> None:
    made = batches(dataset(200), 2, 0, 0)
    for _ in range(taken):
        next(made)
    thread = made.thread
    del made
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_thread_ends_when_the_loop_breaks_or_raises() -> None:
    with batches(dataset(200), 2, 0, 0) as made:
        for _ in made:
            break
    assert not made.thread.is_alive()
    with contextlib.suppress(ZeroDivisionError), batches(dataset(200), 2, 0, 0) as made:
        for _ in made:
            raise ZeroDivisionError
    assert not made.thread.is_alive()
    gc.collect()
    for thread in workers():
        thread.join(10)
    assert workers() == []


def test_close_ends_the_iteration() -> None:
    made = batches(dataset(200), 2, 0, 0)
    next(made)
    made.close()
    made.close()
    assert list(made) == []


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_error_in_the_thread_reaches_the_consumer(background: bool, error: type[BaseException]) -> None:
    def make(number: int) -> Any:
        if number == 3:
            raise error("broken")
        return np.zeros(1, np.uint8), np.zeros(1, np.int64), np.array([number])

    made = Batches(make, 0, 10, background)
    for expected in range(3):
        assert next(made)[2].tolist() == [expected]
    with pytest.raises(error, match="broken"):
        next(made)
    assert list(made) == []
    if background:
        assert not made.thread.is_alive()


def test_thread_works_ahead_by_two_at_most() -> None:
    calls: list[int] = []
    third = threading.Event()

    def make(number: int) -> Any:
        calls.append(number)
        if number == 2:
            third.set()
        return np.zeros(1), np.zeros(1), np.zeros(1)

    made = Batches(make, 0, 100, True)
    next(made)
    assert third.wait(10)  # one taken, two made ahead
    made.close()
    assert calls == [0, 1, 2]


def test_many_iterators_at_once() -> None:
    made = dataset(50)
    several = [batches(made, 5, seed, 0, augment="crop-flip") for seed in range(8)]
    together = list(zip(*several, strict=True))
    for seed in range(8):
        alone = collect(batches(made, 5, seed, 0, augment="crop-flip", background=False))
        for got, expected in zip([row[seed] for row in together], alone, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
