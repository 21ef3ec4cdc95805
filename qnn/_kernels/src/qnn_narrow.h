/* Clipping and counting sixteen results at a time: rounded values and their floors as int16, which is enough for formats
   of up to 14 bits (the caller has clamped to +-2^14). */
#ifndef QNN_NARROW_H
#define QNN_NARROW_H

#include "qnn_cpu.h"
#include "qnn_epilogue.h"

#if QNN_X86
#include <immintrin.h>

enum {
    QNN_NARROW_STEP = 32,        /* results of one store */
    QNN_NARROW_MOST_BITS = 14
};

/* Eight exact values: rounded, rounded down, and a mask of those that are 0. */
typedef struct {
    __m256i y, whole, zero;
} qnn_rounded;

/* Per lane of int16, downwards from 0: zeros, overflows, overflows of the double, results that were not clipped. */
typedef struct {
    __m256i zero, overflow, overflow_double, unclipped;
} qnn_narrow_counts;

typedef struct {
    __m256i low, high, half_high; /* -2^(n-1), 2^(n-1) - 1, 2^(n-2) - 1 */
} qnn_narrow_limits;

QNN_AVX2_INLINE qnn_narrow_counts qnn_no_narrow_counts(void)
{
    const __m256i none = _mm256_setzero_si256();
    qnn_narrow_counts c = {none, none, none, none};
    return c;
}

QNN_AVX2_INLINE qnn_narrow_limits qnn_make_narrow_limits(int bits)
{
    int high = 1 << (bits - 1);
    qnn_narrow_limits k = {_mm256_set1_epi16((short)-high), _mm256_set1_epi16((short)(high - 1)),
                           _mm256_set1_epi16((short)(high / 2 - 1))};
    return k;
}

/* Clips sixteen values (the two halves interleaved by `packs`) and counts; EXP-1 looks at the unrounded value. */
QNN_AVX2_INLINE __m256i qnn_clip_narrow(const qnn_rounded *a, const qnn_rounded *b, const qnn_narrow_limits *k,
                                        qnn_narrow_counts *c)
{
    const __m256i y = _mm256_packs_epi32(a->y, b->y), whole = _mm256_packs_epi32(a->whole, b->whole);
    const __m256i size = _mm256_xor_si256(whole, _mm256_srai_epi16(whole, 15));
    const __m256i clipped = _mm256_max_epi16(_mm256_min_epi16(y, k->high), k->low);
    c->zero = _mm256_add_epi16(c->zero, _mm256_packs_epi32(a->zero, b->zero));
    c->overflow = _mm256_add_epi16(c->overflow, _mm256_cmpgt_epi16(size, k->high));
    c->overflow_double = _mm256_add_epi16(c->overflow_double, _mm256_cmpgt_epi16(size, k->half_high));
    c->unclipped = _mm256_add_epi16(c->unclipped, _mm256_cmpeq_epi16(clipped, y));
    return clipped;
}

/* 32 results to out[at ..] of int8 (bytes 1) or int16. */
QNN_AVX2_INLINE void qnn_store_narrow(const qnn_rounded r[4], int bytes, int64_t at, void *out,
                                      const qnn_narrow_limits *k, qnn_narrow_counts *c)
{
    const __m256i low = qnn_clip_narrow(r, r + 1, k, c), high = qnn_clip_narrow(r + 2, r + 3, k, c);
    if (bytes == 1) {
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)(void *)((int8_t *)out + at), packed);
    } else {
        __m256i *to = (__m256i *)(void *)((int16_t *)out + at);
        _mm256_storeu_si256(to, _mm256_permute4x64_epi64(low, 0xD8));
        _mm256_storeu_si256(to + 1, _mm256_permute4x64_epi64(high, 0xD8));
    }
}

QNN_AVX2_INLINE int64_t qnn_sum_narrow(__m256i v)
{
    int32_t lanes[8];
    int64_t sum = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, _mm256_madd_epi16(v, _mm256_set1_epi16(-1)));
    for (int i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

/* Adds the lanes' counts and starts afresh; `results` is how many values went through them, padding included. */
QNN_AVX2_INLINE void qnn_flush_narrow(qnn_narrow_counts *c, int64_t results, qnn_counts *counts)
{
    counts->nonzero += results - qnn_sum_narrow(c->zero);
    counts->overflow += qnn_sum_narrow(c->overflow);
    counts->overflow_double += qnn_sum_narrow(c->overflow_double);
    counts->saturated += results - qnn_sum_narrow(c->unclipped);
    *c = qnn_no_narrow_counts();
}

#endif
#endif
