/* Addressed noise: word i is a pure function of (seed, step, stream, i), never of who asks for it or when. */
#ifndef QNN_NOISE_H
#define QNN_NOISE_H

#include "qnn_epilogue.h"

/* One Philox4x32-10 block: counter (block low, block high, step, stream), key (seed low, seed high). */
void qnn_philox_block(uint64_t seed, uint32_t stream, uint32_t step, uint64_t block, uint32_t out[4]);

/* 16-bit words start .. start+n-1; word i is the (i mod 8)-th of block i / 8. */
void qnn_philox_u16(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out);
void qnn_philox_u16_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out);
/* 8-bit words start .. start+n-1, each in the upper half of a uint16_t; word i is the (i mod 16)-th of block i / 16. */
void qnn_philox_u8(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out);
void qnn_philox_u8_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out);

/* The QNN_LFSR_PERIOD states of the register from state 1 on; taps is the mask of the bits that are XORed (bit 0 among
   them). Returns the period reached: QNN_LFSR_PERIOD for a maximal set of taps. */
int qnn_lfsr_table(uint32_t taps, uint16_t *table);

/* The noise of elements index .. index+n-1 of the target's tensor, in u16 form: only the top noise_bits bits. */
void qnn_noise_words(const qnn_target *t, int64_t index, int64_t n, uint16_t *out);
void qnn_noise_words_avx2(const qnn_target *t, int64_t index, int64_t n, uint16_t *out);
void qnn_noise_words_avx512(const qnn_target *t, int64_t index, int64_t n, uint16_t *out);

typedef void qnn_noise_words_fn(const qnn_target *t, int64_t index, int64_t n, uint16_t *out);

/* What Philox blocks have in common whose numbers differ only below 2^32: the keys of the ten rounds, and in the first two
   rounds all that comes of step, stream and the number's upper half. Lower halves count. Who asks for the words of one
   target again and again keeps one, at first {0}. */
typedef struct {
    uint64_t key0[10], key1[10];
    uint64_t second, fourth; /* c2 after the first round is second ^ what the block gives; c3 after two rounds */
    uint64_t first2, third2; /* of c0 and c2 after two rounds: likewise */
    uint32_t block_high;
    int made;
} qnn_philox_common;
void qnn_more_noise_avx512(const qnn_target *t, qnn_philox_common *of, int64_t index, int64_t n, uint16_t *out);

/* The same words where they lie already, in a caller's array or the table of the register's states; or NULL. */
static inline const uint16_t *qnn_noise_there(const qnn_target *t, int64_t index, int64_t n)
{
    if (t->noise_kind == QNN_NOISE_ARRAY)
        return t->noise_array + index;
    if (t->noise_kind == QNN_NOISE_LFSR && t->noise_bits == 16) {
        uint64_t at = (t->lfsr_offset + (t->start + (uint64_t)index) % QNN_LFSR_PERIOD) % QNN_LFSR_PERIOD;
        if (at + (uint64_t)n <= QNN_LFSR_PERIOD)
            return t->lfsr_table + at;
    }
    return 0;
}

/* They, or else words made in `scratch`, which has room for n. */
static inline const uint16_t *qnn_noise_at(const qnn_target *t, int64_t index, int64_t n, qnn_noise_words_fn *make,
                                           uint16_t *scratch)
{
    const uint16_t *there = qnn_noise_there(t, index, n);
    if (there)
        return there;
    make(t, index, n, scratch);
    return scratch;
}

static inline const uint16_t *qnn_more_noise_at(const qnn_target *t, qnn_philox_common *of, int64_t index, int64_t n,
                                                uint16_t *scratch)
{
    const uint16_t *there = qnn_noise_there(t, index, n);
    if (there)
        return there;
    qnn_more_noise_avx512(t, of, index, n, scratch);
    return scratch;
}

#endif
