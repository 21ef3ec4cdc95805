# Turns a qnn.numerics.dfp.Target into the C struct qnn_target; included by every extension that requantises.
include "_threading.pxi"
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "qnn_epilogue.h" nogil:
    ctypedef struct qnn_target:
        int exponent_shift
        int bits
        int rounding
        int64_t divisor
        int noise_kind
        uint64_t seed
        uint32_t stream
        uint32_t step
        uint64_t start
        int noise_bits
        const uint16_t *noise_array
        const uint16_t *lfsr_table
        uint32_t lfsr_offset
    ctypedef struct qnn_counts:
        int64_t nonzero
        int64_t overflow
        int64_t overflow_double
        int64_t saturated
    enum:
        QNN_STOCHASTIC
        QNN_NOISE_NONE
        QNN_NOISE_PHILOX
        QNN_NOISE_LFSR
        QNN_NOISE_ARRAY
        QNN_LFSR_PERIOD

cdef extern from "qnn_arena.h" nogil:
    ctypedef struct qnn_arena:
        pass
    void qnn_use_arena(const qnn_arena *arena) noexcept

cdef extern from "qnn_noise.h" nogil:
    void qnn_philox_block(uint64_t seed, uint32_t stream, uint32_t step, uint64_t block, uint32_t *out) noexcept
    int qnn_lfsr_table(uint32_t taps, uint16_t *table) noexcept

# Results and scratch come from the arena; without that extension from NumPy and malloc.
try:
    from qnn._kernels import _memory
except ImportError:
    _empty = _np.empty
else:
    _empty = _memory.empty
    qnn_use_arena(<const qnn_arena *>PyCapsule_GetPointer(_memory.ARENA, "qnn_arena"))

# {mask of the taps: (the states in order, place of every state in that order)}
cdef dict _lfsr_tables = {}


cdef object _lfsr_states(taps):
    """The register's states in order and the place of each; built once per set of taps."""
    cdef uint32_t mask = 0
    cdef uint16_t[::1] view
    for tap in taps:
        mask |= <uint32_t>1 << <int>tap
    found = _lfsr_tables.get(mask)
    if found is None:
        states = _np.empty(QNN_LFSR_PERIOD, dtype=_np.uint16)
        view = states
        if not mask & 1 or mask >> 16 or qnn_lfsr_table(mask, &view[0]) != QNN_LFSR_PERIOD:
            raise ValueError(
                f"got LFSR taps {tuple(taps)}; allowed are sets of bits 0..15 that reach the full period of 65535; "
                "take (0, 2, 3, 5) or (0, 1, 3, 12)"
            )
        place = _np.zeros(QNN_LFSR_PERIOD + 1, dtype=_np.uint32)
        place[states] = _np.arange(QNN_LFSR_PERIOD, dtype=_np.uint32)
        found = _lfsr_tables[mask] = (states, place)
    return found


cdef object _fill_noise(qnn_target *c, object noise, object count):
    """Writes the noise part of the struct; returns what must stay alive while the struct is used."""
    cdef const uint16_t[::1] view
    cdef uint32_t words[4]
    if isinstance(noise, cnp.ndarray):
        if noise.dtype != _np.uint16:
            raise TypeError(
                f"got a noise array of {noise.dtype}; it must be uint16 words; pass noise.astype(numpy.uint16)"
            )
        if noise.size != count:
            raise ValueError(
                f"got {noise.size} noise words for {count} elements; there must be one word per element; "
                "pass an array of the same size, or a Noise"
            )
        flat = _np.ascontiguousarray(noise).reshape(-1)
        c.noise_kind = QNN_NOISE_ARRAY
        if flat.size:
            view = flat
            c.noise_array = &view[0]
        return flat
    if not 1 <= noise.bits <= 16:
        raise ValueError(f"got {noise.bits} noise bits; allowed are 1 to 16; pass bits=16 for the papers' setting")
    if noise.start < 0 or noise.start + count > 2**64:
        raise ValueError(
            f"got noise addresses {noise.start} to {noise.start + count}; allowed are 0 to 2**64; use a smaller start"
        )
    c.seed, c.stream, c.step, c.start, c.noise_bits = noise.seed, noise.stream, noise.step, noise.start, noise.bits
    if noise.kind == "philox":
        c.noise_kind = QNN_NOISE_PHILOX
        return None
    if noise.kind != "lfsr16":
        raise ValueError(f"got noise kind {noise.kind!r}; allowed are 'philox' and 'lfsr16'; use one of these")
    states, place = _lfsr_states(noise.taps)
    qnn_philox_block(c.seed, c.stream, c.step, 0, words)
    view = states
    c.noise_kind = QNN_NOISE_LFSR
    c.lfsr_table = &view[0]
    c.lfsr_offset = (<uint32_t>place[1 + words[0] % 65535] + 1) % QNN_LFSR_PERIOD
    return states


cdef object fill_target(qnn_target *c, object target, object exponent, object divisor, object count):
    """Target -> qnn_target for `count` elements whose accumulators are at `exponent`.

    Returns what must stay alive while the struct is used (keep it in a variable). Everything is checked here, so the C
    code meets only targets that are allowed.
    """
    bits, noise = target.bits, target.noise
    cdef int rounding = target.rounding
    if not 2 <= bits <= 16:
        raise ValueError(f"got {bits} bits; allowed are 2 to 16; pass bits=8 for the papers' format")
    if not 0 <= rounding <= QNN_STOCHASTIC:
        raise ValueError(f"got rounding number {target.rounding}; allowed are 0 to 8; take one from qnn.Rounding")
    if not 1 <= divisor < 2**63:
        raise ValueError(f"got divisor {divisor}; allowed are 1 to 2**63-1; pass a positive divisor")
    # Past |s| = 2^16 nothing changes any more: the value is 0 or saturated, or a noise word at the very edge.
    c.exponent_shift = max(-65536, min(65536, target.exponent - exponent))
    c.bits = bits
    c.rounding = rounding
    c.divisor = divisor
    c.noise_kind = QNN_NOISE_NONE
    c.seed = 0
    c.stream = 0
    c.step = 0
    c.start = 0
    c.noise_bits = 16
    c.noise_array = NULL
    c.lfsr_table = NULL
    c.lfsr_offset = 0
    if rounding != QNN_STOCHASTIC:
        return None
    if noise is None:
        raise ValueError(
            "got STOCHASTIC rounding without noise; it needs one word per element; pass noise=Noise(...) in the target"
        )
    return _fill_noise(c, noise, count)
