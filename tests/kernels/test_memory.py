"""The arena behind the kernels' results: what it hands out is an array like any other, and comes back when it dies."""

import gc
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn

memory = pytest.importorskip("qnn._kernels._memory", reason="the kernels are not built")

KIBIBYTE = 1024


@pytest.fixture(autouse=True)
def _nothing_kept():
    memory.release()
    yield
    memory.limit(512 * KIBIBYTE * KIBIBYTE)
    memory.release()


@pytest.fixture
def _kept():
    """Only where freed blocks are kept: a build for the address sanitizer leaves all to malloc, which it watches."""
    array = memory.empty((100 * KIBIBYTE,), np.int8)
    if memory.count()[0] == 0:
        pytest.skip("a build for the address sanitizer keeps no memory")
    del array
    memory.release()


@given(
    shape=st.lists(st.integers(0, 70), max_size=4).map(tuple),
    dtype=st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.float32]),
)
def test_it_is_an_array_as_numpy_makes_it(shape, dtype):
    array = memory.empty(shape, dtype)
    expected = np.empty(shape, dtype)
    assert (array.shape, array.dtype, array.strides) == (expected.shape, expected.dtype, expected.strides)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned
    array[...] = 7
    assert (array == 7).all()


@given(sizes=st.lists(st.integers(1, 3 * 2**20), min_size=2, max_size=8))
def test_arrays_that_live_together_share_no_byte(sizes):
    arrays = [memory.empty((size,), np.uint8) for size in sizes]
    for i, array in enumerate(arrays):
        array[...] = i
    assert all((array == i).all() for i, array in enumerate(arrays))


@pytest.mark.usefixtures("_kept")
def test_memory_comes_back_only_when_the_last_view_is_gone():
    before = memory.count()
    array = memory.empty((100 * KIBIBYTE,), np.int8)
    part = array[5:50]
    assert memory.count()[0] >= before[0] + 100 * KIBIBYTE
    del array
    part[...] = 3
    assert memory.count()[1] == before[1]
    del part
    gc.collect()
    used, kept = memory.count()
    assert used == before[0]
    assert kept >= 100 * KIBIBYTE
    again = memory.empty((100 * KIBIBYTE,), np.int8)
    assert memory.count()[1] < kept
    del again


@pytest.mark.usefixtures("_kept")
def test_a_size_is_rounded_up_by_less_than_an_eighth():
    for size in (2**14 + 1, 2**15, 100_000, 2**20 - 1, 2**20 + 1):
        before = memory.count()[0]
        array = memory.empty((size,), np.int8)
        assert size <= memory.count()[0] - before <= size * 9 / 8 + 1
        del array


@pytest.mark.usefixtures("_kept")
def test_the_limit_holds_and_release_empties():
    memory.limit(150 * KIBIBYTE)
    arrays = [memory.empty((100 * KIBIBYTE,), np.int8) for _ in range(3)]
    del arrays
    assert memory.count()[1] <= 150 * KIBIBYTE
    memory.limit(0)
    assert memory.count()[1] == 0
    array = memory.empty((100 * KIBIBYTE,), np.int8)
    del array
    assert memory.count()[1] == 0
    with pytest.raises(ValueError, match="allowed are 0"):
        memory.limit(-1)


def test_absurd_sizes_are_refused_as_numpy_refuses_them():
    with pytest.raises(ValueError):
        memory.empty((-1,), np.int8)
    with pytest.raises(ValueError):
        memory.empty((2**40, 2**40), np.int8)
    assert memory.empty((0, 2**40), np.int8).shape == (0, 2**40)


def test_many_threads_take_and_give():
    wrong = []

    def work(number):
        for size in range(20_000, 60_000, 500):
            array = memory.empty((size,), np.uint8)
            array[...] = number
            if not (array == number).all():
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.usefixtures("_kept")
def test_users_can_give_freed_memory_back():
    array = memory.empty((100 * KIBIBYTE,), np.int8)
    del array
    assert memory.count()[1] >= 100 * KIBIBYTE
    qnn.kernels.release_memory()
    assert memory.count()[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_finds_the_arena_open():
    """Threads are taking and giving while the process forks: the child must not inherit their lock."""
    stop = threading.Event()

    def work():
        while not stop.is_set():
            memory.empty((30_000,), np.uint8)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                memory.empty((30_000,), np.uint8)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()
