/* Batch norm's two elementwise steps on int8 with AVX2: from bytes to bytes in one pass, for the rules of training.
 * The float32 operations and their order are those of qnn_normalize.c. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_noise.h"
#include "qnn_real_lanes.h"

#if QNN_X86

enum { STEP = QNN_NARROW_STEP };

QNN_AVX2_INLINE __m256 widened(const int8_t *q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)q)));
}

QNN_AVX2_INLINE qnn_rounded rounded(__m256 y, const uint16_t *words, const int rounding, qnn_real_state *k)
{
    qnn_watch(y, k);
    if (rounding == QNN_QUICK_DOWN)
        return qnn_quick_down(y, k);
    return qnn_quick_stochastic(y, _mm_loadu_si128((const __m128i *)(const void *)words), k);
}

/* 32 results of y = (x - a) * b, or with g of y = (a * g + b * x) + c. */
QNN_AVX2_INLINE void one_step(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                              const uint16_t *words, const int rounding, const int bytes, void *out, qnn_real_state *k)
{
    qnn_rounded r[4];
    for (int j = 0; j < 4; j++) {
        __m256 fa = _mm256_loadu_ps(a + 8 * j), fb = _mm256_loadu_ps(b + 8 * j), y;
        if (g)
            y = _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(fa, widened(g + 8 * j)),
                                            _mm256_mul_ps(fb, widened(x + 8 * j))),
                              _mm256_loadu_ps(c + 8 * j));
        else
            y = _mm256_mul_ps(_mm256_sub_ps(widened(x + 8 * j), fa), fb);
        r[j] = rounded(y, words + 8 * j, rounding, k);
    }
    qnn_store_narrow(r, bytes, 0, out, &k->limits, &k->counts);
}

/* The rest of a part, padded with zeros: 0 * 0 + 0 and (0 - 0) * 0 are 0, which only the count `zero` sees. */
QNN_AVX2_INLINE void last_step(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                               const uint16_t *words, int64_t rest, const int rounding, const int bytes, char *out,
                               qnn_real_state *k)
{
    int8_t gs[STEP] = {0}, xs[STEP] = {0};
    float as[STEP] = {0}, bs[STEP] = {0}, cs[STEP] = {0};
    uint16_t noise[STEP] = {0};
    int16_t results[STEP];
    memcpy(xs, x, (size_t)rest);
    memcpy(as, a, (size_t)rest * sizeof *a);
    memcpy(bs, b, (size_t)rest * sizeof *b);
    memcpy(noise, words, (size_t)rest * sizeof *words);
    if (g) {
        memcpy(gs, g, (size_t)rest);
        memcpy(cs, c, (size_t)rest * sizeof *c);
    }
    one_step(g ? gs : 0, xs, as, bs, cs, noise, rounding, bytes, results, k);
    memcpy(out, results, (size_t)(rest * bytes));
}

QNN_AVX2_INLINE int part(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                         int64_t index, int64_t m, const qnn_target *t, const int rounding, const int bytes, char *out,
                         qnn_counts *counts)
{
    qnn_real_state k = qnn_make_real_state(t);
    uint16_t noise[QNN_NORMALIZE_MOST] = {0};
    int64_t i = 0;
    if (rounding == QNN_QUICK_STOCHASTIC)
        qnn_noise_words_avx2(t, index, m, noise);
    for (; i + STEP <= m; i += STEP)
        one_step(g ? g + i : 0, x + i, a + i, b + i, g ? c + i : 0, noise + i, rounding, bytes, out + i * bytes, &k);
    if (i < m)
        last_step(g ? g + i : 0, x + i, a + i, b + i, g ? c + i : 0, noise + i, m - i, rounding, bytes,
                  out + i * bytes, &k);
    qnn_flush_narrow(&k.counts, (m + STEP - 1) / STEP * STEP, counts);
    return qnn_saw_bad(&k);
}

QNN_AVX2 static int part_down(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                              int64_t index, int64_t m, const qnn_target *t, char *out, qnn_counts *counts)
{
    if (g)
        return part(g, x, a, b, c, index, m, t, QNN_QUICK_DOWN, 1, out, counts);
    return part(0, x, a, b, 0, index, m, t, QNN_QUICK_DOWN, 1, out, counts);
}

QNN_AVX2 static int part_stochastic(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                                    int64_t index, int64_t m, const qnn_target *t, char *out, qnn_counts *counts)
{
    if (g)
        return part(g, x, a, b, c, index, m, t, QNN_QUICK_STOCHASTIC, 1, out, counts);
    return part(0, x, a, b, 0, index, m, t, QNN_QUICK_STOCHASTIC, 1, out, counts);
}

int qnn_normalize_has_avx2(const qnn_target *t) { return t->bits <= 8 && qnn_has_lanes(t) && qnn_quick_rule(t) > 8; }

int qnn_normalize_part_avx2(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                            int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    return (qnn_quick_rule(t) == QNN_QUICK_DOWN ? part_down : part_stochastic)(g, x, a, b, c, index, m, t, (char *)out,
                                                                              counts);
}

#else

int qnn_normalize_has_avx2(const qnn_target *t)
{
    (void)t;
    return 0;
}

int qnn_normalize_part_avx2(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                            int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    (void)g, (void)x, (void)a, (void)b, (void)c, (void)index, (void)m, (void)t, (void)out, (void)counts;
    return 1;
}

#endif
