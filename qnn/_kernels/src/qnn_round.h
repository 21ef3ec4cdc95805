/* The rounding rules on (floor, remainder), and one accumulator's exact value as such a pair: clauses RND, REQ. */
#ifndef QNN_ROUND_H
#define QNN_ROUND_H

#include "qnn_epilogue.h"

/* A target made ready: the divisor's powers of two moved into the shift, limits and masks computed once per call. */
typedef struct {
    const qnn_target *target;
    int rounding;
    int shift;       /* s, after the divisor's factors of two were added */
    int fast;        /* divisor 1 and 1 <= s <= 62 */
    int64_t divisor; /* odd */
    int64_t high;    /* 2^(n-1): values from here on, and below -high, overflow */
    uint64_t mask;   /* 2^s - 1 when fast */
} qnn_plan;

static inline qnn_plan qnn_make_plan(const qnn_target *t)
{
    qnn_plan p;
    p.target = t;
    p.rounding = t->rounding;
    p.shift = t->exponent_shift;
    p.divisor = t->divisor;
    while (p.divisor > 1 && p.divisor % 2 == 0) {
        p.divisor /= 2;
        p.shift++;
    }
    p.high = (int64_t)1 << (t->bits - 1);
    p.fast = p.divisor == 1 && p.shift >= 1 && p.shift <= 62;
    p.mask = p.fast ? ((uint64_t)1 << p.shift) - 1 : 0;
    return p;
}

/* 1 if the value whole + (rest + tail) / 2^shift rounds up from `whole`, else 0. rest < 2^shift, 1 <= shift <= 63;
   sticky: a tail in (0, 1) is there; u: the noise word (STOCHASTIC only). Exact values (no rest or tail) never move. */
static inline int64_t qnn_round_up(int64_t whole, uint64_t rest, unsigned sticky, int shift, int rounding, uint32_t u)
{
    uint64_t half = (uint64_t)1 << (shift - 1);
    int above = rest > half || (rest == half && sticky), tie = rest == half && !sticky;
    switch (rounding) {
    case QNN_NEAREST_EVEN:
        return above || (tie && (whole & 1));
    case QNN_NEAREST_AWAY:
        return above || (tie && whole >= 0);
    case QNN_NEAREST_UP:
        return above || tie;
    case QNN_NEAREST_DOWN:
        return above;
    case QNN_NEAREST_TO_ZERO:
        return above || (tie && whole < 0);
    case QNN_CEIL:
        return rest != 0 || sticky;
    case QNN_TRUNCATE:
        return whole < 0 && (rest != 0 || sticky);
    case QNN_STOCHASTIC:
        return (int64_t)((rest + (shift <= 16 ? (uint64_t)u >> (16 - shift) : (uint64_t)u << (shift - 16))) >> shift);
    default: /* QNN_FLOOR */
        return 0;
    }
}

/* Beyond this size a value over 2^0 .. 2^16 saturates whatever follows, and doubling it twice still fits int64. */
#define QNN_FAR ((int64_t)1 << 40)

static inline int64_t qnn_clamp_far(int64_t v) { return v > QNN_FAR ? QNN_FAR : (v < -QNN_FAR ? -QNN_FAR : v); }

/* Rounds, clips and counts the value (v + tail) / 2^shift, 0 <= shift <= 63. */
static inline int64_t qnn_finish(int64_t v, unsigned sticky, int shift, const qnn_plan *p, uint32_t u,
                                 qnn_counts *counts)
{
    int64_t whole = QNN_ASR(v, shift), size = whole ^ QNN_ASR(whole, 63), y = whole;
    if (shift > 0)
        y += qnn_round_up(whole, (uint64_t)v & (((uint64_t)1 << shift) - 1), sticky, shift, p->rounding, u);
    counts->overflow += size >= p->high;
    counts->overflow_double += size >= p->high / 2;
    int64_t clipped = y < -p->high ? -p->high : (y >= p->high ? p->high - 1 : y);
    counts->saturated += clipped != y;
    return clipped;
}

/* v / (divisor * 2^shift) with an odd divisor > 1 as (*v + tail) / 2^(*shift): floor division, then as many further
   binary digits of the remainder as a rounding looks at (16, the width of a noise word). sticky in: a further half in
   *v; returns whether a tail is left. A quotient that is far beyond every limit is not followed further. */
static inline unsigned qnn_divide(int64_t *v, unsigned sticky, int *shift, int64_t divisor)
{
    int64_t quotient = *v / divisor, remainder = *v % divisor;
    if (remainder < 0) {
        remainder += divisor;
        quotient--;
    }
    uint64_t d = 2 * (uint64_t)divisor, r = 2 * (uint64_t)remainder + sticky;
    if (*shift < 16) {
        int digits = 16 - *shift;
        if (digits <= 16 && d < (uint64_t)1 << 47 && quotient <= QNN_FAR && quotient >= -QNN_FAR) {
            quotient = quotient * ((int64_t)1 << digits) + (int64_t)((r << digits) / d);
            r = (r << digits) % d;
            digits = 0;
        }
        for (; digits > 0 && (quotient != 0 || r != 0) && quotient <= QNN_FAR && quotient >= -QNN_FAR; digits--) {
            unsigned carry = r >= d - r;
            r = carry ? r - (d - r) : 2 * r;
            quotient = quotient * 2 + carry;
        }
        *shift = 16;
    }
    *v = quotient;
    return r != 0;
}

/* The definition for one accumulator: (acc + bias) / (divisor * 2^s), any s, any int64 acc and bias. */
static inline int64_t qnn_requantize_one(int64_t acc, int64_t bias, const qnn_plan *p, uint32_t u, qnn_counts *counts)
{
    int shift = p->shift;
    unsigned sticky = 0;
    int64_t v;
    if (bias > 0 ? acc > INT64_MAX - bias : acc < INT64_MIN - bias) {
        /* The sum needs 65 bits: keep its upper 64 and the lowest one as a tail. Both signs are equal here. */
        v = QNN_ASR(acc, 1) + QNN_ASR(bias, 1) + (acc & bias & 1);
        sticky = (unsigned)((acc ^ bias) & 1);
        shift--;
    } else
        v = acc + bias;
    counts->nonzero += v != 0 || sticky;
    if (v == 0 && !sticky)
        return 0;
    if (p->divisor != 1)
        sticky = qnn_divide(&v, sticky, &shift, p->divisor);
    if (shift <= 0) {
        v = qnn_clamp_far(v) * ((int64_t)1 << (shift < -20 ? 20 : -shift));
        shift = 0;
    } else if (shift > 63) {
        int more = shift - 63;
        uint64_t lost = more > 63 ? (uint64_t)v : (uint64_t)v & (((uint64_t)1 << more) - 1);
        sticky |= lost != 0;
        v = QNN_ASR(v, more > 63 ? 63 : more);
        shift = 63;
    }
    return qnn_finish(v, sticky, shift, p, u, counts);
}

#endif
