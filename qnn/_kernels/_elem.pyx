"""Binding of everything that is not a matrix product: looks at the arguments, releases the lock, calls plain C.

Every operation takes the number of its path first (0: c, 1: avx2, 2: avx512vnni), then the arguments of its definition.
Arguments that the C code has no version for, or that are wrong, go to the definition, which computes the result or says
what is wrong; so results and messages are the same on every path.
"""

import operator as _operator

import numpy as _np

cimport numpy as cnp

from qnn.numerics.batchnorm import Statistics as _Statistics
from qnn.numerics.dfp import Target as _Target
from qnn.numerics.elementary import constants as _constants
from qnn.numerics.elementary import power64 as _power64
from qnn.numerics.exponent import Counts as _Counts
from qnn.numerics.mac import conv_output_hw as _conv_output_hw
from qnn.numerics.noise import Noise as _Noise
from qnn.numerics.pooling import pool_output_shape as _pool_output_shape
from qnn.numerics.pow2 import ap2 as _ap2
from qnn.numerics.pow2 import ap2_carry as _ap2_carry
from qnn.numerics.pow2 import shift_accumulator_dtype as _shift_accumulator_dtype
from qnn.numerics.update import stores_ap2 as _stores_ap2

include "_target.pxi"

cdef extern from "<math.h>" nogil:
    double ldexp(double x, int exponent) noexcept
    float _INFINITY "INFINITY"

cnp.import_array()

cdef extern from "qnn_cpu.h" nogil:
    int qnn_cpu_has_avx2() noexcept
    int qnn_cpu_has_lanes512() noexcept
    int qnn_cpu_has_vbmi() noexcept
    int qnn_cpu_has_vpopcnt() noexcept

cdef extern from "qnn_elem.h" nogil:
    ctypedef struct qnn_how:
        int avx2, avx512, threads
        const void *ahead
    ctypedef struct qnn_term:
        const void *data
        int bytes
        int shift
    ctypedef struct qnn_pool:
        int64_t images, h, w, channels, oh, ow, kh, kw, stride_y, stride_x, pad_y, pad_x
    ctypedef struct qnn_window:
        int64_t images, h, w, channels, filters, kh, kw, oh, ow, stride_y, stride_x, pad_y, pad_x
        int64_t dilation_y, dilation_x, groups
    enum:
        QNN_MOST_TERMS
        QNN_PACK_S8
        QNN_PACK_S16
        QNN_PACK_S32
        QNN_PACK_F32
    void qnn_requantize_tensor(const void *acc, int acc_bytes, const int64_t *bias, int64_t rows, int64_t cols,
                               const qnn_target *t, qnn_how how, void *out, qnn_counts *counts) noexcept
    void qnn_scale_tensor(const void *x, int x_bytes, const int32_t *gamma, const int64_t *bias, int64_t rows,
                          int64_t cols, const qnn_target *t, int rectify, qnn_how how, void *out,
                          qnn_counts *counts) noexcept
    void qnn_add_tensors(const qnn_term *terms, int count, int wide, int64_t n, const qnn_target *t, int rectify,
                         const void *y, int y_bytes, qnn_how how, void *out, qnn_counts *counts) noexcept
    int64_t qnn_quantize_tensor(const float *x, int64_t n, const qnn_target *t, qnn_how how, void *out,
                                qnn_counts *counts) noexcept
    int64_t qnn_normalize_tensor(const void *x, int x_bytes, const float *mean, const float *k, int64_t rows,
                                 int64_t cols, const qnn_target *t, qnn_how how, void *out, qnn_counts *counts) noexcept
    int64_t qnn_normalize_grad_tensor(const void *g, int g_bytes, const void *x, int x_bytes, const float *a,
                                      const float *b, const float *c, int64_t rows, int64_t cols, const qnn_target *t,
                                      qnn_how how, void *out, qnn_counts *counts) noexcept
    int64_t qnn_normalize_scale_tensor(const void *x, int x_bytes, const float *mean, const float *k, int64_t rows,
                                       int64_t cols, const qnn_target *normal, void *normal_out,
                                       qnn_counts *normal_counts, const int32_t *gamma, const int64_t *bias,
                                       const qnn_target *t, int rectify, qnn_how how, void *out,
                                       qnn_counts *counts) noexcept
    int qnn_scale_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, const void *x, int x_bytes,
                              const void *z, int z_bytes, const int32_t *gamma, int64_t rows, int64_t cols,
                              const qnn_target *t, qnn_how how, void *out, qnn_counts *counts, int64_t *sums) noexcept
    int qnn_channel_sums(const void *x, int x_bytes, const void *y, int y_bytes, int64_t rows, int64_t cols,
                         qnn_how how, int64_t *sum, int64_t *dot) noexcept
    void qnn_look_up_tensor(const void *codes, const int8_t *table, int64_t rows, int64_t cols, qnn_how how,
                            int8_t *out) noexcept
    void qnn_clip_tensor(const void *x, int bytes, int64_t n, int32_t low, int32_t high, qnn_how how,
                         void *out) noexcept
    ctypedef struct qnn_pixels:
        int64_t images, h, w, oh, ow, stride, pixel, out_pixel
    void qnn_subsample(const qnn_pixels *p, const void *x, qnn_how how, void *y) noexcept
    void qnn_subsample_grad(const qnn_pixels *p, const void *g, qnn_how how, void *dx) noexcept
    void qnn_relu_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, int64_t n, qnn_how how,
                              void *out) noexcept
    void qnn_int_range(const void *x, int bytes, int64_t n, qnn_how how, int64_t *low, int64_t *high) noexcept
    int64_t qnn_float_range(const float *x, int64_t n, qnn_how how, float *low, float *high) noexcept
    void qnn_noise_tensor(const qnn_target *t, int64_t n, qnn_how how, uint16_t *out) noexcept
    ctypedef struct qnn_sgd:
        float rate, momentum, weight_decay
        int nesterov
    ctypedef struct qnn_adam:
        float rate, beta1, take1, beta2, take2, correct1, correct2, epsilon, weight_decay
        int stores
        uint32_t carry
    ctypedef struct qnn_gradient:
        const void *data
        int bytes
        double power
    int64_t qnn_sgd_step(const qnn_sgd *how_to, const float *w, qnn_gradient g, const float *velocity, int64_t n,
                         qnn_how how, float *w_out, float *velocity_out) noexcept
    int64_t qnn_adam_step(const qnn_adam *how_to, const float *w, const float *g, const float *first,
                          const float *second, int64_t n, qnn_how how, float *w_out, float *first_out,
                          float *second_out) noexcept
    int64_t qnn_shift_adamax_step(const qnn_adam *how_to, const float *w, const float *g, const float *first,
                                  const float *largest, int64_t n, qnn_how how, float *w_out, float *first_out,
                                  float *largest_out) noexcept
    void qnn_to_float32(const void *ints, int bytes, int64_t n, double power, qnn_how how, float *out) noexcept
    void qnn_max_pool(const qnn_pool *p, const void *x, int bytes, qnn_how how, void *y, int32_t *index) noexcept
    void qnn_max_pool_grad(const qnn_pool *p, const void *g, int bytes, const int32_t *index, qnn_how how,
                           int32_t *dx) noexcept
    void qnn_max_unpool(const qnn_pool *p, const void *g, int bytes, const int32_t *index, qnn_how how,
                        void *dx) noexcept
    void qnn_sum_pool(const qnn_pool *p, const void *x, int bytes, qnn_how how, int32_t *y) noexcept
    void qnn_sum_pool_grad(const qnn_pool *p, const void *g, int bytes, qnn_how how, int32_t *dx) noexcept
    void qnn_pow2_weights(const uint8_t *packed, int bits, int64_t rows, int64_t k, int16_t *weights) noexcept
    int qnn_shift_gemm(const void *x, int x_bytes, const uint8_t *packed, int bits, int64_t m, int64_t n, int64_t k,
                       int wide, int truncating, qnn_how how, void *y) noexcept
    int qnn_shift_conv2d(const qnn_window *window, const void *x, int x_bytes, const uint8_t *packed, int bits,
                         int wide, int truncating, qnn_how how, void *y) noexcept
    int qnn_xnor_gemm(const uint64_t *a, const uint64_t *b, int64_t m, int64_t n, int64_t k, qnn_how how,
                      int32_t *y) noexcept
    int qnn_xnor_conv2d(const qnn_window *window, const uint64_t *x, const uint64_t *w, int pad, qnn_how how,
                        int32_t *y) noexcept
    int qnn_bitplane_gemm(const uint8_t *x, const uint64_t *w, int64_t m, int64_t n, int64_t k, qnn_how how,
                          int32_t *y) noexcept
    void qnn_running_update(const float *running, const float *fresh, float keep, int64_t channels,
                            float *out) noexcept
    int qnn_bn_statistics(const int64_t *s1, const int64_t *s2, int64_t count, double power, float eps,
                          int64_t channels, float *out) noexcept
    int qnn_bn_grad_coefficients(const float *mean_q, const float *inv_std, const float *k, const int64_t *s1,
                                 const int64_t *sg, const int64_t *sgx, int64_t count, double power, int64_t channels,
                                 float *out) noexcept
    ctypedef struct qnn_elementary:
        const double *exp_table
        const double *log_table
        double steps_per_unit, step_high, step_low, ln2
    int qnn_softmax_cross_entropy(const float *logits, const int64_t *labels, int64_t rows, int64_t classes,
                                  int64_t total_rows, const qnn_elementary *tables, int64_t *losses, float *grad) noexcept
    int64_t qnn_pack_bits(const void *x, int type, int64_t rows, int64_t k, qnn_how how, uint64_t *words) noexcept

