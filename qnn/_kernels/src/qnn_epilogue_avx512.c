/* Requantising with AVX-512: int32 accumulators to at most 8 bits by the rules that add and shift; the rest goes to
 * AVX2.
 *
 * y = (v + addend) >> s (qnn_adds_and_shifts). v is bounded from above first, so that the sum fits int32: the bound has
 * the largest floor there is, 2^(31-s) - 1, and with s <= 31 - n any result that starts there is clipped. */
#include "qnn_lanes512.h"

#if QNN_HAS_LANES512

typedef struct {
    __m512i most, addend, shift, far_shift, noise_shift;
    qnn_limits512 limits;
    qnn_counts512 counts;
} state;

QNN_AVX512_INLINE state make_state(const qnn_plan *p)
{
    state s;
    s.most = _mm512_set1_epi32((int32_t)(INT32_MAX - (((int64_t)1 << p->shift) - 1)));
    s.addend = _mm512_set1_epi32(qnn_constant_addend(p->rounding, p->shift));
    s.shift = _mm512_set1_epi32(p->shift);
    s.far_shift = _mm512_set1_epi32(p->shift + p->target->bits - 2);
    s.noise_shift = _mm512_set1_epi32(16 - p->shift);
    s.limits = qnn_make_limits512(p->target->bits);
    s.counts = (qnn_counts512){0, 0, 0, 0};
    return s;
}

QNN_AVX512_INLINE void step(const int32_t *acc, const uint16_t *noise, const int stochastic, state *s, void *out)
{
    __m512i v[4], y[4], far[4];
    for (int j = 0; j < 4; j++) {
        v[j] = _mm512_loadu_si512(acc + 16 * j);
        const __m512i addend = stochastic ? qnn_noise512_s32(noise + 16 * j, s->noise_shift) : s->addend;
        far[j] = _mm512_srav_epi32(v[j], s->far_shift);
        y[j] = _mm512_srav_epi32(_mm512_add_epi32(_mm512_min_epi32(v[j], s->most), addend), s->shift);
    }
    s->counts.zero += qnn_zeros512_s32(v);
    qnn_store512_s32(y, far, &s->limits, &s->counts, out);
}

QNN_AVX512_INLINE void step_plain(const void *x, const uint16_t *noise, void *s, void *out) { step(x, noise, 0, s, out); }

QNN_AVX512_INLINE void step_stochastic(const void *x, const uint16_t *noise, void *s, void *out)
{
    step(x, noise, 1, s, out);
}

QNN_AVX512 static void requantize(const int32_t *acc, int64_t index, int64_t n, const qnn_plan *p, int8_t *out,
                                  qnn_counts *counts)
{
    state s = make_state(p);
    if (p->rounding == QNN_STOCHASTIC)
        qnn_steps512(acc, index, n, 1, p->target, step_stochastic, &s, out);
    else
        qnn_steps512(acc, index, n, 0, p->target, step_plain, &s, out);
    qnn_flush512(&s.counts, (n + QNN_STEP512 - 1) / QNN_STEP512 * QNN_STEP512, counts);
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
