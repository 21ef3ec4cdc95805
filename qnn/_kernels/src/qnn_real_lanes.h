/* Eight real values to integers with AVX2: the two rules that training uses, where scaling loses no bit. */
#ifndef QNN_REAL_LANES_H
#define QNN_REAL_LANES_H

#include "qnn_narrow.h"

#if QNN_X86

/* Rules of their own: NEAREST_DOWN and STOCHASTIC at the exponents where they have a shorter way. */
enum { QNN_QUICK_DOWN = QNN_STOCHASTIC + 1, QNN_QUICK_STOCHASTIC };

typedef struct {
    __m256 scale, scale_16; /* 2^-e, and 2^(16 - e) */
    qnn_narrow_limits limits;
    qnn_narrow_counts counts;
    __m256 bad; /* not 0 in lanes that saw NaN or infinity */
} qnn_real_state;

/* Whether there is code for eight lanes: formats whose values fit int16, exponents whose power is a normal number. */
static inline int qnn_has_lanes(const qnn_target *t)
{
    return t->bits <= QNN_NARROW_MOST_BITS && t->exponent_shift >= -64 && t->exponent_shift <= 63;
}

/* The rule of a target, or the short way of it. */
static inline int qnn_quick_rule(const qnn_target *t)
{
    if (t->rounding == QNN_NEAREST_DOWN && t->exponent_shift <= 0)
        return QNN_QUICK_DOWN;
    if (t->rounding == QNN_STOCHASTIC && t->exponent_shift <= 16)
        return QNN_QUICK_STOCHASTIC;
    return t->rounding;
}

QNN_AVX2_INLINE __m256 qnn_power_lanes(int exponent)
{
    return _mm256_castsi256_ps(_mm256_set1_epi32((127 + exponent) << 23));
}

QNN_AVX2_INLINE qnn_real_state qnn_make_real_state(const qnn_target *t)
{
    qnn_real_state k = {qnn_power_lanes(-t->exponent_shift), qnn_power_lanes(16 - t->exponent_shift),
                        qnn_make_narrow_limits(t->bits), qnn_no_lane_counts(), _mm256_setzero_ps()};
    return k;
}

QNN_AVX2_INLINE void qnn_watch(__m256 x, qnn_real_state *k)
{
    k->bad = _mm256_or_ps(k->bad, _mm256_sub_ps(x, x)); /* 0 for every finite number, else NaN */
}

QNN_AVX2_INLINE int qnn_saw_bad(const qnn_real_state *k)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(k->bad, _mm256_setzero_ps(), _CMP_NEQ_UQ));
}

QNN_AVX2_INLINE __m256 qnn_clamp_lanes(__m256 x, float limit)
{
    return _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(limit)), _mm256_set1_ps(-limit));
}

/* NEAREST_DOWN for e <= 0, where x * 2^-e is exact: the processor's rounding to the nearest, ties to even, differs at a
   tie that it rounded up, and there only. */
QNN_AVX2_INLINE qnn_rounded qnn_quick_down(__m256 x, const qnn_real_state *k)
{
    const __m256 step = qnn_clamp_lanes(_mm256_mul_ps(x, k->scale), 16384.0f);
    const __m256i nearest = _mm256_cvtps_epi32(step);
    const __m256 value = _mm256_cvtepi32_ps(nearest);
    const __m256 tie = _mm256_cmp_ps(_mm256_sub_ps(value, step), _mm256_set1_ps(0.5f), _CMP_EQ_OQ);
    const __m256 above = _mm256_cmp_ps(value, step, _CMP_GT_OQ);
    qnn_rounded r = {_mm256_add_epi32(nearest, _mm256_castps_si256(tie)),
                     _mm256_add_epi32(nearest, _mm256_castps_si256(above)),
                     _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ))};
    return r;
}

/* STOCHASTIC for e <= 16, where x * 2^(16 - e) is exact or too large for every format. */
QNN_AVX2_INLINE qnn_rounded qnn_quick_stochastic(__m256 x, __m128i words, const qnn_real_state *k)
{
    const __m256 step = qnn_clamp_lanes(_mm256_mul_ps(x, k->scale_16), 1073741824.0f);
    const __m256i v = _mm256_cvtps_epi32(_mm256_floor_ps(step));
    qnn_rounded r = {_mm256_srai_epi32(_mm256_add_epi32(v, _mm256_cvtepu16_epi32(words)), 16), _mm256_srai_epi32(v, 16),
                     _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ))};
    return r;
}

#endif
#endif