OPERATIONS = (
    "quantize", "requantize", "add_requantize", "noise_u16", "int_range", "float_range", "channel_sums", "channel_dots",
    "bn_statistics", "bn_grad_coefficients", "running_update", "softmax_cross_entropy",
    "normalize", "normalize_grad", "normalize_scale", "scale", "scale_grad", "max_pool", "max_pool_grad", "sum_pool",
    "sum_pool_grad", "relu",
    "relu_grad", "clip_ints", "subsample", "subsample_grad", "look_up", "prepare_add", "sgd", "adam", "shift_adamax", "ints_to_float32", "shift_gemm", "shift_conv2d", "xnor_gemm", "xnor_conv2d", "pack_bits", "bitplane_gemm",
)

cdef int _threads = 1
cdef dict _reference = {}
cdef object _INT8 = _np.dtype(_np.int8), _INT16 = _np.dtype(_np.int16), _INT32 = _np.dtype(_np.int32)
cdef object _INT64 = _np.dtype(_np.int64), _FLOAT32 = _np.dtype(_np.float32)
cdef object _UINT8 = _np.dtype(_np.uint8), _UINT64 = _np.dtype(_np.uint64)
# What exp32 and log32 compute with, from their definition; made at the first use, since the table of logarithms takes
# longer than everything else that an import does.
cdef object _exp_table = None, _log_table = None
cdef qnn_elementary _elementary
# Geometry beyond this goes to the definition: no product of sizes here can leave int64.
cdef int64_t _LARGEST = 2**30


def set_threads(int count):
    """Use at most `count` threads from now on; the dispatch has checked the number."""
    global _threads
    _threads = count


def set_reference(dict reference):
    """The definitions that take what the C code does not."""
    global _reference
    _reference = reference


def has_avx2():
    """Return whether this processor runs the avx2 path."""
    return bool(qnn_cpu_has_avx2())


def has_avx512():
    """Return whether this processor runs elementwise steps of the avx512vnni path."""
    return bool(qnn_cpu_has_lanes512())


def has_vbmi():
    """Return whether this processor looks bytes up in vectors on the path avx512vnni."""
    return bool(qnn_cpu_has_vbmi())


def has_vpopcnt():
    """Return whether this processor runs products of bits on the path avx512vnni."""
    return bool(qnn_cpu_has_vpopcnt())


cdef inline qnn_how _how(int path) noexcept nogil:
    cdef qnn_how how
    how.avx2 = path
    how.avx512 = path >= 2
    how.threads = _threads
    how.ahead = NULL
    return how


cdef inline bint _is(object array, object dtype):
    return isinstance(array, cnp.ndarray) and (
        (<cnp.ndarray>array).dtype is dtype or (<cnp.ndarray>array).dtype == dtype)


cdef inline bint _is_small(object array):
    """Whether it is an array of int8 or int16."""
    return _is(array, _INT8) or _is(array, _INT16)


cdef inline bint _is_row(object array, object dtype, int64_t size):
    return _is(array, dtype) and (<cnp.ndarray>array).ndim == 1 and (<cnp.ndarray>array).shape[0] == size


cdef inline bint _alike(object array, object other):
    """Whether it is an array of int8 or int16 of the other one's shape."""
    return _is_small(array) and cnp.PyArray_SAMESHAPE(<cnp.ndarray>array, <cnp.ndarray>other)


cdef inline bint _has_axes(object array):
    return (<cnp.ndarray>array).ndim > 0


cdef inline int64_t _size(object array):
    return cnp.PyArray_SIZE(<cnp.ndarray>array)


cdef inline int64_t _last(object array):
    """Length of the last axis of an array that has one."""
    return (<cnp.ndarray>array).shape[(<cnp.ndarray>array).ndim - 1]


cdef cnp.ndarray _dense(object array):
    """The array itself if it is aligned and in C order, else a copy that is."""
    if cnp.PyArray_CHKFLAGS(<cnp.ndarray>array, cnp.NPY_ARRAY_CARRAY_RO):
        return <cnp.ndarray>array
    return <cnp.ndarray>_np.array(array, order="C", copy=True, subok=False)


cdef inline int _bytes(cnp.ndarray array) noexcept nogil:
    return <int>cnp.PyArray_ITEMSIZE(array)


cdef inline object _storage(object shape, object target):
    return _empty(shape, _INT8 if target.bits <= 8 else _INT16)


cdef inline object _made(qnn_counts *c, object total):
    return _Counts(total, c.nonzero, c.overflow, c.overflow_double, c.saturated)


cdef object _no_memory():
    return MemoryError("got no memory for the scratch space of a kernel; use smaller batches or free memory")


