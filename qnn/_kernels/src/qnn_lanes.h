/* What the AVX2 epilogues share: clipping and counting eight results, storing 32 of them as n-bit integers. */
#ifndef QNN_LANES_H
#define QNN_LANES_H

#include "qnn_cpu.h"
#include "qnn_epilogue.h"

#if QNN_X86
#include <immintrin.h>

enum { QNN_LANE_STEP = 32 }; /* results of one store; a shorter rest is padded with zeros */

/* Per lane: zeros, overflows, overflows of the double, and results that were not clipped. */
typedef struct {
    __m256i zero, overflow, overflow_double, unclipped;
} qnn_lane_counts;

typedef struct {
    __m256i low, high, half_high; /* -2^(n-1), 2^(n-1) - 1, 2^(n-2) - 1 */
} qnn_lane_limits;

QNN_AVX2_INLINE qnn_lane_counts qnn_no_lane_counts(void)
{
    const __m256i none = _mm256_setzero_si256();
    qnn_lane_counts c = {none, none, none, none};
    return c;
}

QNN_AVX2_INLINE qnn_lane_limits qnn_make_lane_limits(int bits)
{
    int32_t high = 1 << (bits - 1);
    qnn_lane_limits k = {_mm256_set1_epi32(-high), _mm256_set1_epi32(high - 1), _mm256_set1_epi32(high / 2 - 1)};
    return k;
}

/* Clips the rounded values y and counts; whole: their floors (EXP-1 looks at the unrounded value), zero: a mask. */
QNN_AVX2_INLINE __m256i qnn_clip_lanes(__m256i y, __m256i whole, __m256i zero, const qnn_lane_limits *k,
                                       qnn_lane_counts *c)
{
    const __m256i size = _mm256_xor_si256(whole, _mm256_srai_epi32(whole, 31));
    const __m256i clipped = _mm256_max_epi32(_mm256_min_epi32(y, k->high), k->low);
    c->zero = _mm256_sub_epi32(c->zero, zero);
    c->overflow = _mm256_sub_epi32(c->overflow, _mm256_cmpgt_epi32(size, k->high));
    c->overflow_double = _mm256_sub_epi32(c->overflow_double, _mm256_cmpgt_epi32(size, k->half_high));
    c->unclipped = _mm256_sub_epi32(c->unclipped, _mm256_cmpeq_epi32(clipped, y));
    return clipped;
}

/* Two times 16 clipped values, each as _mm256_packs_epi32 leaves them, in order to out[at ..] of int8 (bytes 1) or
   int16. */
QNN_AVX2_INLINE void qnn_store_packed(__m256i low, __m256i high, int bytes, int64_t at, void *out)
{
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

/* 32 clipped values in order. */
QNN_AVX2_INLINE void qnn_store_lanes(const __m256i y[4], int bytes, int64_t at, void *out)
{
    qnn_store_packed(_mm256_packs_epi32(y[0], y[1]), _mm256_packs_epi32(y[2], y[3]), bytes, at, out);
}

QNN_AVX2_INLINE int64_t qnn_sum_lanes(__m256i v)
{
    int32_t lanes[8];
    int64_t sum = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, v);
    for (int i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

/* Adds the lanes' counts; `results` is how many values went through them, padding included. */
QNN_AVX2_INLINE void qnn_flush_lanes(const qnn_lane_counts *c, int64_t results, qnn_counts *counts)
{
    counts->nonzero += results - qnn_sum_lanes(c->zero);
    counts->overflow += qnn_sum_lanes(c->overflow);
    counts->overflow_double += qnn_sum_lanes(c->overflow_double);
    counts->saturated += results - qnn_sum_lanes(c->unclipped);
}

#endif
#endif
