/* Requantising with AVX2: int32 accumulators at shifts up to 31, every rounding; the rest goes to the plain C. */
#include <string.h>

#include "qnn_narrow.h"
#include "qnn_noise.h"
#include "qnn_round.h"

#if QNN_X86

enum {
    CHUNK = 1024,
    STEP = QNN_LANE_STEP,
    EXACT = 9
}; /* EXACT: shifts to the left, where no rule has anything to do */

typedef struct {
    __m128i shift, noise_right, noise_left;
    __m256i mask, half, far_low, far_high;
    qnn_lane_limits limits;
    qnn_narrow_limits limits_s8;
} constants;

QNN_AVX2_INLINE constants make_constants(const qnn_plan *p)
{
    constants k;
    int s = p->shift, left = s < -16 ? 16 : -s;
    uint32_t half = s > 0 ? (uint32_t)1 << (s - 1) : 0;
    k.shift = _mm_cvtsi32_si128(s > 0 ? s : left);
    k.noise_right = _mm_cvtsi32_si128(s < 16 ? 16 - s : 0);
    k.noise_left = _mm_cvtsi32_si128(s > 16 ? s - 16 : 0);
    k.mask = _mm256_set1_epi32((int)p->mask);
    k.half = _mm256_set1_epi32((int)half);
    k.far_high = _mm256_set1_epi32(s < 0 ? 32767 : 32768);
    k.far_low = _mm256_set1_epi32(s < 0 ? -32768 : -32769);
    k.limits = qnn_make_lane_limits(p->target->bits);
    k.limits_s8 = qnn_make_narrow_limits(p->target->bits <= 8 ? p->target->bits : 8);
    return k;
}

/* What is added to the remainder so that a carry out of it means "up"; the sum stays below 2^32 (unsigned). */
QNN_AVX2_INLINE __m256i addend(__m256i v, __m256i whole, __m128i words, const constants *k, int rounding)
{
    const __m256i one = _mm256_set1_epi32(1), negative = _mm256_srai_epi32(v, 31);
    switch (rounding) {
    case QNN_NEAREST_EVEN:
        return _mm256_add_epi32(_mm256_sub_epi32(k->half, one), _mm256_and_si256(whole, one));
    case QNN_NEAREST_AWAY:
        return _mm256_add_epi32(k->half, negative);
    case QNN_NEAREST_UP:
        return k->half;
    case QNN_NEAREST_DOWN:
        return _mm256_sub_epi32(k->half, one);
    case QNN_NEAREST_TO_ZERO:
        return _mm256_sub_epi32(_mm256_sub_epi32(k->half, one), negative);
    case QNN_CEIL:
        return k->mask;
    case QNN_TRUNCATE:
        return _mm256_and_si256(k->mask, negative);
    default: /* QNN_STOCHASTIC */
        return _mm256_sll_epi32(_mm256_srl_epi32(_mm256_cvtepu16_epi32(words), k->noise_right), k->noise_left);
    }
}

/* Eight accumulators, rounded but not clipped. `rounding` is a constant at every call. */
QNN_AVX2_INLINE qnn_rounded rounded(__m256i v, __m128i words, const constants *k, int rounding)
{
    const __m256i zero = _mm256_cmpeq_epi32(v, _mm256_setzero_si256());
    __m256i whole, y;
    if (rounding == EXACT) {
        /* Beyond +-2^15 every format saturates; a clamp to there keeps the value within int32 when it is shifted by up to
           16, which takes every number but 0 out of every format. */
        whole = _mm256_max_epi32(_mm256_min_epi32(v, k->far_high), k->far_low);
        y = whole = _mm256_sll_epi32(whole, k->shift);
    } else {
        y = whole = _mm256_sra_epi32(v, k->shift);
        if (rounding != QNN_FLOOR) {
            __m256i rest = _mm256_add_epi32(_mm256_and_si256(v, k->mask), addend(v, whole, words, k, rounding));
            y = _mm256_add_epi32(whole, _mm256_srl_epi32(rest, k->shift));
        }
    }
    qnn_rounded r = {y, whole, zero};
    return r;
}

/* STEP accumulators. */
QNN_AVX2_INLINE void round_step(const int32_t *acc, const uint16_t *noise, const constants *k, int rounding,
                                qnn_rounded r[4])
{
    for (int j = 0; j < 4; j++) {
        __m128i words = _mm_setzero_si128();
        if (rounding == QNN_STOCHASTIC)
            words = _mm_loadu_si128((const __m128i *)(const void *)(noise + 8 * j));
        r[j] = rounded(_mm256_loadu_si256((const __m256i *)(const void *)(acc + 8 * j)), words, k, rounding);
    }
}

