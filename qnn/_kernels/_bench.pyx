"""Binding of the probes and loops of ``qnn bench``: peak rates, memory traffic, shifting against multiplying.

Nothing here is an operation of the dispatch table; only :mod:`qnn.bench` imports it.
"""

import numpy as _np

cimport numpy as cnp
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

cnp.import_array()

include "_threading.pxi"

cdef extern from "qnn_cpu.h" nogil:
    int qnn_cpu_has_avx2() noexcept

cdef extern from "qnn_bench.h" nogil:
    ctypedef struct qnn_probe:
        const char *name
        const char *mix
        int64_t units
        int64_t value
        int (*available)() noexcept
    ctypedef struct qnn_product:
        int64_t m, n, k
        const int8_t *x
        const int16_t *wide_x
        const int8_t *weights
        const uint8_t *shift
        const int8_t *keep
        const int8_t *negate
        const int16_t *pair_panels
        const int8_t *weight_panels
        const uint8_t *shift_panels
        const int8_t *negate_panels
        int32_t *y
    enum:
        QNN_LOOPS
    int qnn_probe_count() noexcept
    const qnn_probe *qnn_probe_at(int index) noexcept
    uint64_t qnn_probe_run(int index, int64_t iterations, int threads) noexcept
    uint64_t qnn_bench_read(const uint64_t *data, int64_t words, int64_t repeats, int avx2, int threads) noexcept
    void qnn_bench_write(uint64_t *data, int64_t words, int64_t repeats, uint64_t value, int avx2, int threads) noexcept
    void qnn_bench_read4_write1(
        const uint32_t *data, int64_t n, uint8_t *out, int64_t repeats, int avx2, int threads
    ) noexcept
    void qnn_bench_float_product(const float *x, const float *weights, int64_t m, int64_t n, int64_t k,
                                 float *y) noexcept
    int qnn_loop_available(int loop) noexcept
    void qnn_loop_run(int loop, const qnn_product *product, int threads) noexcept

LOOPS = (
    "multiply, plain C scalar",
    "shift, plain C scalar",
    "multiply, plain C vectorised for AVX2",
    "shift, plain C vectorised for AVX2",
    "multiply, AVX2 vpmaddwd",
    "multiply, AVX2 vpmulld",
    "shift, AVX2 vpsllvd",
)


def _text(bytes value):
    return value.decode("ascii")


def _whole(name, value, lowest, highest):
    """A whole number in lowest..highest, or ValueError."""
    if not lowest <= value <= highest:
        raise ValueError(f"got {name} {value}; allowed are {lowest} to {highest}; correct it")
    return value


def _array(name, array, dtype, shape=None):
    """A contiguous array of this type (and shape), or TypeError and ValueError."""
    if not isinstance(array, _np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"got {type(array).__name__} for {name}; it must be a contiguous array of {dtype}; convert it")
    if shape is not None and array.shape != shape:
        raise ValueError(f"got {name} of shape {array.shape}; it must be {shape}; reshape it")
    return array


def has_avx2():
    """Return whether this processor runs the avx2 versions."""
    return bool(qnn_cpu_has_avx2())


def probes():
    """Return the peak probes: {name: {mix, units, value, available}}, units and value of one iteration."""
    cdef const qnn_probe *p
    found = {}
    for index in range(qnn_probe_count()):
        p = qnn_probe_at(index)
        found[_text(p.name)] = {
            "mix": _text(p.mix), "units": p.units, "value": p.value, "available": bool(p.available())
        }
    return found


def run_probe(str name, int64_t iterations, int threads=1):
    """Run a probe on so many threads at once; returns the sum of what all accumulated."""
    cdef int index
    cdef uint64_t total
    table = probes()
    if name not in table or not table[name]["available"]:
        allowed = ", ".join(key for key, about in table.items() if about["available"])
        raise ValueError(f"got the probe {name!r}; this processor has {allowed}; use one of these")
    _whole("iterations", iterations, 0, 2**40)
    _whole("threads", threads, 1, 1024)
    index = list(table).index(name)
    with nogil:
        total = qnn_probe_run(index, iterations, threads)
    return total


def read(data, int64_t repeats=1, bint avx2=True, int threads=1):
    """Read an array of uint64 so many times; returns the sum of the words, modulo 2**64."""
    cdef const uint64_t[::1] view = _array("data", data, _np.uint64).reshape(-1)
    cdef uint64_t total = 0
    _whole("repeats", repeats, 0, 2**40)
    _whole("threads", threads, 1, 1024)
    cdef int wide = avx2 and qnn_cpu_has_avx2()
    if view.shape[0]:
        with nogil:
            total = qnn_bench_read(&view[0], view.shape[0], repeats, wide, threads)
    return total


def write(data, uint64_t value, int64_t repeats=1, bint avx2=True, int threads=1):
    """Fill an array of uint64 so many times, each time with a value one higher."""
    cdef uint64_t[::1] view = _array("data", data, _np.uint64).reshape(-1)
    _whole("repeats", repeats, 0, 2**40)
    _whole("threads", threads, 1, 1024)
    cdef int wide = avx2 and qnn_cpu_has_avx2()
    if view.shape[0]:
        with nogil:
            qnn_bench_write(&view[0], view.shape[0], repeats, value, wide, threads)


