"""Binding of the multiply-accumulate kernels: checks arrays and geometry, lets the interpreter go on, calls plain C."""

import numpy as _np

cimport numpy as cnp
from cpython.number cimport PyNumber_Index

from qnn.numerics.exponent import Counts as _Counts
from qnn.numerics.mac import accumulator_dtype as _accumulator_dtype
from qnn.numerics.mac import check_conv_shapes as _check_conv_shapes
from qnn.numerics.mac import conv_output_hw as _conv_output_hw

from qnn._kernels.prepared import check_prepared as _check_prepared

include "_target.pxi"

cnp.import_array()

cdef extern from "qnn_cpu.h" nogil:
    ctypedef struct qnn_cpu:
        int avx2
        int fma
        int avx512f
        int avx512bw
        int avx512vl
        int avx512vnni
        int avx512vbmi
        int avx512vpopcntdq
        int amx_tile
        int amx_int8
    qnn_cpu qnn_cpu_features() noexcept
    int qnn_cpu_has_vnni() noexcept
    int qnn_cpu_has_vbmi() noexcept
    int qnn_cpu_has_amx() noexcept
    const char *QNN_COMPILER
    int QNN_EMULATED

cdef extern from "qnn_gemm.h" nogil:
    ctypedef struct qnn_isa:
        pass
    ctypedef struct qnn_output:
        int wide
        void *data
        const qnn_target *target
        const int64_t *bias
        int64_t columns
        const int8_t *table
        int vbmi
        int64_t *totals
    ctypedef struct qnn_gemm_problem:
        const void *a
        const void *b
        int a_bytes
        int b_bytes
        int trans_a
        int trans_b
        int codes4
        int64_t m
        int64_t n
        int64_t k
    ctypedef struct qnn_conv_shape:
        int64_t images
        int64_t h
        int64_t w
        int64_t channels
        int64_t filters
        int64_t kh
        int64_t kw
        int64_t oh
        int64_t ow
        int64_t stride_y
        int64_t stride_x
        int64_t pad_y
        int64_t pad_x
        int64_t dilation_y
        int64_t dilation_x
        int64_t groups
    const qnn_isa *qnn_isa_c() noexcept
    const qnn_isa *qnn_isa_avx2() noexcept
    const qnn_isa *qnn_isa_vnni() noexcept
    const qnn_isa *qnn_isa_amx() noexcept
    int qnn_gemm(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                 qnn_counts *counts) noexcept
    int qnn_gemm_codes4(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                        qnn_counts *counts) noexcept
    void qnn_decode_codes4(const qnn_isa *isa, const uint8_t *packed, int64_t rows, int64_t k, int threads,
                           int8_t *weights) noexcept
    int qnn_conv2d(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes, const void *weights,
                   int w_bytes, const qnn_output *output, int threads, qnn_counts *counts) noexcept
    int qnn_conv2d_sums(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes,
                        const void *weights, int w_bytes, const qnn_output *output, int threads, qnn_counts *counts,
                        int64_t *sums) noexcept
    ctypedef struct qnn_prepared_conv:
        pass
    qnn_prepared_conv *qnn_prepare_conv2d(const qnn_isa *isa, const qnn_conv_shape *shape, int x_bytes,
                                          const void *weights, int w_bytes, int wide, int threads) noexcept
    int qnn_prepared_conv2d(const qnn_prepared_conv *prepared, int64_t images, const void *x,
                            const qnn_output *output, int threads, qnn_counts *counts) noexcept
    void qnn_prepared_conv_release(qnn_prepared_conv *prepared) noexcept
    int qnn_conv2d_input_grad(const qnn_isa *isa, const qnn_conv_shape *shape, const void *g, int g_bytes,
                              const void *weights,
                              int w_bytes, const qnn_output *output, int threads, qnn_counts *counts) noexcept
    int qnn_conv2d_weight_grad(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes,
                               const void *g, int g_bytes, int wide, void *out, int threads) noexcept

cdef extern from "qnn_s8.h" nogil:
    int qnn_amx_permission() noexcept

cdef extern from "qnn_self_check.h" nogil:
    int qnn_self_check(const qnn_isa *isa) noexcept
    const qnn_isa *qnn_isa_broken() noexcept

cdef int _threads = 1
cdef object _INT8 = _np.dtype(_np.int8), _INT16 = _np.dtype(_np.int16)
cdef object _INT32 = _np.dtype(_np.int32), _INT64 = _np.dtype(_np.int64)
cdef int64_t _LARGEST = 2**31 - 1