cdef bint _fits(tuple numbers) except -1:
    """Whether all are whole numbers of a size that the C code counts with."""
    for number in numbers:
        if not 0 <= _operator.index(number) <= _LARGEST:
            return False
    return True


# --- integers and real values to n bits ---
def quantize(int path, object x, object target):
    if not (_is(x, _FLOAT32) and isinstance(target, _Target)):
        return _reference["quantize"](x, target)
    cdef cnp.ndarray flat = _dense(x), out = _storage(x.shape, target)
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int64_t n = _size(x), bad
    alive = fill_target(&t, target, 0, 1, n)
    with nogil:
        bad = qnn_quantize_tensor(<float *>flat.data, n, &t, _how(path), out.data, &counts)
    if bad:
        return _reference["quantize"](x, target)
    return out, _made(&counts, n)


def requantize(int path, object acc, object exponent, object target, object divisor=1, object bias=None):
    if not (isinstance(acc, cnp.ndarray) and acc.dtype in (_INT8, _INT16, _INT32, _INT64)
            and isinstance(target, _Target)
            and (bias is None or (acc.ndim > 0 and _is_row(bias, _INT64, _last(acc))))
            and 1 <= _operator.index(divisor) < 2**63):
        return _reference["requantize"](acc, exponent, target, divisor, bias)
    cdef cnp.ndarray flat = _dense(acc), out = _storage(acc.shape, target), addend
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int64_t n = acc.size, cols = 1
    cdef const int64_t *biases = NULL
    alive = fill_target(&t, target, _operator.index(exponent), _operator.index(divisor), n)
    if n == 0:
        return out, _Counts()
    if bias is not None:
        addend = _dense(bias)
        biases = <int64_t *>addend.data
        cols = addend.shape[0]
    with nogil:
        qnn_requantize_tensor(flat.data, _bytes(flat), biases, n // cols, cols, &t, _how(path), out.data, &counts)
    return out, _made(&counts, n)


def add_requantize(int path, object terms, object target, object rectify=False, object output=None):
    cdef qnn_term items[QNN_MOST_TERMS]
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int i = 0
    cdef cnp.ndarray flat, out
    terms = list(terms)
    if not (0 < len(terms) <= QNN_MOST_TERMS and isinstance(target, _Target)):
        return _reference["add_requantize"](terms, target, rectify, output)
    for ints, _ in terms:
        if not (_is_small(ints) and ints.shape == terms[0][0].shape and (output is None or _alike(output, ints))):
            return _reference["add_requantize"](terms, target, rectify, output)
    exponents = [_operator.index(exponent) for _, exponent in terms]
    lowest = min(exponents)
    if max(exponents) - lowest > 64:
        return _reference["add_requantize"](terms, target, rectify, output)
    bound = sum(1 << (8 * ints.itemsize - 1 + exponent - lowest) for (ints, _), exponent in zip(terms, exponents))
    if bound >= 2**62:
        return _reference["add_requantize"](terms, target, rectify, output)
    kept = []
    for (ints, _), exponent in zip(terms, exponents):
        flat = _dense(ints)
        kept.append(flat)
        items[i].data = flat.data
        items[i].bytes = _bytes(flat)
        items[i].shift = exponent - lowest
        i += 1
    out = _storage(terms[0][0].shape, target)
    cdef int64_t n = out.size
    cdef int wide = bound >= 2**31, rectified = bool(rectify), y_bytes = 0
    cdef const void *y = NULL
    if output is not None:
        flat = _dense(output)
        kept.append(flat)
        y, y_bytes = flat.data, _bytes(flat)
    alive = fill_target(&t, target, lowest, 1, n)
    with nogil:
        qnn_add_tensors(items, i, wide, n, &t, rectified, y, y_bytes, _how(path), out.data, &counts)
    return out, _made(&counts, n)


cdef class _PreparedAdd:
    """A sum of bytes with one rounding whose exponents, target and table were checked once; called with the terms."""
    cdef qnn_target target
    cdef qnn_term items[QNN_MOST_TERMS]
    cdef int path, table_path, count, wide
    cdef object kind, table, definition

    def __call__(self, *terms):
        cdef qnn_counts counts = [0, 0, 0, 0]
        cdef qnn_term items[QNN_MOST_TERMS]
        cdef cnp.ndarray first, flat, out
        cdef int i
        cdef int64_t n, cols
        if self.count == 0 or len(terms) != self.count or not all([_is(term, _INT8) for term in terms]):
            return self.definition(*terms)
        first = terms[0]
        dense = []
        for i in range(self.count):
            flat = _dense(terms[i])
            if flat.ndim != first.ndim or not cnp.PyArray_SAMESHAPE(flat, first):
                return self.definition(*terms)
            dense.append(flat)
            items[i].data, items[i].bytes, items[i].shift = flat.data, 1, self.items[i].shift
        out = _empty((<object>first).shape, self.kind)
        n = cnp.PyArray_SIZE(out)
        if self.table is not None and (first.ndim == 0 or _last(first) != self.table.shape[0]):
            return self.definition(*terms)
        cols = _last(first) if self.table is not None else 1
        with nogil:
            qnn_add_tensors(items, self.count, self.wide, n, &self.target, 0, NULL, 0, _how(self.path), out.data,
                            &counts)
        if self.table is not None and n:
            flat = self.table
            with nogil:
                qnn_look_up_tensor(out.data, <int8_t *>flat.data, n // cols, cols, _how(self.table_path),
                                   <int8_t *>out.data)
        return out


def prepare_add(int path, object exponents, object target, object table=None):
    cdef _PreparedAdd p = _PreparedAdd.__new__(_PreparedAdd)
    cdef int i
    definition = _reference["prepare_add"](exponents, target, table)
    exponents = [_operator.index(exponent) for exponent in exponents]
    lowest = min(exponents)
    if len(exponents) > QNN_MOST_TERMS or max(exponents) - lowest > 50:
        return definition
    bound = sum(128 << (exponent - lowest) for exponent in exponents)
    p.path, p.count, p.wide, p.definition = path, len(exponents), bound >= 2**31, definition
    p.table_path = path if path < 2 or qnn_cpu_has_vbmi() else 1
    for i in range(p.count):
        p.items[i].shift = exponents[i] - lowest
    p.kind = _INT8 if target.bits <= 8 else _INT16
    p.table = None if table is None else _np.array(table, order="C", copy=True)
    fill_target(&p.target, target, lowest, 1, 0)
    return p


def scale(int path, object x, object gamma, object bias, object exponent, object target,
          object rectify=False):
    if not (_is_small(x) and x.ndim > 0 and (_is_row(gamma, _INT8, _last(x)) or _is_row(gamma, _INT16, _last(x)))
            and (bias is None or _is_row(bias, _INT64, _last(x))) and isinstance(target, _Target)):
        return _reference["scale"](x, gamma, bias, exponent, target, rectify)
    cdef cnp.ndarray flat = _dense(x), factors = gamma.astype(_np.int32), out = _storage(x.shape, target), addend
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int64_t n = x.size, cols = _last(x)
    cdef const int64_t *biases = NULL
    cdef int rectified = bool(rectify)
    alive = fill_target(&t, target, _operator.index(exponent), 1, n)
    if n == 0:
        return out, _Counts()
    if bias is not None:
        addend = _dense(bias)
        biases = <int64_t *>addend.data
    with nogil:
        qnn_scale_tensor(flat.data, _bytes(flat), <int32_t *>factors.data, biases, n // cols, cols, &t, rectified,
                         _how(path), out.data, &counts)
    return out, _made(&counts, n)


def scale_grad(int path, object g, object x, object gamma, object exponent, object target, object behind=None,
               object output=None):
    if not (_is_small(x) and _has_axes(x) and _size(x) and _alike(g, x)
            and (_is_row(gamma, _INT8, _last(x)) or _is_row(gamma, _INT16, _last(x))) and isinstance(target, _Target)
            and (behind is None or _alike(behind, x)) and (output is None or _alike(output, x))):
        return _reference["scale_grad"](g, x, gamma, exponent, target, behind, output)
    cdef cnp.ndarray out = _storage(x.shape, target)
    if output is not None and _bytes(out) != _bytes(g):
        g, output = relu_grad(path, g, output), None
    cdef cnp.ndarray flat_g = _dense(g), flat_x = _dense(x), flat_y, flat_z
    cdef cnp.ndarray factors = cnp.PyArray_Cast(<cnp.ndarray>gamma, cnp.NPY_INT32)
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int64_t n = _size(x), cols = _last(x)
    cdef cnp.ndarray sums = _empty((4, cols), _INT64)
    cdef const void *y = NULL
    cdef const void *z = NULL
    cdef int y_bytes = 0, z_bytes = 0, failed
    alive = fill_target(&t, target, _operator.index(exponent), 1, n)
    if output is not None:
        flat_y = _dense(output)
        y, y_bytes = flat_y.data, _bytes(flat_y)
    if behind is not None:
        flat_z = _dense(behind)
        z, z_bytes = flat_z.data, _bytes(flat_z)
    with nogil:
        failed = qnn_scale_grad_tensor(flat_g.data, _bytes(flat_g), y, y_bytes, flat_x.data, _bytes(flat_x), z, z_bytes,
                                       <int32_t *>factors.data, n // cols, cols, &t, _how(path), out.data, &counts,
                                       <int64_t *>sums.data)
    if failed:
        raise MemoryError("no memory for sums per channel")
    return out, _made(&counts, n), (sums[0], sums[1]), None if behind is None else (sums[2], sums[3])


def normalize(int path, object x, object mean_q, object k, object target):
    if not (_is_small(x) and x.ndim > 0 and _is_row(mean_q, _FLOAT32, _last(x)) and _is_row(k, _FLOAT32, _last(x))
            and isinstance(target, _Target)):
        return _reference["normalize"](x, mean_q, k, target)
    cdef cnp.ndarray flat = _dense(x), means = _dense(mean_q), factors = _dense(k), out = _storage(x.shape, target)
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int64_t n = x.size, cols = _last(x), bad
    alive = fill_target(&t, target, 0, 1, n)
    if n == 0:
        return out, _Counts()
    with nogil:
        bad = qnn_normalize_tensor(flat.data, _bytes(flat), <float *>means.data, <float *>factors.data, n // cols,
                                   cols, &t, _how(path), out.data, &counts)
    if bad:
        return _reference["normalize"](x, mean_q, k, target)
    return out, _made(&counts, n)


def normalize_scale(int path, object x, object mean_q, object k, object target, object gamma, object bias,
                    object exponent, object scaled, object rectify=False):
    if not (_is_small(x) and _has_axes(x) and _size(x) and _is_row(mean_q, _FLOAT32, _last(x))
            and _is_row(k, _FLOAT32, _last(x)) and isinstance(target, _Target)
            and (_is_row(gamma, _INT8, _last(x)) or _is_row(gamma, _INT16, _last(x)))
            and (bias is None or _is_row(bias, _INT64, _last(x))) and isinstance(scaled, _Target)):
        return _reference["normalize_scale"](x, mean_q, k, target, gamma, bias, exponent, scaled, rectify)
    cdef cnp.ndarray flat = _dense(x), means = _dense(mean_q), inverses = _dense(k)
    cdef cnp.ndarray factors = cnp.PyArray_Cast(<cnp.ndarray>gamma, cnp.NPY_INT32)
    cdef cnp.ndarray xhat = _storage(x.shape, target), out = _storage(x.shape, scaled), addend
    cdef qnn_target first, second
    cdef qnn_counts counts = [0, 0, 0, 0], scaled_counts = [0, 0, 0, 0]
    cdef int64_t n = _size(x), cols = _last(x), bad
    cdef const int64_t *biases = NULL
    cdef int rectified = bool(rectify)
    alive = fill_target(&first, target, 0, 1, n), fill_target(&second, scaled, _operator.index(exponent), 1, n)
    if bias is not None:
        addend = _dense(bias)
        biases = <int64_t *>addend.data
    with nogil:
        bad = qnn_normalize_scale_tensor(flat.data, _bytes(flat), <float *>means.data, <float *>inverses.data, n // cols,
                                         cols, &first, xhat.data, &counts, <int32_t *>factors.data, biases, &second,
                                         rectified, _how(path), out.data, &scaled_counts)
    if bad:
        return _reference["normalize_scale"](x, mean_q, k, target, gamma, bias, exponent, scaled, rectify)
    return xhat, _made(&counts, n), out, _made(&scaled_counts, n)


def normalize_grad(int path, object g, object x, object a, object b, object c, object target):
    if not (_is_small(x) and _has_axes(x) and _alike(g, x) and _is_row(a, _FLOAT32, _last(x))
            and _is_row(b, _FLOAT32, _last(x)) and _is_row(c, _FLOAT32, _last(x)) and isinstance(target, _Target)):
        return _reference["normalize_grad"](g, x, a, b, c, target)
    cdef cnp.ndarray flat_g = _dense(g), flat_x = _dense(x), da = _dense(a), db = _dense(b), dc = _dense(c)
    cdef cnp.ndarray out = _storage(x.shape, target)
    cdef qnn_target t
    cdef qnn_counts counts = [0, 0, 0, 0]
    cdef int64_t n = _size(x), cols = _last(x), bad
    alive = fill_target(&t, target, 0, 1, n)
    if n == 0:
        return out, _Counts()
    with nogil:
        bad = qnn_normalize_grad_tensor(flat_g.data, _bytes(flat_g), flat_x.data, _bytes(flat_x), <float *>da.data,
                                        <float *>db.data, <float *>dc.data, n // cols, cols, &t, _how(path), out.data,
                                        &counts)
    if bad:
        return _reference["normalize_grad"](g, x, a, b, c, target)
    return out, _made(&counts, n)


# --- sums, ranges, simple operations, noise ---
cdef object _sums(int path, cnp.ndarray x, cnp.ndarray y, int64_t cols):
    cdef cnp.ndarray total = _empty(cols, _INT64), dot = _empty(cols, _INT64)
    cdef int64_t rows = _size(x) // cols
    cdef int failed
    with nogil:
        failed = qnn_channel_sums(x.data, _bytes(x), y.data, _bytes(y), rows, cols, _how(path), <int64_t *>total.data,
                                  <int64_t *>dot.data)
    if failed:
        raise _no_memory()
    return total, dot


def channel_sums(int path, object x):
    if not (_is_small(x) and _has_axes(x) and _size(x)):
        return _reference["channel_sums"](x)
    flat = _dense(x)
    return _sums(path, flat, flat, _last(x))


def channel_dots(int path, object g, object x):
    if not (_is_small(x) and _has_axes(x) and _size(x) and _alike(g, x)):
        return _reference["channel_dots"](g, x)
    return _sums(path, _dense(g), _dense(x), _last(x))


# Scaling by twice the exponent must stay within FLT-3's range; the powers are then normal numbers of binary64.
cdef int _MOST_EXPONENT = 200


def bn_statistics(int path, object s1, object s2, object count, object exponent, object eps):
    cdef int64_t channels = s1.size, entries = _operator.index(count)
    cdef int e = max(-1000, min(1000, _operator.index(exponent)))
    cdef float eps32 = eps
    cdef cnp.ndarray out, d1, d2
    cdef int done
    if (_is_row(s1, _INT64, channels) and _is_row(s2, _INT64, channels) and entries >= 1 and 0 < eps32 < _INFINITY
            and -_MOST_EXPONENT <= e <= _MOST_EXPONENT):
        out, d1, d2 = _empty((5, channels), _FLOAT32), _dense(s1), _dense(s2)
        with nogil:
            done = qnn_bn_statistics(<int64_t *>d1.data, <int64_t *>d2.data, entries, ldexp(1.0, e), eps32, channels,
                                     <float *>out.data)
        if done:
            return _Statistics(out[0], out[1], out[2], out[3], out[4])
    return _reference["bn_statistics"](s1, s2, count, exponent, eps)


def bn_grad_coefficients(int path, object stats, object s1, object sg, object sgx, object count, object g_exponent):
    cdef int64_t channels = s1.size, entries = _operator.index(count)
    cdef int e = max(-1000, min(1000, _operator.index(g_exponent)))
    cdef cnp.ndarray out, mean_q, inv_std, k, d1, dg, dgx
    cdef int done
    if (_is_row(s1, _INT64, channels) and _is_row(sg, _INT64, channels) and _is_row(sgx, _INT64, channels)
            and _is_row(stats.mean_q, _FLOAT32, channels) and _is_row(stats.inv_std, _FLOAT32, channels)
            and _is_row(stats.k, _FLOAT32, channels) and entries >= 1 and -_MOST_EXPONENT <= e <= _MOST_EXPONENT):
        out = _empty((3, channels), _FLOAT32)
        mean_q, inv_std, k = _dense(stats.mean_q), _dense(stats.inv_std), _dense(stats.k)
        d1, dg, dgx = _dense(s1), _dense(sg), _dense(sgx)
        with nogil:
            done = qnn_bn_grad_coefficients(<float *>mean_q.data, <float *>inv_std.data, <float *>k.data,
                                            <int64_t *>d1.data, <int64_t *>dg.data, <int64_t *>dgx.data, entries,
                                            ldexp(1.0, e), channels, <float *>out.data)
        if done:
            return out[0], out[1], out[2]
    return _reference["bn_grad_coefficients"](stats, s1, sg, sgx, count, g_exponent)


def running_update(int path, object running, object new, object momentum):
    cdef cnp.ndarray out, d1, d2
    cdef float keep = momentum
    cdef int64_t n = running.size
    if not (_is_row(running, _FLOAT32, n) and _is_row(new, _FLOAT32, n)):
        return _reference["running_update"](running, new, momentum)
    out, d1, d2 = _empty((n,), _FLOAT32), _dense(running), _dense(new)
    with nogil:
        qnn_running_update(<float *>d1.data, <float *>d2.data, keep, n, <float *>out.data)
    return out


def softmax_cross_entropy(int path, object logits, object labels, object batch_size=None):
    global _exp_table, _log_table
    cdef cnp.ndarray x, picked, losses, grad, exponentials, logarithms
    cdef qnn_elementary tables
    cdef int64_t rows, classes, all_rows
    cdef int done
    if (_is(logits, _FLOAT32) and logits.ndim == 2 and isinstance(labels, cnp.ndarray) and labels.dtype.kind in "iu"
            and labels.shape == (logits.shape[0],) and logits.shape[1] >= 1 and logits.shape[0] >= 1
            and (batch_size is None or (type(batch_size) is int and 1 <= batch_size < 2**63))):
        x, picked = _dense(logits), _np.ascontiguousarray(labels, _INT64)
        rows, classes = x.shape[0], x.shape[1]
        losses, grad = _np.empty(rows, _INT64), _empty((rows, classes), _FLOAT32)
        if _log_table is None:
            (_exp_table, _log_table, _elementary.steps_per_unit, _elementary.step_high, _elementary.step_low,
             _elementary.ln2) = _constants()
        tables, exponentials, logarithms = _elementary, _exp_table, _log_table
        tables.exp_table, tables.log_table = <double *>exponentials.data, <double *>logarithms.data
        all_rows = rows if batch_size is None else batch_size
        with nogil:
            done = qnn_softmax_cross_entropy(<float *>x.data, <int64_t *>picked.data, rows, classes, all_rows, &tables,
                                             <int64_t *>losses.data, <float *>grad.data)
        if done:
            return losses, grad
    return _reference["softmax_cross_entropy"](logits, labels, batch_size)


def int_range(int path, object x):
    if not (isinstance(x, cnp.ndarray) and x.dtype in (_INT8, _INT16, _INT32, _INT64) and x.size):
        return _reference["int_range"](x)
    cdef cnp.ndarray flat = _dense(x)
    cdef int64_t n = x.size, low = 0, high = 0
    with nogil:
        qnn_int_range(flat.data, _bytes(flat), n, _how(path), &low, &high)
    return low, high


def float_range(int path, object x):
    if not (_is(x, _FLOAT32) and x.size):
        return _reference["float_range"](x)
    cdef cnp.ndarray flat = _dense(x)
    cdef int64_t n = x.size, bad
    cdef float low = 0, high = 0
    with nogil:
        bad = qnn_float_range(<float *>flat.data, n, _how(path), &low, &high)
    if bad:
        return _reference["float_range"](x)
    return <double>low + 0.0, <double>high + 0.0


cdef object _clipped(int path, object x, int32_t low, int32_t high):
    cdef cnp.ndarray flat = _dense(x), out = _empty(x.shape, x.dtype)
    cdef int64_t n = x.size
    with nogil:
        qnn_clip_tensor(flat.data, _bytes(flat), n, low, high, _how(path), out.data)
    return out


def relu(int path, object x):
    if not _is_small(x):
        return _reference["relu"](x)
    return _clipped(path, x, 0, 127 if x.itemsize == 1 else 32767)


def clip_ints(int path, object x, object lo, object hi):
    if not (_is_small(x) and lo <= hi):
        return _reference["clip_ints"](x, lo, hi)
    limit = 128 if x.itemsize == 1 else 32768
    if lo >= limit or hi < -limit:
        return _reference["clip_ints"](x, lo, hi)
    return _clipped(path, x, _operator.index(max(lo, -limit)), _operator.index(min(hi, limit - 1)))


def relu_grad(int path, object g, object y):
    if not (_is_small(y) and _alike(g, y)):
        return _reference["relu_grad"](g, y)
    cdef cnp.ndarray flat_g = _dense(g), flat_y = _dense(y), out = _empty(g.shape, g.dtype)
    cdef int64_t n = g.size
    with nogil:
        qnn_relu_grad_tensor(flat_g.data, _bytes(flat_g), flat_y.data, _bytes(flat_y), n, _how(path), out.data)
    return out


cdef bint _fill_pixels(qnn_pixels *p, tuple fine, object stride, int64_t channels, int bytes):
    """The geometry of a shortcut from [N, H, W, C]; False for what the definition must see."""
    if not 1 <= stride <= _LARGEST:
        return False
    p.images, p.h, p.w, p.pixel = fine
    p.stride = stride
    p.oh, p.ow = (p.h + p.stride - 1) // p.stride, (p.w + p.stride - 1) // p.stride
    p.out_pixel = channels * bytes
    p.pixel *= bytes
    return 0 < p.pixel <= p.out_pixel and p.images > 0 and p.h > 0 and p.w > 0


def subsample(int path, object x, object stride, object channels):
    cdef qnn_pixels p
    stride, channels = _operator.index(stride), _operator.index(channels)
    if not (_is_small(x) and x.ndim == 4 and channels <= _LARGEST
            and _fill_pixels(&p, x.shape, stride, channels, (<cnp.ndarray>x).itemsize)):
        return _reference["subsample"](x, stride, channels)
    cdef cnp.ndarray flat = _dense(x), out = _empty((p.images, p.oh, p.ow, channels), x.dtype)
    with nogil:
        qnn_subsample(&p, flat.data, _how(path), out.data)
    return out


def subsample_grad(int path, object g, object stride, tuple shape):
    cdef qnn_pixels p
    stride = _operator.index(stride)
    if not (_is_small(g) and g.ndim == 4 and len(shape) == 4 and max(shape) <= _LARGEST
            and _fill_pixels(&p, shape, stride, g.shape[3], (<cnp.ndarray>g).itemsize)
            and g.shape[:3] == (p.images, p.oh, p.ow)):
        return _reference["subsample_grad"](g, stride, shape)
    cdef cnp.ndarray flat = _dense(g), out = _empty(shape, g.dtype)
    with nogil:
        qnn_subsample_grad(&p, flat.data, _how(path), out.data)
    return out


def look_up(int path, object codes, object table):
    if not ((_is(codes, _UINT8) or _is(codes, _INT8)) and codes.ndim > 0 and _last(codes) > 0 and _is(table, _INT8)
            and table.shape == (_last(codes), 256)):
        return _reference["look_up"](codes, table)
    cdef cnp.ndarray flat = _dense(codes), entries = _dense(table), out = _empty(codes.shape, _INT8)
    cdef int64_t cols = _last(codes), rows = codes.size // cols
    with nogil:
        qnn_look_up_tensor(flat.data, <int8_t *>entries.data, rows, cols, _how(path), <int8_t *>out.data)
    return out


def noise_u16(int path, object noise, object count):
    if not (isinstance(noise, _Noise) and 0 <= _operator.index(count) <= 2**62):
        return _reference["noise_u16"](noise, count)
    cdef cnp.ndarray out = _empty(_operator.index(count), _np.uint16)
    cdef int64_t n = out.size
    cdef qnn_target t
    alive = fill_target(&t, _Target(0, 8, QNN_STOCHASTIC, noise), 0, 1, n)
    with nogil:
        qnn_noise_tensor(&t, n, _how(path), <uint16_t *>out.data)
    return out


# --- gradients and optimisers ---
cdef bint _are_sums(object ints, object exponent) except -1:
    """Whether these are exact sums that C turns into float32."""
    return (_is(ints, _INT32) or _is(ints, _INT64)) and -400 <= _operator.index(exponent) <= 400


def ints_to_float32(int path, object ints, object exponent):
    if not _are_sums(ints, exponent):
        return _reference["ints_to_float32"](ints, exponent)
    cdef cnp.ndarray flat = _dense(ints), out = _empty(ints.shape, _FLOAT32)
    cdef int64_t n = ints.size
    cdef double power = 2.0 ** _operator.index(exponent)
    with nogil:
        qnn_to_float32(flat.data, _bytes(flat), n, power, _how(path), <float *>out.data)
    return out


cdef bint _are_floats(object shape, tuple arrays) except -1:
    """Whether all are float32 arrays of this shape."""
    for array in arrays:
        if not (_is(array, _FLOAT32) and array.shape == shape):
            return False
    return True


cdef float _float32(object number) except? -1:
    """A number rounded once to float32, as NumPy rounds it."""
    if type(number) is float and -1e30 < <double>number < 1e30:
        return <float><double>number
    return _np.float32(number)


def sgd(int path, object w, object g, object velocity, object lr, object momentum=0.0, object weight_decay=0.0,
        object nesterov=False, object exponent=None):
    if exponent is not None and not _are_sums(g, exponent):
        return sgd(path, w, _reference["ints_to_float32"](g, exponent), velocity, lr, momentum, weight_decay, nesterov)
    if not (_is(w, _FLOAT32) and _is(velocity, _FLOAT32) and cnp.PyArray_SAMESHAPE(velocity, w)
            and (exponent is not None or _is(g, _FLOAT32)) and cnp.PyArray_SAMESHAPE(g, w)):
        return _reference["sgd"](w, g, velocity, lr, momentum, weight_decay, nesterov, exponent)
    cdef cnp.ndarray dw = _dense(w), dg = _dense(g), dv = _dense(velocity)
    shape = w.shape
    cdef cnp.ndarray new = _empty(shape, _FLOAT32), speed = _empty(shape, _FLOAT32)
    cdef qnn_sgd how_to
    cdef qnn_gradient gradient
    cdef int64_t n = _size(w), bad
    gradient.data, gradient.bytes, gradient.power = <const void *>dg.data, 0, 1.0
    how_to.rate, how_to.momentum = _float32(lr), _float32(momentum)
    how_to.weight_decay, how_to.nesterov = _float32(weight_decay), bool(nesterov)
    if exponent is not None:
        gradient.bytes, gradient.power = _bytes(dg), ldexp(1.0, _operator.index(exponent))
    with nogil:
        bad = qnn_sgd_step(&how_to, <float *>dw.data, gradient, <float *>dv.data, n, _how(path), <float *>new.data,
                           <float *>speed.data)
    if bad:
        return _reference["sgd"](w, g, velocity, lr, momentum, weight_decay, nesterov, exponent)
    return new, speed


def adam(int path, object w, object g, object m, object v, object step, object lr, object beta1=0.9, object beta2=0.999,
         object eps=1e-8, object weight_decay=0.0):
    if not (isinstance(w, cnp.ndarray) and _are_floats(w.shape, (w, g, m, v)) and step >= 1 and 0 <= beta1 < 1
            and 0 <= beta2 < 1):
        return _reference["adam"](w, g, m, v, step, lr, beta1, beta2, eps, weight_decay)
    cdef cnp.ndarray dw = _dense(w), dg = _dense(g), dm = _dense(m), dv = _dense(v)
    cdef cnp.ndarray new = _empty(w.shape, _FLOAT32), first = _empty(w.shape, _FLOAT32)
    cdef cnp.ndarray second = _empty(w.shape, _FLOAT32)
    cdef qnn_adam a
    cdef int64_t n = w.size, bad
    a.rate, a.epsilon, a.weight_decay = _np.float32(lr), _np.float32(eps), _np.float32(weight_decay)
    a.beta1, a.beta2 = _np.float32(beta1), _np.float32(beta2)
    a.take1, a.take2 = _np.float32(1.0 - beta1), _np.float32(1.0 - beta2)
    a.correct1 = _np.float32(1.0 - _power64(beta1, step))
    a.correct2 = _np.float32(1.0 - _power64(beta2, step))
    with nogil:
        bad = qnn_adam_step(&a, <float *>dw.data, <float *>dg.data, <float *>dm.data, <float *>dv.data, n, _how(path),
                            <float *>new.data, <float *>first.data, <float *>second.data)
    if bad:
        return _reference["adam"](w, g, m, v, step, lr, beta1, beta2, eps, weight_decay)
    return new, first, second


def shift_adamax(int path, object w, object g, object m, object v, object step, object lr, object beta1=0.875,
                 object beta2=1.0 - 2.0**-10, object eps=2.0**-27, object weight_decay=0.0, object store="exact",
                 object reading="nearest"):
    if not (isinstance(w, cnp.ndarray) and _are_floats(w.shape, (w, g, m, v)) and step >= 1 and 0 <= beta1 < 1
            and 0 <= beta2 < 1):
        return _reference["shift_adamax"](w, g, m, v, step, lr, beta1, beta2, eps, weight_decay, store, reading)
    cdef cnp.ndarray dw = _dense(w), dg = _dense(g), dm = _dense(m), dv = _dense(v)
    cdef cnp.ndarray new = _empty(w.shape, _FLOAT32), first = _empty(w.shape, _FLOAT32)
    cdef cnp.ndarray largest = _empty(w.shape, _FLOAT32)
    cdef qnn_adam a
    cdef int64_t n = w.size, bad
    a.rate = _ap2(_np.asarray(_np.float32(float(lr) / (1.0 - _power64(beta1, step)))), reading)
    a.stores, a.carry = _stores_ap2(store), _ap2_carry(reading)
    a.epsilon, a.weight_decay = _np.float32(eps), _np.float32(weight_decay)
    a.beta1, a.beta2, a.take1 = _np.float32(beta1), _np.float32(beta2), _np.float32(1.0 - beta1)
    with nogil:
        bad = qnn_shift_adamax_step(&a, <float *>dw.data, <float *>dg.data, <float *>dm.data, <float *>dv.data, n,
                                    _how(path), <float *>new.data, <float *>first.data, <float *>largest.data)
    if bad:
        return _reference["shift_adamax"](w, g, m, v, step, lr, beta1, beta2, eps, weight_decay, store, reading)
    return new, first, largest


# --- pooling ---
cdef bint _pool(qnn_pool *p, object shape, object kernel, object stride, object padding) except -1:
    """Fills the geometry; False where the C code has no version for it. Wrong geometry is an error."""
    cdef int64_t oh, ow
    n, oh, ow, c = _pool_output_shape(tuple(shape), tuple(kernel), tuple(stride), tuple(padding))
    if not _fits((*shape, *kernel, *stride, *padding)) or kernel[0] * kernel[1] > 65535:
        return False
    p.images, p.h, p.w, p.channels = shape
    p.oh, p.ow = oh, ow
    p.kh, p.kw = kernel
    p.stride_y, p.stride_x = stride
    p.pad_y, p.pad_x = padding
    return True


cdef bint _pools(qnn_pool *p, object g, object input_shape, object kernel, object stride, object padding) except -1:
    """The same for a gradient g, which must have the shape of the pooling's output."""
    return (_is_small(g) and g.ndim == 4 and len(input_shape) == 4 and _pool(p, input_shape, kernel, stride, padding)
            and g.shape == (p.images, p.oh, p.ow, p.channels))


def max_pool(int path, object x, object kernel, object stride, object padding=(0, 0)):
    cdef qnn_pool p
    if not (_is_small(x) and x.ndim == 4 and _pool(&p, x.shape, kernel, stride, padding) and p.kh * p.kw <= 255):
        return _reference["max_pool"](x, kernel, stride, padding)
    shape = (p.images, p.oh, p.ow, p.channels)
    cdef cnp.ndarray flat = _dense(x), y = _empty(shape, x.dtype), index = _empty(shape, _np.int32)
    with nogil:
        qnn_max_pool(&p, flat.data, _bytes(flat), _how(path), y.data, <int32_t *>index.data)
    return y, index


def max_pool_grad(int path, object g, object index, object input_shape, object kernel, object stride,
                  object padding=(0, 0)):
    cdef qnn_pool p
    if not (_pools(&p, g, input_shape, kernel, stride, padding) and _is(index, _INT32) and index.shape == g.shape):
        return _reference["max_pool_grad"](g, index, input_shape, kernel, stride, padding)
    cdef bint apart = p.stride_y >= p.kh and p.stride_x >= p.kw
    cdef cnp.ndarray flat = _dense(g), winners = _dense(index)
    cdef cnp.ndarray dx = _empty(tuple(input_shape), g.dtype if apart else _INT32)
    with nogil:
        if apart:
            qnn_max_unpool(&p, flat.data, _bytes(flat), <int32_t *>winners.data, _how(path), dx.data)
        else:
            qnn_max_pool_grad(&p, flat.data, _bytes(flat), <int32_t *>winners.data, _how(path), <int32_t *>dx.data)
    return dx


def sum_pool(int path, object x, object kernel, object stride, object padding=(0, 0)):
    cdef qnn_pool p
    if not (_is_small(x) and x.ndim == 4 and _pool(&p, x.shape, kernel, stride, padding)):
        return _reference["sum_pool"](x, kernel, stride, padding)
    cdef cnp.ndarray flat = _dense(x), y = _empty((p.images, p.oh, p.ow, p.channels), _np.int32)
    with nogil:
        qnn_sum_pool(&p, flat.data, _bytes(flat), _how(path), <int32_t *>y.data)
    return y


def sum_pool_grad(int path, object g, object input_shape, object kernel, object stride, object padding=(0, 0)):
    cdef qnn_pool p
    if not _pools(&p, g, input_shape, kernel, stride, padding):
        return _reference["sum_pool_grad"](g, input_shape, kernel, stride, padding)
    cdef cnp.ndarray flat = _dense(g), dx = _empty(tuple(input_shape), _np.int32)
    with nogil:
        qnn_sum_pool_grad(&p, flat.data, _bytes(flat), _how(path), <int32_t *>dx.data)
    return dx


# --- power-of-two weights ---
cdef bint _are_codes(object packed, object bits, object k) except -1:
    return (_is(packed, _UINT8) and packed.ndim == 2 and 2 <= _operator.index(bits) <= 5 and _fits((k,))
            and packed.shape[1] == (k * bits + 7) // 8)


def pow2_weights(object packed, object bits, object k):
    """Integer weights [N, k] of packed codes (int8 up to 4 bits, else int16), or None for arguments that are wrong."""
    if not _are_codes(packed, bits, k):
        return None
    cdef cnp.ndarray codes = _dense(packed), weights = _empty((packed.shape[0], k), _np.int16)
    cdef int width = bits
    cdef int64_t rows = packed.shape[0], terms = k
    with nogil:
        qnn_pow2_weights(<uint8_t *>codes.data, width, rows, terms, <int16_t *>weights.data)
    return weights if width == 5 else weights.astype(_np.int8)


def shift_gemm(int path, object x, object packed, object bits, object k, object truncating=False):
    if not (_is_small(x) and x.ndim == 2 and _are_codes(packed, bits, k) and x.shape[1] == k):
        return _reference["shift_gemm"](x, packed, bits, k, truncating)
    dtype = _shift_accumulator_dtype(k, 8 * x.itemsize, bits)
    cdef cnp.ndarray flat = _dense(x), codes = _dense(packed), y = _empty((x.shape[0], packed.shape[0]), dtype)
    cdef int64_t m = x.shape[0], n = packed.shape[0], terms = k
    cdef int width = bits, wide = y.itemsize == 8, right = bool(truncating), failed
    with nogil:
        failed = qnn_shift_gemm(flat.data, _bytes(flat), <uint8_t *>codes.data, width, m, n, terms, wide, right,
                                _how(path), y.data)
    if failed:
        raise _no_memory()
    return y


cdef bint _window(qnn_window *w, object shape, object filters, object kernel, object stride, object padding,
                  object dilation, object groups) except -1:
    """Fills the geometry of a convolution; False where the definition has to look at it."""
    if not (_fits((*shape, filters, *kernel, *stride, *padding, *dilation, groups)) and groups >= 1
            and shape[3] % groups == 0 and filters % groups == 0):
        return False
    w.oh, w.ow = _conv_output_hw(tuple(shape[1:3]), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))
    w.images, w.h, w.w, w.channels = shape
    w.filters = filters
    w.kh, w.kw = kernel
    w.stride_y, w.stride_x = stride
    w.pad_y, w.pad_x = padding
    w.dilation_y, w.dilation_x = dilation
    w.groups = groups
    return True


def shift_conv2d(int path, object x, object packed, object bits, object kernel, object stride=(1, 1),
                 object padding=(0, 0), object dilation=(1, 1), object groups=1, object truncating=False):
    cdef qnn_window w
    if not (_is_small(x) and x.ndim == 4 and isinstance(packed, cnp.ndarray) and packed.ndim == 2
            and _window(&w, x.shape, packed.shape[0], kernel, stride, padding, dilation, groups)
            and _are_codes(packed, bits, w.kh * w.kw * (w.channels // w.groups))):
        return _reference["shift_conv2d"](x, packed, bits, kernel, stride, padding, dilation, groups, truncating)
    dtype = _shift_accumulator_dtype(w.kh * w.kw * (w.channels // w.groups), 8 * x.itemsize, bits)
    cdef cnp.ndarray flat = _dense(x), codes = _dense(packed), y = _empty((w.images, w.oh, w.ow, w.filters), dtype)
    cdef int width = bits, wide = y.itemsize == 8, right = bool(truncating), failed
    with nogil:
        failed = qnn_shift_conv2d(&w, flat.data, _bytes(flat), <uint8_t *>codes.data, width, wide, right, _how(path),
                                  y.data)
    if failed:
        raise _no_memory()
    return y


# --- binary ---
cdef bint _are_words(object words, int ndim, object k) except -1:
    return (_is(words, _UINT64) and words.ndim == ndim and _fits((k,)) and k >= 1
            and words.shape[ndim - 1] == (k + 63) // 64)


def xnor_gemm(int path, object a_words, object b_words, object k):
    if not (_are_words(a_words, 2, k) and _are_words(b_words, 2, k)):
        return _reference["xnor_gemm"](a_words, b_words, k)
    cdef cnp.ndarray a = _dense(a_words), b = _dense(b_words), y = _empty((a.shape[0], b.shape[0]), _np.int32)
    cdef int64_t m = a.shape[0], n = b.shape[0], bits = k
    cdef int failed
    with nogil:
        failed = qnn_xnor_gemm(<uint64_t *>a.data, <uint64_t *>b.data, m, n, bits, _how(path), <int32_t *>y.data)
    if failed:
        raise _no_memory()
    return y


def xnor_conv2d(int path, object x_words, object w_words, object channels, object stride=(1, 1), object padding=(0, 0),
                object pad_value=1):
    cdef qnn_window w
    if not (_are_words(x_words, 4, channels) and _are_words(w_words, 4, channels) and pad_value in (1, -1)
            and _window(&w, (*x_words.shape[:3], channels), w_words.shape[0], w_words.shape[1:3], stride, padding,
                        (1, 1), 1)
            and w.kh * w.kw * w.channels < 2**31):
        return _reference["xnor_conv2d"](x_words, w_words, channels, stride, padding, pad_value)
    cdef cnp.ndarray x = _dense(x_words), weights = _dense(w_words)
    cdef cnp.ndarray y = _empty((w.images, w.oh, w.ow, w.filters), _np.int32)
    cdef int pad = pad_value == 1, failed
    with nogil:
        failed = qnn_xnor_conv2d(&w, <uint64_t *>x.data, <uint64_t *>weights.data, pad, _how(path), <int32_t *>y.data)
    if failed:
        raise _no_memory()
    return y


def bitplane_gemm(int path, object x, object w_words, object k):
    if not (_is(x, _UINT8) and x.ndim == 2 and _are_words(w_words, 2, k) and x.shape[1] == k and 255 * k < 2**31):
        return _reference["bitplane_gemm"](x, w_words, k)
    cdef cnp.ndarray flat = _dense(x), weights = _dense(w_words)
    cdef cnp.ndarray y = _empty((x.shape[0], w_words.shape[0]), _np.int32)
    cdef int64_t m = x.shape[0], n = w_words.shape[0], terms = k
    cdef int failed
    with nogil:
        failed = qnn_bitplane_gemm(<uint8_t *>flat.data, <uint64_t *>weights.data, m, n, terms, _how(path),
                                   <int32_t *>y.data)
    if failed:
        raise _no_memory()
    return y


cdef dict _PACK_TYPES = {_INT8: QNN_PACK_S8, _INT16: QNN_PACK_S16, _INT32: QNN_PACK_S32, _FLOAT32: QNN_PACK_F32}


def pack_bits(int path, object x):
    if not (isinstance(x, cnp.ndarray) and x.dtype in _PACK_TYPES and x.ndim > 0 and x.size):
        return _reference["pack_bits"](x)
    cdef int64_t k = _last(x), rows = x.size // _last(x), bad
    cdef cnp.ndarray flat = _dense(x), words = _empty((*x.shape[: x.ndim - 1], (k + 63) // 64), _np.uint64)
    cdef int type_number = _PACK_TYPES[x.dtype]
    with nogil:
        bad = qnn_pack_bits(flat.data, type_number, rows, k, _how(path), <uint64_t *>words.data)
    return _reference["pack_bits"](x) if bad else words
