/* What the AVX-512 epilogues share: 64 rounded results to int8, clipped, counted and stored in order.
 *
 * Counting is where 512 bits gain: a compare gives a mask, and its bits are counted outside the vectors. EXP-1's
 * overflows need no exact floor. With `far` = floor(value / 2^(n-2)), a value overflows if far is none of -2 .. 1, and
 * its double if far is neither -1 nor 0; saturating far to int8 keeps both, so one compare sees 64 values. */
#ifndef QNN_LANES512_H
#define QNN_LANES512_H

#include <string.h>

#include "qnn_cpu.h"
#include "qnn_noise.h"
#include "qnn_round.h"

#if QNN_HAS_LANES512
#include "qnn_intrinsics512.h"

enum { QNN_STEP512 = 64, QNN_MOST_BITS512 = 8, QNN_CHUNK512 = 512, QNN_AHEAD512 = 2048 /* elements */ };

typedef struct {
    int64_t zero, overflow, overflow_double, clipped;
} qnn_counts512;

typedef struct {
    __m512i low, high;                /* -2^(n-1) and 2^(n-1) - 1, in lanes of int16 */
    __m512i inner_low, inner_numbers; /* the lowest number but one, and how many lie between the ends; lanes of int8 */
} qnn_limits512;

QNN_AVX512_INLINE qnn_limits512 qnn_make_limits512(int bits)
{
    int high = 1 << (bits - 1);
    qnn_limits512 k = {_mm512_set1_epi16((short)-high), _mm512_set1_epi16((short)(high - 1)),
                       _mm512_set1_epi8((char)(1 - high)), _mm512_set1_epi8((char)(2 * high - 2))};
    return k;
}

/* What a rule other than STOCHASTIC adds before the shift, or -1 if that is no constant. */
static inline int32_t qnn_constant_addend(int rounding, int shift)
{
    const int32_t one = (int32_t)1 << shift, half = one / 2;
    switch (rounding) {
    case QNN_FLOOR:
        return 0;
    case QNN_CEIL:
        return one - 1;
    case QNN_NEAREST_UP:
        return half;
    case QNN_NEAREST_DOWN:
        return shift ? half - 1 : 0;
    default:
        return -1;
    }
}

/* Whether a target is y = (v + addend) >> s with 0 <= s <= most_shift: an addend of the rule, or noise >> (16 - s). */
static inline int qnn_adds_and_shifts(const qnn_plan *p, int most_shift)
{
    if (p->target->bits > QNN_MOST_BITS512 || p->divisor != 1 || p->shift < 0 || p->shift > most_shift)
        return 0;
    return p->rounding == QNN_STOCHASTIC ? p->shift <= 16 : qnn_constant_addend(p->rounding, p->shift) >= 0;
}

/* How many words of noise are made at a time, one round of qnn_noise_avx512.c. So few, since a processor has few fetches
   under way at once: those of one chunk's steps should come back while the next chunk's noise is made. */
static inline int64_t qnn_chunk512(const qnn_target *t) { return t->noise_bits > 8 ? QNN_CHUNK512 / 2 : QNN_CHUNK512; }

/* Fetch what a later step reads, of 64 elements of `bytes`, or where it writes 64 bytes, so that memory is busy while noise
   is made. The address may be beyond the end: it is a hint. */
QNN_AVX512_INLINE void qnn_fetch_ahead512(const void *from, const int bytes)
{
    for (int line = 0; line < bytes; line++)
        _mm_prefetch((const char *)((uintptr_t)from + (uintptr_t)(bytes * QNN_AHEAD512 + 64 * line)), _MM_HINT_T0);
}

QNN_AVX512_INLINE void qnn_fetch_target512(const void *to)
{
    __builtin_prefetch((const char *)((uintptr_t)to + QNN_AHEAD512), 1);
}

QNN_AVX512_INLINE int64_t qnn_count_bits(__mmask64 mask) { return __builtin_popcountll(mask); }

/* The rare rest of qnn_store512: some value is at an end of the range or beyond. Returns the bytes, clipped. */
QNN_AVX512_INLINE __m512i qnn_clip512(const __m512i y[2], __m512i distance, const qnn_limits512 *k, qnn_counts512 *c)
{
    const __m512i two = _mm512_set1_epi8(2), three = _mm512_set1_epi8(3);
    const __m512i first = _mm512_max_epi16(_mm512_min_epi16(y[0], k->high), k->low);
    const __m512i last = _mm512_max_epi16(_mm512_min_epi16(y[1], k->high), k->low);
    c->overflow += qnn_count_bits(_mm512_cmpgt_epu8_mask(_mm512_add_epi8(distance, two), three));
    c->clipped += qnn_count_bits(_mm512_kunpackd(_mm512_cmpneq_epi16_mask(first, y[0]),
                                                 _mm512_cmpneq_epi16_mask(last, y[1])));
    return _mm512_packs_epi16(first, last);
}

/* y: two times 32 rounded values, far: likewise; `order` puts the packed bytes in order. A value that overflows rounds to
   an end of the range or beyond, so where all results lie between the ends nothing is clipped and nothing overflows. */
