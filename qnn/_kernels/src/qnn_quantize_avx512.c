/* float32 to at most 8 bits with AVX-512, by the two rules of training; the rest goes to AVX2. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_noise.h"
#include "qnn_real512.h"

#if QNN_HAS_LANES512

enum { STEP = QNN_STEP512 };

/* bad stays 0 until a value is NaN or infinite: 0 times any finite number is 0. */
QNN_AVX512_INLINE void step(const float *x, const uint16_t *noise, const int stochastic, const qnn_real512 *k,
                            __m512 bad[2], qnn_counts512 *c, void *out)
{
    __m512i rounded[4], far[4];
    __mmask16 zero[4];
    for (int j = 0; j < 4; j++) {
        const __m512 v = _mm512_loadu_ps(x + 16 * j);
        bad[j % 2] = _mm512_fmadd_ps(v, _mm512_setzero_ps(), bad[j % 2]);
        zero[j] = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ);
        if (stochastic)
            qnn_stochastic512(v, noise + 16 * j, k, rounded + j, far + j);
        else
            qnn_nearest_down512(v, k, rounded + j, far + j);
    }
    qnn_store512_s32(rounded, far, zero, &k->limits, c, out);
}

/* A last part that fills no STEP is padded with zeros, which only `zero` counts. */
QNN_AVX512_INLINE int64_t steps(const float *x, int64_t index, int64_t n, const int stochastic, const qnn_target *t,
                                int8_t *out, qnn_counts *counts)
{
    const qnn_real512 k = qnn_make_real512(t);
    __m512 bad[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    qnn_counts512 c = {0, 0, 0, 0};
    uint16_t scratch[QNN_CHUNK512];
    const uint16_t *noise = scratch;
    const int64_t chunk = qnn_chunk512(t);
    for (int64_t at = 0, m; at < n; at += m) {
        int64_t i = 0;
        m = n - at < chunk ? n - at : chunk;
        if (stochastic)
            noise = qnn_noise_at(t, index + at, m, qnn_noise_words_avx512, scratch);
        for (; i + STEP <= m; i += STEP) {
            qnn_fetch_ahead512(x + at + i);
            step(x + at + i, noise + i, stochastic, &k, bad, &c, out + at + i);
        }
        if (i < m) {
            float last[STEP] = {0};
            uint16_t words[STEP] = {0};
            int8_t results[STEP];
            memcpy(last, x + at + i, (size_t)(m - i) * sizeof *last);
            if (stochastic)
                memcpy(words, noise + i, (size_t)(m - i) * sizeof *words);
            step(last, words, stochastic, &k, bad, &c, results);
            memcpy(out + at + i, results, (size_t)(m - i));
        }
    }
    qnn_flush512(&c, (n + STEP - 1) / STEP * STEP, counts);
    return _mm512_cmp_ps_mask(_mm512_add_ps(bad[0], bad[1]), _mm512_setzero_ps(), _CMP_NEQ_UQ);
}

QNN_AVX512 static int64_t quantize(const float *x, int64_t index, int64_t n, const qnn_target *t, int8_t *out,
                                   qnn_counts *counts)
{
    if (t->rounding == QNN_STOCHASTIC)
        return steps(x, index, n, 1, t, out, counts);
    return steps(x, index, n, 0, t, out, counts);
}

int64_t qnn_quantize_chunk_avx512(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                  qnn_counts *counts)
{
    if (!qnn_has_real512(t))
        return qnn_quantize_chunk_avx2(x, index, n, t, out, counts);
    return quantize(x, index, n, t, out, counts);
}

#else /* never asked for */

int64_t qnn_quantize_chunk_avx512(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                  qnn_counts *counts)
{
    return qnn_quantize_chunk_avx2(x, index, n, t, out, counts);
}

#endif
