# Hands the one pool of threads to the extension that includes this; without it blocks are done one after the other.
from cpython.pycapsule cimport PyCapsule_GetPointer

cdef extern from "qnn_parallel.h" nogil:
    ctypedef struct qnn_threads:
        pass
    void qnn_use_threads(const qnn_threads *pool) noexcept
    int qnn_has_threads() noexcept

try:
    from qnn._kernels._threading import POOL as _POOL
except ImportError:
    _POOL = None
if _POOL is not None:
    qnn_use_threads(<const qnn_threads *>PyCapsule_GetPointer(_POOL, "qnn_threads"))
