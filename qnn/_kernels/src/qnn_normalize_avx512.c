/* Batch norm's two elementwise steps on int8 with AVX-512: from bytes to bytes in one pass, for the rules of training.
 *
 * The float32 operations and their order are those of qnn_normalize.c. Rounding takes operations with a direction of
 * their own: NEAREST_DOWN of v is ceil(v - 1/2), where the difference is rounded up, so that it never falls to an
 * integer that it is above; STOCHASTIC begins with floor(v * 2^16). A conversion that leaves int32 gives its lowest
 * number, which is right below and for `far`; only above does a value need a bound. The caller has made sure that every
 * result is finite. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_lanes512.h"
#include "qnn_noise.h"

#if QNN_HAS_LANES512

enum {
    STEP = QNN_STEP512,
    UP = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC,
    DOWN = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC
};

typedef struct {
    __m512 scale, far_scale, scale_16; /* 2^-e, 2^(-e - n + 2), 2^(16 - e) */
    __m128i far_shift;                 /* 16 + n - 2 */
    qnn_limits512 limits;
} constants;

QNN_AVX512_INLINE __m512 power(int exponent)
{
    return _mm512_castsi512_ps(_mm512_set1_epi32((127 + exponent) << 23));
}

QNN_AVX512_INLINE constants make_constants(const qnn_target *t)
{
    constants k = {power(-t->exponent_shift), power(-t->exponent_shift - t->bits + 2), power(16 - t->exponent_shift),
                   _mm_cvtsi32_si128(16 + t->bits - 2), qnn_make_limits512(t->bits)};
    return k;
}

QNN_AVX512_INLINE __m512 widened(const int8_t *q)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q)));
}

/* y = (x - a) * b, or with g y = (a * g + b * x) + c. */
QNN_AVX512_INLINE __m512 value(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c)
{
    const __m512 fa = _mm512_loadu_ps(a), fb = _mm512_loadu_ps(b);
    if (!g)
        return _mm512_mul_ps(_mm512_sub_ps(widened(x), fa), fb);
    return _mm512_add_ps(_mm512_add_ps(_mm512_mul_ps(fa, widened(g)), _mm512_mul_ps(fb, widened(x))),
                         _mm512_loadu_ps(c));
}

QNN_AVX512_INLINE void one_step(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                                const uint16_t *words, const int stochastic, void *out, const constants *k,
                                qnn_counts512 *counts)
{
    __m512i rounded[4], far[4];
    __mmask16 zero[4];
    for (int j = 0; j < 4; j++) {
        const __m512 y = value(g ? g + 16 * j : 0, x + 16 * j, a + 16 * j, b + 16 * j, g ? c + 16 * j : 0);
        zero[j] = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_EQ_OQ);
        if (stochastic) {
            const __m512 steps = _mm512_min_ps(_mm512_mul_ps(y, k->scale_16), _mm512_set1_ps(1073741824.0f));
            const __m512i v = _mm512_cvt_roundps_epi32(steps, DOWN);
            far[j] = _mm512_sra_epi32(v, k->far_shift);
            const __m512i noise = qnn_noise512_s32(words + 16 * j, _mm_setzero_si128());
            rounded[j] = _mm512_srai_epi32(_mm512_add_epi32(v, noise), 16);
        } else {
            const __m512 below = _mm512_fmsub_round_ps(y, k->scale, _mm512_set1_ps(0.5f), UP);
            far[j] = _mm512_cvt_roundps_epi32(_mm512_mul_ps(y, k->far_scale), DOWN);
            rounded[j] = _mm512_cvt_roundps_epi32(_mm512_min_ps(below, _mm512_set1_ps(16384.0f)), UP);
        }
    }
    qnn_store512_s32(rounded, far, zero, &k->limits, counts, out);
}

/* The rest of a part, padded with zeros: 0 * 0 + 0 and (0 - 0) * 0 are 0, which only the count `zero` sees. */
QNN_AVX512_INLINE void last_step(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                                 const uint16_t *words, int64_t rest, const int stochastic, int8_t *out,
                                 const constants *k, qnn_counts512 *counts)
{
    int8_t gs[STEP] = {0}, xs[STEP] = {0}, results[STEP];
    float as[STEP] = {0}, bs[STEP] = {0}, cs[STEP] = {0};
    uint16_t noise[STEP] = {0};
    memcpy(xs, x, (size_t)rest);
    memcpy(as, a, (size_t)rest * sizeof *a);
    memcpy(bs, b, (size_t)rest * sizeof *b);
    if (stochastic)
        memcpy(noise, words, (size_t)rest * sizeof *words);
    if (g) {
        memcpy(gs, g, (size_t)rest);
        memcpy(cs, c, (size_t)rest * sizeof *c);
    }
    one_step(g ? gs : 0, xs, as, bs, cs, noise, stochastic, results, k, counts);
    memcpy(out, results, (size_t)rest);
}

QNN_AVX512_INLINE void part(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                            int64_t index, int64_t m, const qnn_target *t, const int stochastic, int8_t *out,
                            qnn_counts *counts)
{
    const constants k = make_constants(t);
    qnn_counts512 n = {0, 0, 0, 0};
    uint16_t noise[QNN_MOST_PART512];
    int64_t i = 0;
    if (stochastic)
        qnn_noise_words_avx512(t, index, m, noise);
    for (; i + STEP <= m; i += STEP)
        one_step(g ? g + i : 0, x + i, a + i, b + i, g ? c + i : 0, noise + i, stochastic, out + i, &k, &n);
    if (i < m)
        last_step(g ? g + i : 0, x + i, a + i, b + i, g ? c + i : 0, noise + i, m - i, stochastic, out + i, &k, &n);
    qnn_flush512(&n, (m + STEP - 1) / STEP * STEP, counts);
}

QNN_AVX512 static void part_down(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                                 int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    if (g)
        part(g, x, a, b, c, index, m, t, 0, out, counts);
    else
        part(0, x, a, b, 0, index, m, t, 0, out, counts);
}

QNN_AVX512 static void part_stochastic(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                                       int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    if (g)
        part(g, x, a, b, c, index, m, t, 1, out, counts);
    else
        part(0, x, a, b, 0, index, m, t, 1, out, counts);
}

int qnn_normalize_has_avx512(const qnn_target *t)
{
    if (t->bits > QNN_MOST_BITS512 || t->exponent_shift < -64 || t->exponent_shift > 63)
        return 0;
    return t->rounding == QNN_NEAREST_DOWN || (t->rounding == QNN_STOCHASTIC && t->exponent_shift <= 16);
}

void qnn_normalize_part_avx512(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                               int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    (t->rounding == QNN_NEAREST_DOWN ? part_down : part_stochastic)(g, x, a, b, c, index, m, t, out, counts);
}

#else /* not offered */

int qnn_normalize_has_avx512(const qnn_target *t)
{
    (void)t;
    return 0;
}

void qnn_normalize_part_avx512(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                               int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    (void)g, (void)x, (void)a, (void)b, (void)c, (void)index, (void)m, (void)t, (void)out, (void)counts;
}

#endif