def set_threads(int count):
    """Use at most `count` threads from now on; the dispatch has checked the number."""
    global _threads
    _threads = count


def build_info():
    """Return the compiler, whether kernels can use several threads, and the features of this processor that kernels look at."""
    cdef qnn_cpu cpu = qnn_cpu_features()
    found = [("avx2", cpu.avx2), ("fma", cpu.fma), ("avx512f", cpu.avx512f), ("avx512bw", cpu.avx512bw),
             ("avx512vl", cpu.avx512vl), ("avx512vnni", cpu.avx512vnni),
             ("avx512vbmi", cpu.avx512vbmi), ("avx512vpopcntdq", cpu.avx512vpopcntdq), ("amx-tile", cpu.amx_tile),
             ("amx-int8", cpu.amx_int8), ("amx-permission", cpu.amx_int8 and qnn_amx_permission())]
    note = " (AVX512 and AMX are emulated)" if QNN_EMULATED else ""
    return {"compiler": QNN_COMPILER.decode() + note, "threading": bool(qnn_has_threads()),
            "cpu_features": [name for name, there in found if there]}


cdef const qnn_isa *_isa(str path) noexcept:
    """The implementation of a path, or NULL where the compiler or the processor has none."""
    if path == "c":
        return qnn_isa_c()
    if path == "avx2" and qnn_cpu_features().avx2:
        return qnn_isa_avx2()
    if path == "avx512vnni" and qnn_cpu_has_vnni():
        return qnn_isa_vnni()
    if path == "amx" and qnn_cpu_has_amx() and qnn_amx_permission():
        return qnn_isa_amx()
    return NULL


def paths():
    """Return the compiled paths that this processor can run, the slowest first."""
    return [path for path in ("c", "avx2", "avx512vnni", "amx") if _isa(path) != NULL]


def self_check(str path):
    """Return whether small fixed cases come out of this path as they come out of ``c``.

    "broken" is an implementation that is wrong on purpose, for the test of this check.
    """
    cdef const qnn_isa *isa = qnn_isa_broken() if path == "broken" else _isa(path)
    cdef int result
    if isa == NULL:
        raise ValueError(f"got path {path!r}; this machine can run {paths()}; use one of these")
    with nogil:
        result = qnn_self_check(isa)
    if result < 0:
        raise MemoryError("got no memory for the self-check of the kernels; it needs some 200 KB; free some memory")
    return result == 1


cdef cnp.ndarray _dense(cnp.ndarray array):
    """The array itself if C can walk through it, else a copy in C order."""
    if cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISALIGNED(array):
        return array
    return _np.array(array, order="C", copy=True)


cdef bint _is_small(cnp.ndarray array):
    """Whether it is an array of int8 or int16."""
    cdef int kind = cnp.PyArray_TYPE(array)
    return kind == cnp.NPY_INT8 or (kind == cnp.NPY_INT16 and cnp.PyArray_ISNOTSWAPPED(array))


cdef cnp.ndarray _operand(object array, str name, int dimensions):
    """An int8 or int16 array in C order, copied if it is not contiguous."""
    if not isinstance(array, cnp.ndarray):
        raise TypeError(f"got {type(array).__name__} for {name}; it must be a NumPy array of int8 or int16; convert it")
    if not _is_small(array):
        raise TypeError(f"got dtype {array.dtype} for {name}; allowed are int8 and int16; quantise first")
    if (<cnp.ndarray>array).ndim != dimensions:
        raise ValueError(f"got {name} of shape {array.shape}; it must have {dimensions} axes; reshape it")
    return _dense(array)


cdef int _bytes(cnp.ndarray array):
    return <int>cnp.PyArray_ITEMSIZE(array)


cdef int _is_wide(int64_t k, int na, int nb) except -1:
    """Whether exact sums of k products need int64 (clause MAC-1)."""
    cdef int bits = 8 * (na + nb) - 2
    if 0 <= k < <int64_t>1 << (31 - bits):
        return 0
    return _accumulator_dtype(k, 8 * na, 8 * nb) == _np.int64


cdef int _pair(object values, str name, int64_t lowest, int64_t *vertical, int64_t *horizontal) except -1:
    """Read two whole numbers of an argument such as stride, checked against what the kernels count with."""
    try:
        first, second = values
        first, second = PyNumber_Index(first), PyNumber_Index(second)
    except (TypeError, ValueError):
        raise TypeError(f"got {name} {values!r}; it must be a pair of whole numbers, (vertical, horizontal); "
                        "pass a tuple") from None
    if min(first, second) < lowest or max(first, second) > _LARGEST:
        raise ValueError(f"got {name} {values!r}; allowed are {lowest} to {_LARGEST}; correct it")
    vertical[0], horizontal[0] = first, second
    return 0


