/* Requantising with AVX-512: int32 accumulators to at most 8 bits by the rules that add and shift; the rest goes to
 * AVX2.
 *
 * y = (v + addend) >> s (qnn_adds_and_shifts). v is bounded from above first, so that the sum fits int32: the bound has
 * the largest floor there is, 2^(31-s) - 1, and with s <= 31 - n any result that starts there is clipped. */
#include "qnn_lanes512.h"

#include <string.h>

#include "qnn_noise.h"

#if QNN_HAS_LANES512

enum { STEP = QNN_STEP512 };

typedef struct {
    __m512i most, addend;
    __m128i shift, far_shift, noise_shift;
    qnn_limits512 limits;
} constants;

QNN_AVX512_INLINE constants make_constants(const qnn_plan *p)
{
    constants k;
    k.most = _mm512_set1_epi32((int32_t)(INT32_MAX - (((int64_t)1 << p->shift) - 1)));
    k.addend = _mm512_set1_epi32(qnn_constant_addend(p->rounding, p->shift));
    k.shift = _mm_cvtsi32_si128(p->shift);
    k.far_shift = _mm_cvtsi32_si128(p->shift + p->target->bits - 2);
    k.noise_shift = _mm_cvtsi32_si128(16 - p->shift);
    k.limits = qnn_make_limits512(p->target->bits);
    return k;
}

QNN_AVX512_INLINE void step(const int32_t *acc, const uint16_t *noise, const int stochastic, const constants *k,
                            qnn_counts512 *c, void *out)
{
    __m512i y[4], far[4];
    __mmask16 zero[4];
    for (int j = 0; j < 4; j++) {
        const __m512i v = _mm512_loadu_si512(acc + 16 * j);
        const __m512i addend = stochastic ? qnn_noise512_s32(noise + 16 * j, k->noise_shift) : k->addend;
        zero[j] = _mm512_testn_epi32_mask(v, v);
        far[j] = _mm512_sra_epi32(v, k->far_shift);
        y[j] = _mm512_sra_epi32(_mm512_add_epi32(_mm512_min_epi32(v, k->most), addend), k->shift);
    }
    qnn_store512_s32(y, far, zero, &k->limits, c, out);
}

/* A last part that fills no STEP is padded with zeros, which only `zero` counts. */
QNN_AVX512_INLINE void steps(const int32_t *acc, int64_t index, int64_t n, const int stochastic, const qnn_target *t,
                             const constants *k, qnn_counts512 *c, int8_t *out)
{
    uint16_t scratch[QNN_CHUNK512];
    const uint16_t *noise = scratch;
    const int64_t chunk = qnn_chunk512(t);
    for (int64_t at = 0, m; at < n; at += m) {
        int64_t i = 0;
        m = n - at < chunk ? n - at : chunk;
        if (stochastic)
            noise = qnn_noise_at(t, index + at, m, qnn_noise_words_avx512, scratch);
        for (; i + STEP <= m; i += STEP) {
            qnn_fetch_ahead512(acc + at + i);
            step(acc + at + i, noise + i, stochastic, k, c, out + at + i);
        }
        if (i < m) {
            int32_t last[STEP] = {0};
            uint16_t words[STEP] = {0};
            int8_t results[STEP];
            memcpy(last, acc + at + i, (size_t)(m - i) * sizeof *last);
            if (stochastic)
                memcpy(words, noise + i, (size_t)(m - i) * sizeof *words);
            step(last, words, stochastic, k, c, results);
            memcpy(out + at + i, results, (size_t)(m - i));
        }
    }
}

QNN_AVX512 static void requantize(const int32_t *acc, int64_t index, int64_t n, const qnn_plan *p, int8_t *out,
                                  qnn_counts *counts)
{
    const constants k = make_constants(p);
    qnn_counts512 c = {0, 0, 0, 0};
    if (p->rounding == QNN_STOCHASTIC)
        steps(acc, index, n, 1, p->target, &k, &c, out);
    else
        steps(acc, index, n, 0, p->target, &k, &c, out);
    qnn_flush512(&c, (n + STEP - 1) / STEP * STEP, counts);
}

void qnn_requantize_rows_s32_avx512(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                    const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_plan p = qnn_make_plan(t);
    if (bias || rows < 1 || cols < 1 || !qnn_adds_and_shifts(&p, 31 - QNN_MOST_BITS512))
        qnn_requantize_rows_s32_avx2(acc, bias, index, rows, cols, t, out, counts);
    else
        requantize(acc, index, rows * cols, &p, out, counts);
}

#else /* never asked for */

void qnn_requantize_rows_s32_avx512(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                    const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s32_avx2(acc, bias, index, rows, cols, t, out, counts);
}

#endif
