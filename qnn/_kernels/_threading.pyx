"""The threads that all kernels share."""

from cpython.pycapsule cimport PyCapsule_New

cdef extern from "qnn_parallel.h" nogil:
    ctypedef struct qnn_threads:
        pass
    const qnn_threads *qnn_threads_get() noexcept
    int qnn_threads_started() noexcept

POOL = PyCapsule_New(<void *>qnn_threads_get(), "qnn_threads", NULL) if qnn_threads_get() != NULL else None
"""The pool, for the other extensions; None where the system has no threads that we know."""


def started():
    """Return how many threads the pool has started: none before the first kernel that wants them."""
    return qnn_threads_started()