cdef object _sums(tuple shape, int wide):
    return _empty(shape, _INT64 if wide else _INT32)


cdef class _Sink:
    """Where a kernel's exact sums go: a new array of sums, or of requantised integers with their counts."""
    cdef qnn_output output
    cdef qnn_target target
    cdef qnn_counts counts
    cdef object array, bias, alive
    cdef int requantize

    @staticmethod
    cdef _Sink make(tuple shape, int wide, object target, object exponent, object bias):
        cdef _Sink sink = _Sink.__new__(_Sink)
        cdef cnp.ndarray array
        sink.requantize = target is not None
        sink.output.wide = wide
        sink.output.columns = shape[len(shape) - 1]
        sink.output.target = NULL
        sink.output.bias = NULL
        sink.output.table = NULL
        sink.output.totals = NULL
        sink.counts.nonzero = sink.counts.overflow = sink.counts.overflow_double = sink.counts.saturated = 0
        if sink.requantize:
            sink.array = _empty(shape, _INT8 if target.bits <= 8 else _INT16)
            exponent = PyNumber_Index(exponent)
            sink.alive = fill_target(&sink.target, target, exponent, 1, sink.array.size)
            sink.output.target = &sink.target
            sink._set_bias(bias)
        else:
            sink.array = _sums(shape, wide)
        array = sink.array
        sink.output.data = cnp.PyArray_DATA(array)
        return sink

    cdef int _set_bias(self, object bias) except -1:
        cdef cnp.ndarray array
        if bias is None:
            return 0
        if not isinstance(bias, cnp.ndarray) or bias.dtype != _np.int64:
            got = getattr(bias, "dtype", type(bias).__name__)
            raise TypeError(f"got a bias of type {got}; it must be an int64 array on the accumulator's grid; "
                            "convert it")
        if bias.shape != (self.output.columns,):
            raise ValueError(f"got a bias of shape {bias.shape}; it must be ({self.output.columns},), one per output "
                             "column; reshape it")
        array = _dense(bias)
        self.bias = array
        self.output.bias = <const int64_t *>cnp.PyArray_DATA(array)
        return 0

    cdef object result(self, int status):
        if status:
            raise MemoryError("got no memory for the kernel's buffers; they need about the size of the packed weights; "
                              "free some memory or use smaller batches")
        if not self.requantize:
            return self.array
        return self.array, _Counts(cnp.PyArray_SIZE(<cnp.ndarray>self.array), self.counts.nonzero, self.counts.overflow,
                                   self.counts.overflow_double, self.counts.saturated)


