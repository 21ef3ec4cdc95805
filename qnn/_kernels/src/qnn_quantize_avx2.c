/* float32 to n bits with AVX2, up to 14 bits: x * 2^16 floored in float32 where that is exact, all the rest in
   integers. */
#include <string.h>

#include "qnn_elem.h"
#include "qnn_real_lanes.h"
#include "qnn_noise.h"

#if QNN_X86

enum { CHUNK = 1024, STEP = QNN_NARROW_STEP };
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

/* Any rule at any exponent. Beyond +-2^14 every format of up to 14 bits saturates, so the clamp changes nothing and the
   second product stays exact. */
QNN_AVX2_INLINE qnn_rounded by_rule(__m256 x, __m128i words, int rounding, const qnn_real_state *k)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(INT32_MAX));
    const __m256i zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    const __m256 step = _mm256_mul_ps(qnn_clamp_lanes(_mm256_mul_ps(x, k->scale), 16384.0f), _mm256_set1_ps(65536.0f));
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

QNN_AVX2_INLINE qnn_rounded eight(__m256 x, __m128i words, int rounding, qnn_real_state *k)
{
    qnn_watch(x, k);
    if (rounding == QNN_QUICK_DOWN)
        return qnn_quick_down(x, k);
    if (rounding == QNN_QUICK_STOCHASTIC)
        return qnn_quick_stochastic(x, words, k);
    return by_rule(x, words, rounding, k);
}

/* m values, a multiple of STEP. */
QNN_AVX2_INLINE void steps(const float *x, const uint16_t *noise, int64_t m, int rounding, int bytes, void *out,
                           qnn_real_state *k)
{
    for (int64_t i = 0; i < m; i += STEP) {
        qnn_rounded y[4];
        for (int j = 0; j < 4; j++) {
            __m128i words = _mm_setzero_si128();
            if (rounding == QNN_STOCHASTIC || rounding == QNN_QUICK_STOCHASTIC)
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
                                   qnn_real_state *k)
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
        CASE(QNN_QUICK_DOWN);
        CASE(QNN_QUICK_STOCHASTIC);
    }
}

QNN_AVX2 static int64_t quantize(const float *x, int64_t index, int64_t n, const qnn_target *t, char *out,
                                 qnn_counts *counts)
{
    qnn_real_state k = qnn_make_real_state(t);
    int bytes = qnn_target_bytes(t), rounding = qnn_quick_rule(t);
    uint16_t scratch[CHUNK];
    const uint16_t *noise = scratch;
    for (int64_t at = 0, m; at < n; at += m) {
        m = n - at < CHUNK ? n - at : CHUNK;
        int64_t whole = m / STEP * STEP, rest = m - whole;
        if (t->rounding == QNN_STOCHASTIC)
            noise = qnn_noise_at(t, index + at, m, qnn_noise_words_avx2, scratch);
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
    return qnn_saw_bad(&k);
}

int64_t qnn_quantize_chunk_avx2(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                qnn_counts *counts)
{
    if (!qnn_has_lanes(t))
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
