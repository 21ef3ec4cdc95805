/* float32 to n bits with AVX2, up to 14 bits: x * 2^16 floored in float32 where that is exact, all the rest in
   integers. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_narrow.h"
#include "qnn_noise.h"

#if QNN_X86

enum { CHUNK = 1024, STEP = QNN_NARROW_STEP };
/* Rules of their own: the two that training uses, where scaling loses no bit. */
enum { QUICK_DOWN = QNN_STOCHASTIC + 1, QUICK_STOCHASTIC };

typedef struct {
    __m256 scale, scale_16; /* 2^-e, and 2^(16 - e) */
    qnn_narrow_limits limits;
    qnn_narrow_counts counts;
    __m256 bad; /* not 0 in lanes that saw NaN or infinity */
} state;

/* v + tail (tail: a mask of lanes that have one) over 2^16, rounded. The two sides of each tie rule as in RND-2: down =
   (ceil(x * 2^16) + 2^15 - 1) >> 16 and up = (floor(x * 2^16) + 2^15) >> 16 differ at ties only. */
QNN_AVX2_INLINE __m256i round_16(__m256i v, __m256i tail, __m128i words, int rounding)
{
    const __m256i up = _mm256_srai_epi32(_mm256_add_epi32(v, _mm256_set1_epi32(32768)), 16);
    const __m256i above = _mm256_sub_epi32(v, tail); /* tail lanes are -1: this is ceil(x * 2^16) */
    const __m256i down = _mm256_srai_epi32(_mm256_add_epi32(above, _mm256_set1_epi32(32767)), 16);
    const __m256i floor = _mm256_srai_epi32(v, 16), negative = _mm256_srai_epi32(v, 31);
    const __m256i ceil = _mm256_srai_epi32(_mm256_add_epi32(above, _mm256_set1_epi32(65535)), 16);
    switch (rounding) {
    case QNN_NEAREST_EVEN: /* at a tie exactly one of the two is even */
        return _mm256_blendv_epi8(up, down,
                                  _mm256_cmpeq_epi32(_mm256_and_si256(up, _mm256_set1_epi32(1)), _mm256_set1_epi32(1)));
    case QNN_NEAREST_AWAY:
        return _mm256_blendv_epi8(up, down, negative);
    case QNN_NEAREST_UP:
        return up;
    case QNN_NEAREST_DOWN:
        return down;
    case QNN_NEAREST_TO_ZERO:
        return _mm256_blendv_epi8(down, up, negative);
    case QNN_CEIL:
        return ceil;
    case QNN_TRUNCATE:
        return _mm256_blendv_epi8(floor, ceil, negative);
    case QNN_STOCHASTIC:
        return _mm256_srai_epi32(_mm256_add_epi32(v, _mm256_cvtepu16_epi32(words)), 16);
    default: /* QNN_FLOOR */
        return floor;
    }
}

QNN_AVX2_INLINE __m256 clamp(__m256 x, float limit)
{
    return _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(limit)), _mm256_set1_ps(-limit));
}

/* Any rule at any exponent. Beyond +-2^14 every format of up to 14 bits saturates, so the clamp changes nothing and the
   second product stays exact. */
QNN_AVX2_INLINE qnn_rounded by_rule(__m256 x, __m128i words, int rounding, const state *k)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(INT32_MAX));
    const __m256i zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    const __m256 step = _mm256_mul_ps(clamp(_mm256_mul_ps(x, k->scale), 16384.0f), _mm256_set1_ps(65536.0f));
    const __m256 below = _mm256_floor_ps(step);
    __m256i v = _mm256_cvtps_epi32(below), tail = _mm256_castps_si256(_mm256_cmp_ps(below, step, _CMP_NEQ_OQ));
    /* A product below the normal range may have become 0; then the value is just above 0 (v 0 and a tail) or just below
       (v -1; whether there is a tail does not matter at -1). */
    const __m256i vanished = _mm256_andnot_si256(zero, _mm256_cmpeq_epi32(v, _mm256_setzero_si256()));
    v = _mm256_add_epi32(v, _mm256_and_si256(vanished, _mm256_srai_epi32(bits, 31)));
    tail = _mm256_or_si256(tail, vanished);
    qnn_rounded r = {round_16(v, tail, words, rounding), _mm256_srai_epi32(v, 16), zero};
    return r;
}

/* NEAREST_DOWN for e <= 0, where x * 2^-e is exact: the processor's rounding to the nearest, ties to even, differs at a
   tie that it rounded up, and there only. */
QNN_AVX2_INLINE qnn_rounded quick_down(__m256 x, const state *k)
{
    const __m256 step = clamp(_mm256_mul_ps(x, k->scale), 16384.0f);
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
QNN_AVX2_INLINE qnn_rounded quick_stochastic(__m256 x, __m128i words, const state *k)
{
    const __m256 step = clamp(_mm256_mul_ps(x, k->scale_16), 1073741824.0f);
    const __m256i v = _mm256_cvtps_epi32(_mm256_floor_ps(step));
    qnn_rounded r = {_mm256_srai_epi32(_mm256_add_epi32(v, _mm256_cvtepu16_epi32(words)), 16), _mm256_srai_epi32(v, 16),
                     _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ))};
    return r;
}