/* m accumulators, a multiple of STEP, to int8. */
QNN_AVX2_INLINE void steps_s8(const int32_t *acc, const uint16_t *noise, int64_t m, const constants *k, int rounding,
                              int8_t *out, qnn_lane_counts *c)
{
    _Static_assert(CHUNK / STEP <= QNN_NARROW_MOST_STEPS, "counts of a chunk fit their lanes");
    qnn_narrow_counts counts = qnn_no_lane_counts();
    for (int64_t i = 0; i < m; i += STEP) {
        qnn_rounded r[4];
        round_step(acc + i, noise + i, k, rounding, r);
        qnn_store_narrow(r, 1, i, out, &k->limits_s8, &counts);
    }
    qnn_widen_narrow_counts(&counts, c);
}

/* The same to int16. */
QNN_AVX2_INLINE void steps_s16(const int32_t *acc, const uint16_t *noise, int64_t m, const constants *k, int rounding,
                               int16_t *out, qnn_lane_counts *c)
{
    for (int64_t i = 0; i < m; i += STEP) {
        qnn_rounded r[4];
        __m256i y[4];
        round_step(acc + i, noise + i, k, rounding, r);
        for (int j = 0; j < 4; j++)
            y[j] = qnn_clip_lanes(r[j].y, r[j].whole, r[j].zero, &k->limits, c);
        qnn_store_lanes(y, 2, i, out);
    }
}

#define CASE(rule)                                      \
    case rule:                                          \
        if (bytes == 1)                                 \
            steps_s8(acc, noise, m, k, rule, out, c);   \
        else                                            \
            steps_s16(acc, noise, m, k, rule, out, c);  \
        break

QNN_AVX2 static void steps_by_rule(const int32_t *acc, const uint16_t *noise, int64_t m, const constants *k,
                                   int rounding, int bytes, void *out, qnn_lane_counts *c)
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
        CASE(EXACT);
    }
}

/* sum = acc + bias in int32; 0 when a sum leaves int32 (then nothing is promised about `sum`). */
QNN_AVX2 static int add_bias(const int32_t *acc, const int32_t *bias, int64_t m, int32_t *sum)
{
    int32_t wrong = 0;
    for (int64_t i = 0; i < m; i++) {
        int32_t s = (int32_t)((uint32_t)acc[i] + (uint32_t)bias[i]);
        wrong |= (acc[i] ^ s) & (bias[i] ^ s);
        sum[i] = s;
    }
    return wrong >= 0;
}

/* The bias of one chunk as int32, repeated along it; 0 when an entry does not fit. */
static int spread_bias(const int64_t *bias, int64_t cols, int64_t column, int64_t m, int32_t *out)
{
    int64_t done = cols - column < m ? cols - column : m;
    for (int64_t i = 0; i < done; i++) {
        if (bias[column + i] < INT32_MIN || bias[column + i] > INT32_MAX)
            return 0;
        out[i] = (int32_t)bias[column + i];
    }
    /* More than one row only from column 0 on: copies of what is there already. */
    for (int64_t more; done < m; done += more) {
        more = done < m - done ? done : m - done;
        memcpy(out + done, out, (size_t)more * sizeof *out);
    }
    return 1;
}

/* int64 to int32; 0 when a value does not fit. */
QNN_AVX2 static int narrowed(const int64_t *acc, int64_t m, int32_t *out)
{
    int64_t wrong = 0;
    for (int64_t i = 0; i < m; i++) {
        out[i] = (int32_t)(uint32_t)((uint64_t)acc[i] & 0xFFFFFFFFu);
        wrong |= acc[i] ^ out[i];
    }
    return wrong == 0;
}