QNN_AVX512_INLINE void qnn_store512(const __m512i y[2], const __m512i far[2], __m512i order, const qnn_limits512 *k,
                                    qnn_counts512 *c, void *out)
{
    const __m512i distance = _mm512_packs_epi16(far[0], far[1]), one = _mm512_set1_epi8(1);
    __m512i bytes = _mm512_packs_epi16(y[0], y[1]);
    c->overflow_double += qnn_count_bits(_mm512_cmpgt_epu8_mask(_mm512_add_epi8(distance, one), one));
    if (QNN_RARELY(_mm512_cmpge_epu8_mask(_mm512_sub_epi8(bytes, k->inner_low), k->inner_numbers)))
        bytes = qnn_clip512(y, distance, k, c);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, bytes));
}

/* How many of 64 are exactly zero, from four masks, or of lanes of int16 or int32: packing with saturation makes no
   other number 0. */
QNN_AVX512_INLINE int64_t qnn_zeros512(const __mmask16 zero[4])
{
    return qnn_count_bits(_mm512_kunpackd(_mm512_kunpackw(zero[0], zero[1]), _mm512_kunpackw(zero[2], zero[3])));
}

QNN_AVX512_INLINE int64_t qnn_zeros512_s16(const __m512i v[2])
{
    const __m512i bytes = _mm512_packs_epi16(v[0], v[1]);
    return qnn_count_bits(_mm512_testn_epi8_mask(bytes, bytes));
}

QNN_AVX512_INLINE int64_t qnn_zeros512_s32(const __m512i v[4])
{
    const __m512i narrow[2] = {_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3])};
    return qnn_zeros512_s16(narrow);
}

/* Orders for qnn_store512: of two vectors of 32 neighbours each, and of what packing four of 16 neighbours gives. */
QNN_AVX512_INLINE __m512i qnn_order_of_two(void)
{
    return _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
}

QNN_AVX512_INLINE __m512i qnn_order_of_four(void)
{
    return _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

/* qnn_store512 from lanes of int32, 16 neighbours each. */
QNN_AVX512_INLINE void qnn_store512_s32(const __m512i y[4], const __m512i far[4], const qnn_limits512 *k,
                                        qnn_counts512 *c, void *out)
{
    const __m512i narrow[2] = {_mm512_packs_epi32(y[0], y[1]), _mm512_packs_epi32(y[2], y[3])};
    const __m512i narrow_far[2] = {_mm512_packs_epi32(far[0], far[1]), _mm512_packs_epi32(far[2], far[3])};
    qnn_store512(narrow, narrow_far, qnn_order_of_four(), k, c, out);
}

/* What a kernel does with 64 numbers of 4 bytes, its own things in `state`. */
typedef void qnn_step512(const void *x, const uint16_t *noise, void *state, void *out);

/* Steps over n numbers of 4 bytes, `index` the first one's in the whole tensor; noise is made only if `stochastic`. A
   last part that fills no step is padded with zeros. The step is a constant at every call, so it is inlined. */
QNN_AVX512_INLINE void qnn_steps512(const void *x, int64_t index, int64_t n, const int stochastic, const qnn_target *t,
                                    qnn_step512 *step, void *state, int8_t *out)
{
    const char *from = x;
    uint16_t scratch[QNN_CHUNK512];
    const uint16_t *noise = scratch;
    qnn_philox_common common = {.made = 0};
    const int64_t chunk = qnn_chunk512(t);
    for (int64_t at = 0, m; at < n; at += m) {
        int64_t i = 0;
        m = n - at < chunk ? n - at : chunk;
        if (stochastic)
            noise = qnn_more_noise_at(t, &common, index + at, m, scratch);
        for (; i + QNN_STEP512 <= m; i += QNN_STEP512) {
            qnn_fetch_ahead512(from + 4 * (at + i), 4);
            qnn_fetch_target512(out + at + i);
            step(from + 4 * (at + i), noise + i, state, out + at + i);
        }
        if (i < m) {
            int32_t last[QNN_STEP512] = {0};
            uint16_t words[QNN_STEP512] = {0};
            int8_t results[QNN_STEP512];
            memcpy(last, from + 4 * (at + i), (size_t)(m - i) * 4);
            if (stochastic)
                memcpy(words, noise + i, (size_t)(m - i) * sizeof *words);
            step(last, words, state, results);
            memcpy(out + at + i, results, (size_t)(m - i));
        }
    }
}

/* Adds the counts of `results` values, padding included. */
QNN_AVX512_INLINE void qnn_flush512(const qnn_counts512 *c, int64_t results, qnn_counts *counts)
{
    counts->nonzero += results - c->zero;
    counts->overflow += c->overflow;
    counts->overflow_double += c->overflow_double;
    counts->saturated += c->clipped;
}

/* Noise words times 2^(shift - 16), of 16 lanes of int32 (shift <= 16). */
QNN_AVX512_INLINE __m512i qnn_noise512_s32(const uint16_t *words, __m512i shift)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)words));
    return _mm512_srlv_epi32(wide, shift);
}

#endif
#endif