QNN_AVX2_INLINE qnn_rounded eight(__m256 x, __m128i words, int rounding, state *k)
{
    k->bad = _mm256_or_ps(k->bad, _mm256_sub_ps(x, x)); /* 0 for every finite number, else NaN */
    if (rounding == QUICK_DOWN)
        return quick_down(x, k);
    if (rounding == QUICK_STOCHASTIC)
        return quick_stochastic(x, words, k);
    return by_rule(x, words, rounding, k);
}

/* m values, a multiple of STEP. */
QNN_AVX2_INLINE void steps(const float *x, const uint16_t *noise, int64_t m, int rounding, int bytes, void *out,
                           state *k)
{
    for (int64_t i = 0; i < m; i += STEP) {
        qnn_rounded y[4];
        for (int j = 0; j < 4; j++) {
            __m128i words = _mm_setzero_si128();
            if (rounding == QNN_STOCHASTIC || rounding == QUICK_STOCHASTIC)
                words = _mm_loadu_si128((const __m128i *)(const void *)(noise + i + 8 * j));
            y[j] = eight(_mm256_loadu_ps(x + i + 8 * j), words, rounding, k);
        }
        qnn_store_narrow(y, bytes, i, out, &k->limits, &k->counts);
    }
}

#define CASE(rule)                               \
    case rule:                                   \
        steps(x, noise, m, rule, bytes, out, k); \
        break

QNN_AVX2 static void steps_by_rule(const float *x, const uint16_t *noise, int64_t m, int rounding, int bytes, void *out,
                                   state *k)
{
    switch (rounding) {
        CASE(QNN_NEAREST_EVEN);
        CASE(QNN_NEAREST_AWAY);
        CASE(QNN_NEAREST_UP);
        CASE(QNN_NEAREST_DOWN);
        CASE(QNN_NEAREST_TO_ZERO);
        CASE(QNN_FLOOR);
        CASE(QNN_CEIL);
        CASE(QNN_TRUNCATE);
        CASE(QNN_STOCHASTIC);
        CASE(QUICK_DOWN);
        CASE(QUICK_STOCHASTIC);
    }
}

QNN_AVX2_INLINE __m256 power_of_two(int exponent)
{
    return _mm256_castsi256_ps(_mm256_set1_epi32((127 + exponent) << 23));
}

QNN_AVX2 static int64_t quantize(const float *x, int64_t index, int64_t n, const qnn_target *t, char *out,
                                 qnn_counts *counts)
{
    /* Normal numbers for every allowed exponent. */
    state k = {power_of_two(-t->exponent_shift), power_of_two(16 - t->exponent_shift), qnn_make_narrow_limits(t->bits),
               qnn_no_narrow_counts(), _mm256_setzero_ps()};
    int bytes = qnn_target_bytes(t), rounding = t->rounding;
    uint16_t noise[CHUNK];
    if (rounding == QNN_NEAREST_DOWN && t->exponent_shift <= 0)
        rounding = QUICK_DOWN;
    if (rounding == QNN_STOCHASTIC && t->exponent_shift <= 16)
        rounding = QUICK_STOCHASTIC;
    for (int64_t at = 0, m; at < n; at += m) {
        m = n - at < CHUNK ? n - at : CHUNK;
        int64_t whole = m / STEP * STEP, rest = m - whole;
        if (t->rounding == QNN_STOCHASTIC)
            qnn_noise_words_avx2(t, index + at, m, noise);
        steps_by_rule(x + at, noise, whole, rounding, bytes, out + at * bytes, &k);
        if (rest) { /* padded with zeros, which only the count `zero` sees */
            float last[STEP] = {0};
            uint16_t words[STEP] = {0};
            int16_t results[STEP];
            memcpy(last, x + at + whole, (size_t)rest * sizeof *last);
            if (t->rounding == QNN_STOCHASTIC)
                memcpy(words, noise + whole, (size_t)rest * sizeof *words);
            steps_by_rule(last, words, STEP, rounding, bytes, results, &k);
            memcpy(out + (at + whole) * bytes, results, (size_t)(rest * bytes));
        }
        qnn_flush_narrow(&k.counts, (m + STEP - 1) / STEP * STEP, counts);
    }
    return _mm256_movemask_ps(_mm256_cmp_ps(k.bad, _mm256_setzero_ps(), _CMP_NEQ_UQ));
}

int64_t qnn_quantize_chunk_avx2(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                qnn_counts *counts)
{
    if (t->bits > QNN_NARROW_MOST_BITS || t->exponent_shift < -64 || t->exponent_shift > 63)
        return qnn_quantize_chunk(x, index, n, t, out, counts);
    return quantize(x, index, n, t, out, counts);
}

#else

int64_t qnn_quantize_chunk_avx2(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                qnn_counts *counts)
{
    return qnn_quantize_chunk(x, index, n, t, out, counts);
}

#endif
