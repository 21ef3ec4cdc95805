/* Batch norm's two elementwise steps on int8 with AVX-512: from bytes to bytes in one pass, for the rules of training.
 * The float32 operations and their order are those of qnn_normalize.c. The caller has made sure that every result is
 * finite. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_noise.h"
#include "qnn_real512.h"

#if QNN_HAS_LANES512

enum { STEP = QNN_STEP512 };

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
                                const uint16_t *words, const int stochastic, void *out, const qnn_real512 *k,
                                qnn_counts512 *counts)
{
    __m512i rounded[4], far[4];
    __mmask16 zero[4];
    for (int j = 0; j < 4; j++) {
        const __m512 y = value(g ? g + 16 * j : 0, x + 16 * j, a + 16 * j, b + 16 * j, g ? c + 16 * j : 0);
        zero[j] = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_EQ_OQ);
        if (stochastic)
            qnn_stochastic512(y, words + 16 * j, k, rounded + j, far + j);
        else
            qnn_nearest_down512(y, k, rounded + j, far + j);
    }
    counts->zero += qnn_zeros512(zero);
    qnn_store512_s32(rounded, far, &k->limits, counts, out);
}

/* The rest of a part, padded with zeros: 0 * 0 + 0 and (0 - 0) * 0 are 0, which only the count `zero` sees. */
QNN_AVX512_INLINE void last_step(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                                 const uint16_t *words, int64_t rest, const int stochastic, int8_t *out,
                                 const qnn_real512 *k, qnn_counts512 *counts)
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

QNN_AVX512_INLINE void steps(const int8_t *g, const int8_t *x, const qnn_factors *f, int64_t index, int64_t n,
                             const qnn_target *t, const int stochastic, int8_t *out, qnn_counts *counts)
{
    const qnn_real512 k = qnn_make_real512(t);
    qnn_counts512 c = {0, 0, 0, 0};
    uint16_t scratch[QNN_MOST_PERIOD512];
    const uint16_t *noise = scratch;
    qnn_philox_common common = {.made = 0};
    int64_t padding = 0;
    for (int64_t at = 0, m; at < n; at += m) {
        int64_t i = 0;
        m = n - at < f->period ? n - at : f->period;
        if (stochastic)
            noise = qnn_more_noise_at(t, &common, index + at, m, scratch);
        for (; i + STEP <= m; i += STEP) {
            if (g)
                qnn_fetch_ahead512(g + at + i, 1);
            qnn_fetch_ahead512(x + at + i, 1);
            qnn_fetch_target512(out + at + i);
            one_step(g ? g + at + i : 0, x + at + i, f->a + i, f->b + i, g ? f->c + i : 0, noise + i, stochastic,
                     out + at + i, &k, &c);
        }
        if (i < m) {
            last_step(g ? g + at + i : 0, x + at + i, f->a + i, f->b + i, g ? f->c + i : 0, noise + i, m - i, stochastic,
                      out + at + i, &k, &c);
            padding += i + STEP - m;
        }
    }
    qnn_flush512(&c, n + padding, counts);
}

QNN_AVX512 static void steps_down(const int8_t *g, const int8_t *x, const qnn_factors *f, int64_t index, int64_t n,
                                  const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    if (g)
        steps(g, x, f, index, n, t, 0, out, counts);
    else
        steps(0, x, f, index, n, t, 0, out, counts);
}

QNN_AVX512 static void steps_stochastic(const int8_t *g, const int8_t *x, const qnn_factors *f, int64_t index, int64_t n,
                                        const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    if (g)
        steps(g, x, f, index, n, t, 1, out, counts);
    else
        steps(0, x, f, index, n, t, 1, out, counts);
}

int qnn_normalize_has_avx512(const qnn_target *t)
{
    return qnn_has_real512(t);
}

void qnn_normalize_steps_avx512(const int8_t *g, const int8_t *x, const qnn_factors *f, int64_t index, int64_t n,
                                const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    (t->rounding == QNN_NEAREST_DOWN ? steps_down : steps_stochastic)(g, x, f, index, n, t, out, counts);
}

#else /* not offered */

int qnn_normalize_has_avx512(const qnn_target *t)
{
    (void)t;
    return 0;
}

void qnn_normalize_steps_avx512(const int8_t *g, const int8_t *x, const qnn_factors *f, int64_t index, int64_t n,
                                const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    (void)g, (void)x, (void)f, (void)index, (void)n, (void)t, (void)out, (void)counts;
}

#endif
