/* The scale layer and sums of two tensors with AVX-512, from bytes to bytes in lanes of int16, twice as many as of
 * int32. Products and sums whose bound leaves room for the rule's addend fit; nearly all of a network's do. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_lanes512.h"
#include "qnn_noise.h"

#if QNN_HAS_LANES512

enum { STEP = QNN_STEP512, MOST_SHIFT = 14 };

typedef struct {
    __m512i addend, shift, far_shift, noise_shift;
    qnn_limits512 limits;
} constants;

/* What results are made of: x * factor + bias, or x * 2^shift_x + y * 2^shift_y. */
typedef struct {
    const int8_t *x, *y;
    const int16_t *factor, *bias;
    __m512i shift_x, shift_y;
    const qnn_ahead *ahead; /* or NULL */
} terms;

QNN_AVX512_INLINE constants make_constants(const qnn_plan *p)
{
    constants k;
    k.addend = _mm512_set1_epi16((short)qnn_constant_addend(p->rounding, p->shift));
    k.shift = _mm512_set1_epi16((short)p->shift);
    /* 16 and more leave the sign, as they should */
    k.far_shift = _mm512_set1_epi16((short)(p->shift + p->target->bits - 2));
    k.noise_shift = _mm512_set1_epi16((short)(16 - p->shift));
    k.limits = qnn_make_limits512(p->target->bits);
    return k;
}

QNN_AVX512_INLINE __m512i widened(const int8_t *x)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)x));
}

/* Of elements from `at` on, whose factors are those from i on. */
QNN_AVX512_INLINE __m512i value(const terms *of, const int two, int64_t at, int64_t i)
{
    const __m512i x = widened(of->x + at);
    if (two)
        return _mm512_add_epi16(_mm512_sllv_epi16(x, of->shift_x), _mm512_sllv_epi16(widened(of->y + at), of->shift_y));
    return _mm512_add_epi16(_mm512_mullo_epi16(x, _mm512_loadu_si512(of->factor + i)), _mm512_loadu_si512(of->bias + i));
}

QNN_AVX512_INLINE void step(const terms *of, const int two, int64_t at, int64_t i, const uint16_t *noise,
                            const int stochastic, const constants *k, qnn_counts512 *c, void *out)
{
    __m512i v[2], y[2], far[2];
    for (int j = 0; j < 2; j++) {
        const __m512i addend =
            stochastic ? _mm512_srlv_epi16(_mm512_loadu_si512(noise + i + 32 * j), k->noise_shift) : k->addend;
        v[j] = value(of, two, at + 32 * j, i + 32 * j);
        far[j] = _mm512_srav_epi16(v[j], k->far_shift);
        y[j] = _mm512_srav_epi16(_mm512_add_epi16(v[j], addend), k->shift);
    }
    c->zero += qnn_zeros512_s16(v);
    qnn_store512(y, far, qnn_order_of_two(), &k->limits, c, out);
}

/* The rest of a period, padded with zeros, which only the count `zero` sees. */
QNN_AVX512_INLINE void last_step(const terms *of, const int two, int64_t at, int64_t i, int64_t rest,
                                 const uint16_t *noise, const int stochastic, const constants *k, qnn_counts512 *c,
                                 int8_t *out)
{
    int8_t x[STEP] = {0}, y[STEP] = {0}, results[STEP];
    int16_t factor[STEP] = {0}, bias[STEP] = {0};
    uint16_t words[STEP] = {0};
    terms padded = {x, y, factor, bias, of->shift_x, of->shift_y, 0};
    memcpy(x, of->x + at, (size_t)rest);
    if (stochastic)
        memcpy(words, noise + i, (size_t)rest * sizeof *words);
    if (two)
        memcpy(y, of->y + at, (size_t)rest);
    else {
        memcpy(factor, of->factor + i, (size_t)rest * sizeof *factor);
        memcpy(bias, of->bias + i, (size_t)rest * sizeof *bias);
    }
    step(&padded, two, 0, 0, words, stochastic, k, c, results);
    memcpy(out + at, results, (size_t)rest);
}

