"""Arrays whose memory is used again: what kernels return comes from the arena and goes back to it."""

import numpy as _np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t

cnp.import_array()

cdef extern from "qnn_arena.h" nogil:
    ctypedef struct qnn_arena:
        void *(*take)(int64_t) noexcept
        void (*give)(void *) noexcept
    const qnn_arena *qnn_arena_get() noexcept
    void qnn_arena_limit(int64_t bytes) noexcept
    void qnn_arena_release() noexcept
    void qnn_arena_count(int64_t *used, int64_t *kept) noexcept

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(object subtype, cnp.dtype descr, int nd, const cnp.npy_intp *dims,
                                const cnp.npy_intp *strides, void *data, int flags, object obj)

ARENA = PyCapsule_New(<void *>qnn_arena_get(), "qnn_arena", NULL)
"""The arena, for the other extensions."""

cdef object _NDARRAY = _np.ndarray
cdef int64_t _SMALL = 1 << 14  # below, NumPy's own allocation is as quick


cdef class _Block:
    """Owns one block; the array on it keeps this alive."""
    cdef void *memory

    def __dealloc__(self):
        qnn_arena_get().give(self.memory)


def empty(shape, dtype):
    """Return a new array in C order, its contents arbitrary, as ``numpy.empty(shape, dtype)`` does.

    Raises
    ------
    MemoryError
        If there is no memory for it.
    """
    cdef cnp.dtype kind = <cnp.dtype>dtype if isinstance(dtype, cnp.dtype) else _np.dtype(dtype)
    cdef cnp.npy_intp dims[32]
    cdef int64_t bytes = kind.itemsize
    cdef int nd = 0
    cdef _Block block
    if not isinstance(shape, tuple):
        shape = (shape,)
    if len(shape) > 32:
        return _np.empty(shape, kind)
    for length in shape:
        dims[nd] = length
        if dims[nd] < 0 or (dims[nd] > 0 and bytes > (<int64_t>1 << 46) // dims[nd]):
            return _np.empty(shape, kind)  # which says what is wrong
        bytes *= dims[nd]
        nd += 1
    if kind.hasobject:
        return _np.empty(shape, kind)
    if bytes < _SMALL:
        Py_INCREF(kind)  # PyArray_NewFromDescr takes a reference
        return PyArray_NewFromDescr(_NDARRAY, kind, nd, dims, NULL, NULL, 0, None)
    block = _Block.__new__(_Block)
    block.memory = qnn_arena_get().take(bytes)
    if block.memory == NULL:
        raise MemoryError(f"got no memory for an array of shape {shape} and type {kind}; use smaller batches or free "
                          "memory")
    Py_INCREF(kind)
    array = PyArray_NewFromDescr(_NDARRAY, kind, nd, dims, NULL, block.memory, cnp.NPY_ARRAY_CARRAY, None)
    cnp.set_array_base(array, block)
    return array


def limit(int64_t bytes):
    """Keep at most so many freed bytes; what is above goes back to the system."""
    if bytes < 0:
        raise ValueError(f"got {bytes} bytes to keep; allowed are 0 (keep nothing) and more")
    qnn_arena_limit(bytes)


def release():
    """Give all freed memory back to the system."""
    qnn_arena_release()


def count():
    """Return the bytes in use and the freed bytes that are kept, both without small blocks."""
    cdef int64_t used, kept
    qnn_arena_count(&used, &kept)
    return used, kept