/* One chunk of at most CHUNK sums; a last part that fills no STEP is padded with zeros, which only `zero` counts. */
QNN_AVX2 static void requantize_chunk(const int32_t *acc, int64_t index, int64_t m, const qnn_plan *p,
                                      const constants *k, int rounding, void *out, qnn_lane_counts *c)
{
    uint16_t scratch[CHUNK];
    const uint16_t *noise = scratch;
    int bytes = qnn_target_bytes(p->target);
    int64_t whole = m / STEP * STEP, rest = m - whole;
    if (rounding == QNN_STOCHASTIC)
        noise = qnn_noise_at(p->target, index, m, qnn_noise_words_avx2, scratch);
    if (whole)
        steps_by_rule(acc, noise, whole, k, rounding, bytes, out, c);
    if (rest) {
        int32_t last[STEP] = {0};
        uint16_t words[STEP] = {0};
        int16_t padded[STEP];
        memcpy(last, acc + whole, (size_t)rest * sizeof *last);
        if (rounding == QNN_STOCHASTIC)
            memcpy(words, noise + whole, (size_t)rest * sizeof *words);
        steps_by_rule(last, words, STEP, k, rounding, bytes, padded, c);
        memcpy((char *)out + whole * bytes, padded, (size_t)(rest * bytes));
    }
}

static void plain_part(const int32_t *acc, const int64_t *bias, int64_t cols, int64_t at, int64_t m, int64_t index,
                       const qnn_target *t, char *out, qnn_counts *counts)
{
    if (m % cols == 0)
        qnn_requantize_rows_s32(acc + at, bias, index + at, m / cols, cols, t, out, counts);
    else
        qnn_requantize_s32(acc + at, bias + at % cols, index + at, m, t, out, counts);
}

QNN_AVX2 static void requantize_rows(const int32_t *acc, const int64_t *bias, int64_t index, int64_t n, int64_t cols,
                                     const qnn_plan *p, char *out, qnn_counts *counts)
{
    const constants k = make_constants(p);
    qnn_lane_counts c = qnn_no_lane_counts();
    int32_t spread[CHUNK], sum[CHUNK];
    int rounding = p->shift <= 0 ? EXACT : p->rounding, fits = 0;
    int64_t bytes = qnn_target_bytes(p->target), padded = 0;
    /* With a bias a chunk holds whole rows, or a part of one row. */
    int64_t chunk = bias && cols <= CHUNK ? CHUNK / cols * cols : CHUNK, m;
    for (int64_t at = 0; at < n; at += m) {
        const int32_t *from = acc + at;
        m = n - at < chunk ? n - at : chunk;
        if (bias) {
            if (cols > CHUNK && m > cols - at % cols)
                m = cols - at % cols;
            if (at == 0 || cols > CHUNK)
                fits = spread_bias(bias, cols, at % cols, m, spread);
            if (!fits || !add_bias(from, spread, m, sum)) {
                plain_part(acc, bias, cols, at, m, index, p->target, out + at * bytes, counts);
                continue;
            }
            from = sum;
        }
        requantize_chunk(from, index + at, m, p, &k, rounding, out + at * bytes, &c);
        padded += (m + STEP - 1) / STEP * STEP;
    }
    qnn_flush_lanes(&c, padded, counts);
}

void qnn_requantize_rows_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_plan p = qnn_make_plan(t);
    if (rows < 1 || cols < 1)
        return;
    if (p.divisor != 1 || p.shift > 31)
        qnn_requantize_rows_s32(acc, bias, index, rows, cols, t, out, counts);
    else
        requantize_rows(acc, bias, index, rows * cols, cols, &p, out, counts);
}

/* Accumulators of int64 that fit int32 after all go the fast way, chunk by chunk (whole rows). */
void qnn_requantize_rows_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts)
{
    int32_t narrow[CHUNK];
    int64_t part = cols <= CHUNK && cols > 0 ? CHUNK / cols : 0, m;
    if (part == 0) {
        qnn_requantize_rows_s64(acc, bias, index, rows, cols, t, out, counts);
        return;
    }
    for (int64_t row = 0; row < rows; row += m) {
        int64_t at = row * cols;
        char *to = (char *)out + at * qnn_target_bytes(t);
        m = rows - row < part ? rows - row : part;
        if (narrowed(acc + at, m * cols, narrow))
            qnn_requantize_rows_s32_avx2(narrow, bias, index + at, m, cols, t, to, counts);
        else
            qnn_requantize_rows_s64(acc + at, bias, index + at, m, cols, t, to, counts);
    }
}

#else /* not x86-64: the plain C */

void qnn_requantize_rows_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s32(acc, bias, index, rows, cols, t, out, counts);
}

void qnn_requantize_rows_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s64(acc, bias, index, rows, cols, t, out, counts);
}

#endif

void qnn_requantize_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,
                             void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s32_avx2(acc, bias, index, bias ? 1 : n, bias ? n : 1, t, out, counts);
}

void qnn_requantize_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,
                             void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s64_avx2(acc, bias, index, bias ? 1 : n, bias ? n : 1, t, out, counts);
}
