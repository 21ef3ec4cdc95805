/* Clipping and counting for results of int8, 16 in a vector: half the instructions of qnn_lanes.h.
 *
 * Values are packed to int16 with saturation first. All limits of up to 8 bits lie within +-2^7, so a value beyond
 * int16 compares with them as its saturated one does, and only zero becomes zero. */
#ifndef QNN_LANES_S8_H
#define QNN_LANES_S8_H

#include "qnn_lanes.h"

#if QNN_X86

enum { QNN_S8_STEPS = 8192 }; /* counts are two per step and lane of 16 bits, which madd reads as signed */

/* The counts and limits of qnn_lanes.h in 16-bit lanes. */
typedef qnn_lane_counts qnn_s8_counts;
typedef qnn_lane_limits qnn_s8_limits;

QNN_AVX2_INLINE qnn_s8_limits qnn_make_s8_limits(int bits)
{
    int high = 1 << (bits - 1);
    qnn_s8_limits k = {_mm256_set1_epi16((short)-high), _mm256_set1_epi16((short)(high - 1)),
                       _mm256_set1_epi16((short)(high / 2 - 1))};
    return k;
}

/* Clips the rounded y of the accumulators v, whose floors are `whole`, and counts; in the packing's order of lanes. */
QNN_AVX2_INLINE __m256i qnn_clip_s8(const __m256i v[2], const __m256i whole[2], const __m256i y[2],
                                    const qnn_s8_limits *k, qnn_s8_counts *c)
{
    const __m256i sums = _mm256_packs_epi32(v[0], v[1]), floors = _mm256_packs_epi32(whole[0], whole[1]);
    const __m256i size = _mm256_xor_si256(floors, _mm256_srai_epi16(floors, 15));
    const __m256i rounded = _mm256_packs_epi32(y[0], y[1]);
    const __m256i clipped = _mm256_max_epi16(_mm256_min_epi16(rounded, k->high), k->low);
    c->zero = _mm256_sub_epi16(c->zero, _mm256_cmpeq_epi16(sums, _mm256_setzero_si256()));
    c->overflow = _mm256_sub_epi16(c->overflow, _mm256_cmpgt_epi16(size, k->high));
    c->overflow_double = _mm256_sub_epi16(c->overflow_double, _mm256_cmpgt_epi16(size, k->half_high));
    c->unclipped = _mm256_sub_epi16(c->unclipped, _mm256_cmpeq_epi16(clipped, rounded));
    return clipped;
}

/* 32 values of two results of qnn_clip_s8 in order. */
QNN_AVX2_INLINE void qnn_store_s8(__m256i low, __m256i high, int8_t *out)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order));
}

/* Adds counts of at most QNN_S8_STEPS steps of 32 values to those in 32-bit lanes. */
QNN_AVX2_INLINE void qnn_widen_s8_counts(const qnn_s8_counts *from, qnn_lane_counts *to)
{
    const __m256i one = _mm256_set1_epi16(1);
    to->zero = _mm256_add_epi32(to->zero, _mm256_madd_epi16(from->zero, one));
    to->overflow = _mm256_add_epi32(to->overflow, _mm256_madd_epi16(from->overflow, one));
    to->overflow_double = _mm256_add_epi32(to->overflow_double, _mm256_madd_epi16(from->overflow_double, one));
    to->unclipped = _mm256_add_epi32(to->unclipped, _mm256_madd_epi16(from->unclipped, one));
}

#endif
#endif