/* What comes after elements at .. at+63: further ones, or what the caller says. */
QNN_AVX512_INLINE void fetch(const terms *of, const int two, int64_t index, int64_t at, const int8_t *out)
{
    if (of->ahead) {
        for (int i = 0; i < of->ahead->count; i++)
            _mm_prefetch((const char *)((uintptr_t)of->ahead->read[i] + (uintptr_t)(index + at)), _MM_HINT_T1);
        __builtin_prefetch((const char *)((uintptr_t)of->ahead->written + (uintptr_t)(index + at)), 1);
        return;
    }
    qnn_fetch_ahead512(of->x + at, 1);
    if (two)
        qnn_fetch_ahead512(of->y + at, 1);
    qnn_fetch_target512(out + at);
}

QNN_AVX512_INLINE void steps(const terms *of, const int two, int64_t period, int64_t index, int64_t n,
                             const int stochastic, const qnn_plan *p, int8_t *out, qnn_counts *counts)
{
    const constants k = make_constants(p);
    qnn_counts512 c = {0, 0, 0, 0};
    uint16_t scratch[QNN_MOST_PERIOD512];
    const uint16_t *noise = scratch;
    qnn_philox_common common = {.made = 0};
    int64_t padding = 0;
    for (int64_t from = 0, m; from < n; from += m) {
        int64_t i = 0;
        m = n - from < period ? n - from : period;
        if (stochastic)
            noise = qnn_more_noise_at(p->target, &common, index + from, m, scratch);
        for (; i + STEP <= m; i += STEP) {
            fetch(of, two, index, from + i, out);
            step(of, two, from + i, i, noise, stochastic, &k, &c, out + from + i);
        }
        if (i < m) {
            last_step(of, two, from + i, i, m - i, noise, stochastic, &k, &c, out);
            padding += i + STEP - m;
        }
    }
    qnn_flush512(&c, n + padding, counts);
}

int qnn_fits_lanes512(const qnn_target *t, int64_t most)
{
    qnn_plan p = qnn_make_plan(t);
    return qnn_adds_and_shifts(&p, MOST_SHIFT) && most + ((int64_t)1 << p.shift) - 1 <= INT16_MAX;
}

QNN_AVX512 void qnn_scale_steps_avx512(const int8_t *x, const int16_t *factor, const int16_t *bias, int64_t period,
                                       int64_t index, int64_t n, const qnn_target *t, const qnn_ahead *ahead,
                                       int8_t *out, qnn_counts *counts)
{
    const qnn_plan p = qnn_make_plan(t);
    const terms of = {x, 0, factor, bias, _mm512_setzero_si512(), _mm512_setzero_si512(), ahead};
    if (p.rounding == QNN_STOCHASTIC)
        steps(&of, 0, period, index, n, 1, &p, out, counts);
    else
        steps(&of, 0, period, index, n, 0, &p, out, counts);
}

QNN_AVX512 void qnn_add_steps_avx512(const int8_t *x, int shift_x, const int8_t *y, int shift_y, int64_t index,
                                     int64_t n, const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    const qnn_plan p = qnn_make_plan(t);
    const terms of = {x, y, 0, 0, _mm512_set1_epi16((short)shift_x), _mm512_set1_epi16((short)shift_y), 0};
    if (p.rounding == QNN_STOCHASTIC)
        steps(&of, 1, QNN_MOST_PERIOD512, index, n, 1, &p, out, counts);
    else
        steps(&of, 1, QNN_MOST_PERIOD512, index, n, 0, &p, out, counts);
}

#else /* not offered */

int qnn_fits_lanes512(const qnn_target *t, int64_t most)
{
    (void)t, (void)most;
    return 0;
}

void qnn_scale_steps_avx512(const int8_t *x, const int16_t *factor, const int16_t *bias, int64_t period, int64_t index,
                            int64_t n, const qnn_target *t, const qnn_ahead *ahead, int8_t *out, qnn_counts *counts)
{
    (void)x, (void)factor, (void)bias, (void)period, (void)index, (void)n, (void)t, (void)ahead, (void)out, (void)counts;
}

void qnn_add_steps_avx512(const int8_t *x, int shift_x, const int8_t *y, int shift_y, int64_t index, int64_t n,
                          const qnn_target *t, int8_t *out, qnn_counts *counts)
{
    (void)x, (void)shift_x, (void)y, (void)shift_y, (void)index, (void)n, (void)t, (void)out, (void)counts;
}

#endif
