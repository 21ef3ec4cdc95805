/* float32 to at most 8 bits with AVX-512, by the two rules of training; the rest goes to AVX2. */
#include "qnn_elem.h"
#include "qnn_real512.h"

#if QNN_HAS_LANES512

typedef struct {
    qnn_real512 k;
    qnn_counts512 counts;
    __m512 bad[2]; /* 0 until a value is NaN or infinite: 0 times any finite number is 0 */
} state;

QNN_AVX512_INLINE void step(const float *x, const uint16_t *noise, const int stochastic, state *s, void *out)
{
    __m512i rounded[4], far[4];
    __mmask16 zero[4];
    for (int j = 0; j < 4; j++) {
        const __m512 v = _mm512_loadu_ps(x + 16 * j);
        s->bad[j % 2] = _mm512_fmadd_ps(v, _mm512_setzero_ps(), s->bad[j % 2]);
        zero[j] = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ);
        if (stochastic)
            qnn_stochastic512(v, noise + 16 * j, &s->k, rounded + j, far + j);
        else
            qnn_nearest_down512(v, &s->k, rounded + j, far + j);
    }
    s->counts.zero += qnn_zeros512(zero);
    qnn_store512_s32(rounded, far, &s->k.limits, &s->counts, out);
}

QNN_AVX512_INLINE void step_down(const void *x, const uint16_t *noise, void *s, void *out) { step(x, noise, 0, s, out); }

QNN_AVX512_INLINE void step_stochastic(const void *x, const uint16_t *noise, void *s, void *out)
{
    step(x, noise, 1, s, out);
}

QNN_AVX512 static int64_t quantize(const float *x, int64_t index, int64_t n, const qnn_target *t, int8_t *out,
                                   qnn_counts *counts)
{
    state s = {qnn_make_real512(t), {0, 0, 0, 0}, {_mm512_setzero_ps(), _mm512_setzero_ps()}};
    if (t->rounding == QNN_STOCHASTIC)
        qnn_steps512(x, index, n, 1, t, step_stochastic, &s, out);
    else
        qnn_steps512(x, index, n, 0, t, step_down, &s, out);
    qnn_flush512(&s.counts, (n + QNN_STEP512 - 1) / QNN_STEP512 * QNN_STEP512, counts);
    return _mm512_cmp_ps_mask(_mm512_add_ps(s.bad[0], s.bad[1]), _mm512_setzero_ps(), _CMP_NEQ_UQ);
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