cdef class Kernels:
    """The operations of one compiled path, with the names and arguments of the dispatch table.

    Parameters
    ----------
    path : str
        One of :func:`paths`.
    """
    cdef const qnn_isa *isa

    def __cinit__(self, str path):
        self.isa = _isa(path)
        if self.isa == NULL:
            raise ValueError(f"got path {path!r}; this machine can run {paths()}; use one of these")

    cdef object _gemm(self, object left, object right, int trans_a, int trans_b, object target, object exponent,
                      object bias):
        cdef cnp.ndarray a = _operand(left, "a", 2), b = _operand(right, "b", 2)
        cdef qnn_gemm_problem p
        cdef _Sink sink
        cdef int status = 0, threads = _threads
        p.a, p.b, p.a_bytes, p.b_bytes = cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), _bytes(a), _bytes(b)
        p.trans_a, p.trans_b, p.codes4 = trans_a, trans_b, 0
        p.m, p.k = cnp.PyArray_DIM(a, 1 if trans_a else 0), cnp.PyArray_DIM(a, 0 if trans_a else 1)
        p.n = cnp.PyArray_DIM(b, 0 if trans_b else 1)
        if cnp.PyArray_DIM(b, 1 if trans_b else 0) != p.k:
            raise ValueError(
                f"got inner sizes {p.k} (a) and {cnp.PyArray_DIM(b, 1 if trans_b else 0)} (b); they must be equal; "
                "check the shapes and the trans_a/trans_b flags"
            )
        sink = _Sink.make((p.m, p.n), _is_wide(p.k, p.a_bytes, p.b_bytes), target, exponent, bias)
        if sink.array.size:
            with nogil:
                status = qnn_gemm(self.isa, &p, &sink.output, threads, &sink.counts)
        return sink.result(status)

    def gemm(self, a, b, bint trans_a=False, bint trans_b=False):
        """See :func:`qnn.numerics.mac.gemm`; the same bits."""
        return self._gemm(a, b, trans_a, trans_b, None, None, None)

    def gemm_requantize(self, a, b, bint trans_b, bias, exponent, target not None):
        """See :func:`qnn._kernels.mac.gemm_requantize`; the same bits."""
        return self._gemm(a, b, False, trans_b, target, exponent, bias)

    def shift_gemm4(self, x, packed, int64_t k):
        """Product of int8 rows and packed 4-bit power-of-two codes [N, (k + 1) // 2]: codes decoded, then multiplied.

        The caller has checked types and shapes, and that no sum leaves int32.
        """
        cdef cnp.ndarray a = _operand(x, "x", 2), codes = _dense(packed), weights
        cdef qnn_gemm_problem p
        cdef _Sink sink
        cdef int status, threads = _threads
        p.a, p.b, p.a_bytes, p.b_bytes = cnp.PyArray_DATA(a), cnp.PyArray_DATA(codes), 1, 1
        p.trans_a, p.trans_b, p.codes4 = 0, 1, 1
        p.m, p.n, p.k = cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(codes, 0), k
        sink = _Sink.make((p.m, p.n), 0, None, None, None)
        if not sink.array.size:
            return sink.array
        with nogil:
            status = qnn_gemm_codes4(self.isa, &p, &sink.output, threads, &sink.counts)
        if status <= 0:
            return sink.result(status)
        weights = _empty((p.n, k), _np.int8)
        with nogil:
            qnn_decode_codes4(self.isa, <const uint8_t *>p.b, p.n, k, threads, <int8_t *>cnp.PyArray_DATA(weights))
        return self._gemm(a, weights, False, True, None, None, None)

    cdef object _conv2d(self, object data, object weights, object stride, object padding, object dilation,
                        object groups, object target, object exponent, object bias, bint with_sums=False):
        cdef cnp.ndarray x = _operand(data, "x", 4), w = _operand(weights, "w", 4), sums
        cdef qnn_conv_shape s
        cdef _Sink sink
        cdef int status = 0, threads = _threads, xb = _bytes(x), wb = _bytes(w)
        _fill_shape(&s, data.shape, weights.shape, stride, padding, dilation, groups)
        sink = _Sink.make((s.images, s.oh, s.ow, s.filters), _is_wide(s.kh * s.kw * (s.channels // s.groups), xb, wb),
                          target, exponent, bias)
        if with_sums:
            sums = _np.zeros((2, s.filters), _np.int64)
            if sink.array.size:
                with nogil:
                    status = qnn_conv2d_sums(self.isa, &s, cnp.PyArray_DATA(x), xb, cnp.PyArray_DATA(w), wb,
                                             &sink.output, threads, &sink.counts, <int64_t *>cnp.PyArray_DATA(sums))
            return *sink.result(status), (sums[0], sums[1])
        if sink.array.size:
            with nogil:
                status = qnn_conv2d(self.isa, &s, cnp.PyArray_DATA(x), xb, cnp.PyArray_DATA(w), wb, &sink.output,
                                    threads, &sink.counts)
        return sink.result(status)

    def conv2d(self, x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        """See :func:`qnn.numerics.mac.conv2d`; the same bits."""
        return self._conv2d(x, w, stride, padding, dilation, groups, None, None, None)

    def conv2d_requantize(self, x, w, bias, exponent, target not None, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
                          groups=1, bint sums=False):
        """See :func:`qnn._kernels.mac.conv2d_requantize`; the same bits."""
        return self._conv2d(x, w, stride, padding, dilation, groups, target, exponent, bias, sums)

    def prepare_conv2d(self, w, bias, exponent, target not None, shape, table=None, stride=(1, 1), padding=(0, 0),
                       dilation=(1, 1), groups=1):
        """See :func:`qnn._kernels.mac.prepare_conv2d`; the same bits."""
        return _PreparedConv2d.make(self.isa, w, bias, exponent, target, shape, table, stride, padding, dilation,
                                    groups)

    cdef object _input_grad(self, object grad, object weights, object input_hw, object stride, object padding,
                            object dilation, object groups, object target, object exponent):
        cdef cnp.ndarray g = _operand(grad, "g", 4), w = _operand(weights, "w", 4)
        cdef qnn_conv_shape s
        cdef _Sink sink
        cdef int status = 0, threads = _threads, gb = _bytes(g), wb = _bytes(w)
        cdef int64_t height, width
        _pair(input_hw, "input_hw", 1, &height, &width)
        groups = PyNumber_Index(groups)
        _fill_shape(&s, (grad.shape[0], height, width, weights.shape[3] * groups), weights.shape, stride, padding,
                    dilation, groups)
        _check_output(g, &s)
        sink = _Sink.make((s.images, s.h, s.w, s.channels), _is_wide(s.kh * s.kw * (s.filters // s.groups), gb, wb),
                          target, exponent, None)
        if sink.array.size:
            with nogil:
                status = qnn_conv2d_input_grad(self.isa, &s, cnp.PyArray_DATA(g), gb, cnp.PyArray_DATA(w), wb,
                                               &sink.output, threads, &sink.counts)
        return sink.result(status)

    def conv2d_input_grad(self, g, w, input_hw, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        """See :func:`qnn.numerics.mac.conv2d_input_grad`; the same bits."""
        return self._input_grad(g, w, input_hw, stride, padding, dilation, groups, None, None)

    def conv2d_input_grad_requantize(self, g, w, input_hw, exponent, target not None, stride=(1, 1), padding=(0, 0),
                                     dilation=(1, 1), groups=1):
        """See :func:`qnn._kernels.mac.conv2d_input_grad_requantize`; the same bits."""
        return self._input_grad(g, w, input_hw, stride, padding, dilation, groups, target, exponent)

    def conv2d_weight_grad(self, x, g, kernel_hw, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        """See :func:`qnn.numerics.mac.conv2d_weight_grad`; the same bits."""
        cdef cnp.ndarray data = _operand(x, "x", 4), grad = _operand(g, "g", 4), out
        cdef qnn_conv_shape s
        cdef int status = 0, threads = _threads, xb = _bytes(data), gb = _bytes(grad), wide
        cdef int64_t height, width
        _pair(kernel_hw, "kernel_hw", 1, &height, &width)
        groups = PyNumber_Index(groups)
        _fill_shape(&s, x.shape, (g.shape[3], height, width, x.shape[3] // max(groups, 1)), stride, padding, dilation,
                    groups)
        _check_output(grad, &s)
        wide = _is_wide(s.images * s.oh * s.ow, xb, gb)
        out = _sums((s.filters, s.kh, s.kw, s.channels // s.groups), wide)
        if out.size:
            with nogil:
                status = qnn_conv2d_weight_grad(self.isa, &s, cnp.PyArray_DATA(data), xb, cnp.PyArray_DATA(grad), gb,
                                                wide, cnp.PyArray_DATA(out), threads)
        if status:
            raise MemoryError("got no memory for the sums of the weight gradient; they need 4 or 8 bytes per weight and "
                              "thread; free some memory or use fewer threads")
        return out


cdef class _PreparedConv2d:
    """A convolution that was checked once, its weights packed where the path keeps them so; called with images."""
    cdef qnn_prepared_conv *prepared
    cdef qnn_output output
    cdef qnn_target target
    cdef qnn_conv_shape shape
    cdef object weights, bias, table, kind, rest

    def __dealloc__(self):
        qnn_prepared_conv_release(self.prepared)

    @staticmethod
    cdef _PreparedConv2d make(const qnn_isa *isa, object weights, object bias, object exponent, object target,
                              object shape, object table, object stride, object padding, object dilation,
                              object groups):
        cdef _PreparedConv2d p = _PreparedConv2d.__new__(_PreparedConv2d)
        cdef cnp.ndarray w = _operand(weights, "w", 4).copy()
        cdef _Sink sink
        cdef int wide, threads = _threads
        p.rest = tuple(shape)
        _fill_shape(&p.shape, (1, *p.rest), weights.shape, stride, padding, dilation, groups)
        wide = _is_wide(p.shape.kh * p.shape.kw * (p.shape.channels // p.shape.groups), 1, _bytes(w))
        _check_prepared(target, table, p.shape.filters)
        sink = _Sink.make((0, p.shape.oh, p.shape.ow, p.shape.filters), wide, target, exponent,
                          None if bias is None else _np.array(bias, copy=True))
        p.kind, p.weights, p.bias = sink.array.dtype, w, sink.bias
        p.output, p.target = sink.output, sink.target
        p.output.data, p.output.target = NULL, NULL
        if table is not None:
            p.table = _np.array(table, order="C", copy=True)
            p.output.table = <const int8_t *>cnp.PyArray_DATA(<cnp.ndarray>p.table)
            p.output.vbmi = isa != qnn_isa_c() and isa != qnn_isa_avx2() and qnn_cpu_has_vbmi()
        p.prepared = qnn_prepare_conv2d(isa, &p.shape, 1, cnp.PyArray_DATA(w), _bytes(w), wide, threads)
        if p.prepared == NULL:
            raise MemoryError("got no memory for packed weights; they need about the size of the weights; free some "
                              "memory")
        return p

    def __call__(self, cnp.ndarray x not None):
        cdef qnn_output output = self.output
        cdef qnn_counts counts = [0, 0, 0, 0]
        cdef cnp.ndarray out
        cdef int64_t images = x.shape[0] if x.ndim == 4 else 0
        cdef int status = 0, threads = _threads
        if x.ndim != 4 or cnp.PyArray_TYPE(x) != cnp.NPY_INT8 or not (
                x.shape[1] == self.shape.h and x.shape[2] == self.shape.w and x.shape[3] == self.shape.channels):
            raise ValueError(f"got {x.dtype} of shape {(<object>x).shape}; this convolution was prepared for int8 of "
                             f"[N, {', '.join(map(str, self.rest))}]: pass such an array")
        x = _dense(x)
        out = _empty((images, self.shape.oh, self.shape.ow, self.shape.filters), self.kind)
        output.data, output.target = cnp.PyArray_DATA(out), &self.target
        if cnp.PyArray_SIZE(out):
            with nogil:
                status = qnn_prepared_conv2d(self.prepared, images, cnp.PyArray_DATA(x), &output, threads, &counts)
        if status:
            raise MemoryError("got no memory for the kernel's buffers; free some memory or use smaller batches")
        return out


cdef int64_t _positions(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) noexcept:
    """Outputs along one axis (clause MAC-4); 0 where the definition is to be asked."""
    cdef int64_t room = size + 2 * padding - 1
    if not 1 <= size <= _LARGEST or kernel < 1 or kernel - 1 > room // dilation:  # no product leaves int64
        return 0
    return (room - dilation * (kernel - 1)) // stride + 1


cdef int _fill_shape(qnn_conv_shape *s, tuple x, tuple w, object stride, object padding, object dilation,
                     object groups) except -1:
    """Geometry of a convolution of x [N, H, W, C] with w [O, KH, KW, C // groups], checked by the definition's code."""
    cdef int64_t part
    groups = PyNumber_Index(groups)
    _pair(stride, "stride", 1, &s.stride_y, &s.stride_x)
    _pair(padding, "padding", 0, &s.pad_y, &s.pad_x)
    _pair(dilation, "dilation", 1, &s.dilation_y, &s.dilation_x)
    if not 1 <= groups <= _LARGEST:
        _check_conv_shapes(x, w, groups)  # which says what is wrong
    s.images, s.h, s.w, s.channels = x
    s.filters, s.kh, s.kw, part = w
    if not (1 <= groups <= s.channels and s.filters % <int64_t>groups == 0 and part * groups == s.channels):
        _check_conv_shapes(x, w, groups)
    s.groups = groups
    s.oh = _positions(s.h, s.kh, s.stride_y, s.pad_y, s.dilation_y)
    s.ow = _positions(s.w, s.kw, s.stride_x, s.pad_x, s.dilation_x)
    if s.oh < 1 or s.ow < 1:
        s.oh, s.ow = _conv_output_hw(x[1:3], w[1:3], (s.stride_y, s.stride_x), (s.pad_y, s.pad_x),
                                     (s.dilation_y, s.dilation_x))
    # One output takes no stride and one tap no dilation: with 1 instead, no buffer grows with them.
    if s.oh == 1:
        s.stride_y = 1
    if s.ow == 1:
        s.stride_x = 1
    if s.kh == 1:
        s.dilation_y = 1
    if s.kw == 1:
        s.dilation_x = 1
    return 0


cdef int _check_output(cnp.ndarray grad, qnn_conv_shape *s) except -1:
    if not (grad.shape[0] == s.images and grad.shape[1] == s.oh and grad.shape[2] == s.ow
            and grad.shape[3] == s.filters):
        got, expected = (<object>grad).shape, (s.images, s.oh, s.ow, s.filters)
        raise ValueError(f"got an output gradient of shape {got}; the convolution's output has {expected}; "
                         "check stride, padding and dilation")
    return 0
