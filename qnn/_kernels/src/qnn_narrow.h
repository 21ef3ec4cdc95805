/* Clipping and counting sixteen results at a time, in lanes of int16: half the instructions of qnn_lanes.h.
 *
 * Rounded values and their floors are packed with saturation. For formats of up to 8 bits that changes nothing, whatever
 * the values are: all limits lie within +-2^7, so a value beyond int16 compares with them as its saturated one does. For
 * up to 14 bits the caller clamps to +-2^14 first. */
#ifndef QNN_NARROW_H
#define QNN_NARROW_H

#include "qnn_lanes.h"

#if QNN_X86

enum {
    QNN_NARROW_STEP = 32,       /* results of one store */
    QNN_NARROW_MOST_BITS = 14,
    QNN_NARROW_MOST_STEPS = 8192 /* between two flushes: counts are two per step and lane, which madd reads as signed */
};

/* Eight exact values: rounded, rounded down, and a mask of those that are 0. */
typedef struct {
    __m256i y, whole, zero;
} qnn_rounded;

/* The counts and limits of qnn_lanes.h in lanes of int16. */
typedef qnn_lane_counts qnn_narrow_counts;
typedef qnn_lane_limits qnn_narrow_limits;

QNN_AVX2_INLINE qnn_narrow_limits qnn_make_narrow_limits(int bits)
{
    int high = 1 << (bits - 1);
    qnn_narrow_limits k = {_mm256_set1_epi16((short)-high), _mm256_set1_epi16((short)(high - 1)),
                           _mm256_set1_epi16((short)(high / 2 - 1))};
    return k;
}

/* Clips two times eight values and counts; EXP-1 looks at the unrounded value. In the packing's order of lanes. */
QNN_AVX2_INLINE __m256i qnn_clip_narrow(const qnn_rounded *a, const qnn_rounded *b, const qnn_narrow_limits *k,
                                        qnn_narrow_counts *c)
{
    const __m256i y = _mm256_packs_epi32(a->y, b->y), whole = _mm256_packs_epi32(a->whole, b->whole);
    const __m256i size = _mm256_xor_si256(whole, _mm256_srai_epi16(whole, 15));
    const __m256i clipped = _mm256_max_epi16(_mm256_min_epi16(y, k->high), k->low);
    c->zero = _mm256_sub_epi16(c->zero, _mm256_packs_epi32(a->zero, b->zero));
    c->overflow = _mm256_sub_epi16(c->overflow, _mm256_cmpgt_epi16(size, k->high));
    c->overflow_double = _mm256_sub_epi16(c->overflow_double, _mm256_cmpgt_epi16(size, k->half_high));
    c->unclipped = _mm256_sub_epi16(c->unclipped, _mm256_cmpeq_epi16(clipped, y));
    return clipped;
}

/* 32 results to out[at ..] of int8 (bytes 1) or int16. */
QNN_AVX2_INLINE void qnn_store_narrow(const qnn_rounded r[4], int bytes, int64_t at, void *out,
                                      const qnn_narrow_limits *k, qnn_narrow_counts *c)
{
    const __m256i low = qnn_clip_narrow(r, r + 1, k, c), high = qnn_clip_narrow(r + 2, r + 3, k, c);
    qnn_store_packed(low, high, bytes, at, out);
}

/* Adds counts of at most QNN_NARROW_MOST_STEPS steps to those in lanes of int32, and starts afresh. */
QNN_AVX2_INLINE void qnn_widen_narrow_counts(qnn_narrow_counts *from, qnn_lane_counts *to)
{
    const __m256i one = _mm256_set1_epi16(1);
    to->zero = _mm256_add_epi32(to->zero, _mm256_madd_epi16(from->zero, one));
    to->overflow = _mm256_add_epi32(to->overflow, _mm256_madd_epi16(from->overflow, one));
    to->overflow_double = _mm256_add_epi32(to->overflow_double, _mm256_madd_epi16(from->overflow_double, one));
    to->unclipped = _mm256_add_epi32(to->unclipped, _mm256_madd_epi16(from->unclipped, one));
    *from = qnn_no_lane_counts();
}

/* The same to the counts of a tensor; `results` is how many values went through the lanes, padding included. */
QNN_AVX2_INLINE void qnn_flush_narrow(qnn_narrow_counts *c, int64_t results, qnn_counts *counts)
{
    qnn_lane_counts wide = qnn_no_lane_counts();
    qnn_widen_narrow_counts(c, &wide);
    qnn_flush_lanes(&wide, results, counts);
}

#endif
#endif
