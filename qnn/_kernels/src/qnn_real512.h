/* Real values to integers with AVX-512, for the two rules of training: rounded, and what the counts look at.
 *
 * Operations with a rounding direction of their own do it. NEAREST_DOWN of v is ceil(v - 1/2), where the difference is
 * rounded up, so that it never falls to an integer that it is above; STOCHASTIC begins with floor(v * 2^16). A
 * conversion that leaves int32 gives its lowest number, which is right below and for `far` (qnn_lanes512.h); only above
 * does a value need a bound. For NaN and infinity the results mean nothing. */
#ifndef QNN_REAL512_H
#define QNN_REAL512_H

#include "qnn_lanes512.h"

#if QNN_HAS_LANES512

enum {
    QNN_UP512 = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC,
    QNN_DOWN512 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC
};

typedef struct {
    __m512 scale, far_scale, scale_16; /* 2^-e, 2^(-e - n + 2), 2^(16 - e) */
    __m512i far_shift;                 /* 16 + n - 2 */
    qnn_limits512 limits;
} qnn_real512;

/* Powers of two that are normal numbers; with noise, those where v * 2^(16 - e) is exact or too large for any format. */
static inline int qnn_has_real512(const qnn_target *t)
{
    if (t->bits > QNN_MOST_BITS512 || t->exponent_shift < -64 || t->exponent_shift > 63)
        return 0;
    return t->rounding == QNN_NEAREST_DOWN || (t->rounding == QNN_STOCHASTIC && t->exponent_shift <= 16);
}

QNN_AVX512_INLINE __m512 qnn_power512(int exponent)
{
    return _mm512_castsi512_ps(_mm512_set1_epi32((127 + exponent) << 23));
}

QNN_AVX512_INLINE qnn_real512 qnn_make_real512(const qnn_target *t)
{
    const int e = t->exponent_shift;
    qnn_real512 k = {qnn_power512(-e), qnn_power512(-e - t->bits + 2), qnn_power512(16 - e),
                     _mm512_set1_epi32(16 + t->bits - 2), qnn_make_limits512(t->bits)};
    return k;
}

QNN_AVX512_INLINE void qnn_nearest_down512(__m512 v, const qnn_real512 *k, __m512i *rounded, __m512i *far)
{
    const __m512 below = _mm512_fmsub_round_ps(v, k->scale, _mm512_set1_ps(0.5f), QNN_UP512);
    *far = _mm512_cvt_roundps_epi32(_mm512_mul_ps(v, k->far_scale), QNN_DOWN512);
    *rounded = _mm512_cvt_roundps_epi32(_mm512_min_ps(below, _mm512_set1_ps(16384.0f)), QNN_UP512);
}

QNN_AVX512_INLINE void qnn_stochastic512(__m512 v, const uint16_t *words, const qnn_real512 *k, __m512i *rounded,
                                         __m512i *far)
{
    const __m512 steps = _mm512_min_ps(_mm512_mul_ps(v, k->scale_16), _mm512_set1_ps(1073741824.0f));
    const __m512i floor = _mm512_cvt_roundps_epi32(steps, QNN_DOWN512);
    const __m512i noise = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)words));
    *far = _mm512_srav_epi32(floor, k->far_shift);
    *rounded = _mm512_srai_epi32(_mm512_add_epi32(floor, noise), 16);
}

#endif
#endif