def read4_write1(data, out, int64_t repeats=1, bint avx2=True, int threads=1):
    """Write the low byte of each word of a uint32 array into a uint8 array of the same size, so many times."""
    cdef const uint32_t[::1] source = _array("data", data, _np.uint32).reshape(-1)
    cdef uint8_t[::1] target = _array("out", out, _np.uint8).reshape(-1)
    _whole("repeats", repeats, 0, 2**40)
    _whole("threads", threads, 1, 1024)
    if source.shape[0] != target.shape[0]:
        raise ValueError(f"got {target.shape[0]} bytes for {source.shape[0]} words; both must be equal; resize one")
    cdef int wide = avx2 and qnn_cpu_has_avx2()
    if source.shape[0]:
        with nogil:
            qnn_bench_read4_write1(&source[0], source.shape[0], &target[0], repeats, wide, threads)


def float_product(x, weights):
    """Return x [M, K] times the transpose of weights [N, K], float32, by three plain loops on one thread."""
    _array("x", x, _np.float32)
    _array("weights", weights, _np.float32)
    if x.ndim != 2 or weights.ndim != 2 or x.shape[1] != weights.shape[1]:
        raise ValueError(f"got x {x.shape} and weights {weights.shape}; they must be [M, K] and [N, K]; reshape them")
    y = _np.zeros((x.shape[0], weights.shape[0]), _np.float32)
    cdef const float[:, ::1] left = x, right = weights
    cdef float[:, ::1] out = y
    if x.size and weights.size:
        with nogil:
            qnn_bench_float_product(
                &left[0, 0], &right[0, 0], left.shape[0], right.shape[0], left.shape[1], &out[0, 0]
            )
    return y


def loops():
    """Return the names of the loops that this processor can run."""
    assert len(LOOPS) == QNN_LOOPS
    return [name for index, name in enumerate(LOOPS) if qnn_loop_available(index)]


def _panels(array):
    """[K, N] as [N / 16, K, 16]."""
    return _np.ascontiguousarray(array.reshape(array.shape[0], -1, 16).transpose(1, 0, 2))


cdef class Product:
    """x times power-of-two weights, decoded beforehand for every loop.

    Parameters
    ----------
    x : int8 array [M, K]; M a multiple of 4, K of 2
    weights : int8 array [K, N] of 0 and +-2**s, s in 0..6; N a multiple of 16
    """

    cdef readonly object y
    cdef object _kept
    cdef qnn_product _product

    def __init__(self, x, weights):
        _array("x", x, _np.int8)
        _array("weights", weights, _np.int8)
        if x.ndim != 2 or weights.ndim != 2 or x.shape[1] != weights.shape[0]:
            raise ValueError(
                f"got x {x.shape} and weights {weights.shape}; they must be [M, K] and [K, N]; reshape them"
            )
        m, k, n = x.shape[0], x.shape[1], weights.shape[1]
        if not (m and n and k) or m % 4 or n % 16 or k % 2:
            raise ValueError(f"got a product {m} x {n} x {k}; M must be a multiple of 4, N of 16, K of 2; pad it")
        size = _np.abs(weights.astype(_np.int32))
        if (size & (size - 1)).any() or size.max() > 64:
            raise ValueError("got weights that are not 0 or +-1 to +-64 in powers of two; encode them first")
        shift = _np.where(size > 0, _np.log2(_np.maximum(size, 1)), 0).astype(_np.uint8)
        keep, negate = -(size > 0).astype(_np.int8), -(weights < 0).astype(_np.int8)
        wide_x, pairs = x.astype(_np.int16), weights.astype(_np.int16).reshape(k // 2, 2, n // 16, 16)
        pair_panels = _np.ascontiguousarray(pairs.transpose(2, 0, 3, 1))
        weight_panels, negate_panels = _panels(weights), _panels(negate)
        shift_panels = _panels(_np.where(size > 0, shift, 32).astype(_np.uint8))
        self.y = _np.zeros((m, n), _np.int32)
        self._kept = (x, weights, wide_x, shift, keep, negate, pair_panels, weight_panels, shift_panels, negate_panels)
        cdef const int8_t[:, ::1] x_view = x, w_view = weights, keep_view = keep, negate_view = negate
        cdef const int16_t[:, ::1] wide_view = wide_x
        cdef const uint8_t[:, ::1] shift_view = shift
        cdef const int16_t[:, :, :, ::1] pairs_view = pair_panels
        cdef const int8_t[:, :, ::1] wp_view = weight_panels, np_view = negate_panels
        cdef const uint8_t[:, :, ::1] sp_view = shift_panels
        cdef int32_t[:, ::1] y_view = self.y
        self._product.m, self._product.n, self._product.k = m, n, k
        self._product.x, self._product.wide_x = &x_view[0, 0], &wide_view[0, 0]
        self._product.weights, self._product.shift = &w_view[0, 0], &shift_view[0, 0]
        self._product.keep, self._product.negate = &keep_view[0, 0], &negate_view[0, 0]
        self._product.pair_panels, self._product.weight_panels = &pairs_view[0, 0, 0, 0], &wp_view[0, 0, 0]
        self._product.shift_panels, self._product.negate_panels = &sp_view[0, 0, 0], &np_view[0, 0, 0]
        self._product.y = &y_view[0, 0]

    def run(self, str name, int threads=1):
        """Compute the product by the loop of this name; returns the array `y`, which the next run overwrites."""
        if name not in loops():
            raise ValueError(f"got the loop {name!r}; this processor has {', '.join(loops())}; use one of these")
        _whole("threads", threads, 1, 1024)
        cdef int index = LOOPS.index(name)
        with nogil:
            qnn_loop_run(index, &self._product, threads)
        return self.y
