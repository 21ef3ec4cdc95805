"""Batches in an addressed order, made ahead by a thread that ends with its consumer."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from qnn.data.augment import augment_words, crop_flip, pad_value
from qnn.data.dataset import Dataset
from qnn.data.messages import problem
from qnn.data.pictures import Images, Pictures
from qnn.numerics.initial import DATA_STREAM, permutation

AUGMENTATIONS = (None, "crop-flip")
_AHEAD = 2

Batch = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]


def batches(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    augment: str | None = None,
    drop_last: bool = True,
    start_batch: int = 0,
    background: bool = True,
) -> Batches:
    """Return the batches of one epoch.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
        At least 1; with ``drop_last`` at most the number of samples.
    seed, epoch : int
        The address of order and augmentation: seed in 0 .. 2^64 - 1, epoch in 0 .. 2^32 - 1.
    shuffle : bool
        In the permuted order of the epoch, else in the stored order.
    augment : None or "crop-flip"
        Cut from the image padded by 4, and mirror half of them; pictures in files are cut from the whole picture.
    drop_last : bool
        Leave out the last batch when it is not full.
    start_batch : int
        Begin with this batch; what follows is exactly what would have followed without the stop.
    background : bool
        Make up to two batches ahead in a thread. It changes no bit.

    Returns
    -------
    Batches
        An iterator over (images uint8 [B, H, W, C], labels int64 [B], positions int64 [B]), new arrays every time.
        ``len()`` is what remains. ``close()``, leaving a ``with`` block, or dropping the iterator ends the thread.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of another type (DataError when the data set is smaller than one batch).

    Notes
    -----
    Bit-exactness: clauses DAT-1 to DAT-4 and DAT-10; nothing may vary.
    """
    n = len(dataset)
    size = _whole("batch_size", batch_size, 1, 2**31)
    seed = _whole("seed", seed, 0, 2**64 - 1)
    epoch = _whole("epoch", epoch, 0, 2**32 - 1)
    if augment not in AUGMENTATIONS:
        raise ValueError(f"got augment={augment!r}; allowed: None or 'crop-flip'; choose one of them")
    if drop_last and size > n:
        raise problem(
            f"batch_size {size} for {n} samples of {dataset.name}",
            f"1 .. {n}",
            "use smaller batches, or drop_last=False",
        )
    count = n // size if drop_last else -(-n // size)
    start = _whole("start_batch", start_batch, 0, count)
    order = epoch_order(n, seed, epoch) if shuffle else np.arange(n, dtype=np.int64)
    words = augment_words(seed, epoch, n) if augment else None
    plan = _Plan(dataset.images, dataset.labels, order, words, pad_value(dataset.mean), size)
    return Batches(plan.make, start, count, background)


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the positions of ``n`` samples in the order of an epoch: the permutation of (seed, DATA_STREAM, step =
    epoch).

    Notes
    -----
    Bit-exactness: clause DAT-1; nothing may vary.
    """
    return np.asarray(permutation(seed, DATA_STREAM, epoch, n), dtype=np.int64)


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"got {name} as {type(value).__name__}; allowed: an integer; pass one from {low} to {high}")
    if not low <= value <= high:
        raise ValueError(f"got {name}={value}; allowed: {low} .. {high}; choose a value in that range")
    return int(value)


@dataclass(frozen=True)
class _Plan:
    """All that determines the batches of an epoch; holds arrays and file names only, so that a thread may keep it."""

    images: Images
    labels: NDArray[np.int64]
    order: NDArray[np.int64]
    words: NDArray[np.uint32] | None
    pad: NDArray[np.uint8]
    size: int

    def make(self, number: int) -> Batch:
        """Return batch ``number`` of the epoch."""
        positions = self.order[number * self.size : (number + 1) * self.size]
        words = None if self.words is None else self.words[positions]
        if isinstance(self.images, Pictures):
            images = self.images.cut(positions, words)
        else:
            images = self.images[positions]
            if words is not None:
                images = crop_flip(images, words, self.pad)
        return images, self.labels[positions], positions.copy()


class Batches(Iterator[Batch]):
    """Iterator over batches; see `batches`.

    The thread knows the plan and the channel, never this object, so that dropping the object ends the thread.
    """

    def __init__(self, make: Callable[[int], Batch], start: int, stop: int, background: bool) -> None:
        self._make, self._next, self._stop = make, start, stop
        self._channel: _Channel | None = None
        if background and start < stop:
            self._channel = _Channel()
            self.thread = threading.Thread(
                target=_produce, args=(make, start, stop, self._channel), name="qnn-batches", daemon=True
            )
            weakref.finalize(self, self._channel.close)
            self.thread.start()

    def __len__(self) -> int:
        """Return the number of batches still to come."""
        return max(0, self._stop - self._next)

    def __iter__(self) -> Batches:
        """Return itself: a second loop goes on where the first stopped."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch; an error in the thread is raised here, and ends the iteration."""
        if self._next >= self._stop:
            self.close()
            raise StopIteration
        try:
            batch = self._make(self._next) if self._channel is None else self._channel.take()
        except BaseException:
            self.close()
            raise
        self._next += 1
        return batch

    def __enter__(self) -> Batches:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread."""
        self.close()

    def close(self) -> None:
        """End the iteration and the thread, and wait for it."""
        self._stop = min(self._stop, self._next)
        if self._channel is not None:
            self._channel.close()
            self.thread.join()
            self._channel = None


class _Channel:
    """A queue of bounded length that can be closed from the consumer's side without waiting or polling."""

    def __init__(self) -> None:
        self.items: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
        self.room = threading.Semaphore(_AHEAD)
        self.closed = threading.Event()

    def take(self) -> Batch:
        item = self.items.get()
        self.room.release()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self.closed.set()
        self.room.release()  # wakes a producer that waits for room; it then sees that nobody wants more


def _produce(make: Callable[[int], Batch], start: int, stop: int, channel: _Channel) -> None:
    try:
        for number in range(start, stop):
            channel.room.acquire()
            if channel.closed.is_set():
                return
            channel.items.put(make(number))
    except BaseException as error:  # whatever it is, the consumer must learn of it instead of waiting for ever
        channel.items.put(error)
