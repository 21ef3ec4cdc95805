/* Requantising in plain C: every rounding rule, every shift, every accumulator, without an intermediate overflow. */
#include "qnn_epilogue.h"

#include "qnn_noise.h"
#include "qnn_round.h"

enum { CHUNK = 512 };

/* The hot case: divisor 1 and 1 <= s <= 62, no overflow in acc + bias. `rounding` is a constant at every call. */
static inline void requantize_fast(const int64_t *sum, const uint16_t *noise, int64_t n, const qnn_plan *p,
                                   int rounding, int64_t *rounded, qnn_counts *counts)
{
    int64_t high = p->high, half_high = p->high / 2, nonzero = 0, overflow = 0, overflow_double = 0, saturated = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = sum[i], whole = QNN_ASR(v, p->shift), size = whole ^ QNN_ASR(whole, 63);
        uint64_t rest = (uint64_t)v & p->mask;
        int64_t y = whole + qnn_round_up(whole, rest, 0, p->shift, rounding, noise ? noise[i] : 0u);
        nonzero += v != 0;
        overflow += size >= high;
        overflow_double += size >= half_high;
        int64_t clipped = y < -high ? -high : (y >= high ? high - 1 : y);
        saturated += clipped != y;
        rounded[i] = clipped;
    }
    counts->nonzero += nonzero;
    counts->overflow += overflow;
    counts->overflow_double += overflow_double;
    counts->saturated += saturated;
}

/* Divisor 1 and s <= 0: exact, so no rule has anything to do. Beyond +-2^17 every format saturates, before and after. */
static void requantize_left(const int64_t *sum, int64_t n, const qnn_plan *p, int64_t *rounded, qnn_counts *counts)
{
    qnn_counts c = {0, 0, 0, 0}; /* of its own, so that it can stay in registers */
    const int64_t far = (int64_t)1 << 17, factor = (int64_t)1 << (p->shift < -17 ? 17 : -p->shift), high = p->high;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = sum[i] > far ? far : (sum[i] < -far ? -far : sum[i]), y = v * factor, size = y ^ QNN_ASR(y, 63);
        int64_t clipped = y < -high ? -high : (y >= high ? high - 1 : y);
        c.nonzero += v != 0;
        c.overflow += size >= high;
        c.overflow_double += size >= high / 2;
        c.saturated += clipped != y;
        rounded[i] = clipped;
    }
    qnn_counts_add(counts, &c);
}

#define CASE(rule)                                                \
    case rule:                                                    \
        requantize_fast(sum, noise, n, p, rule, rounded, counts); \
        break

static void requantize_by_rule(const int64_t *sum, const uint16_t *noise, int64_t n, const qnn_plan *p,
                               int64_t *rounded, qnn_counts *counts)
{
    switch (p->rounding) {
        CASE(QNN_NEAREST_EVEN);
        CASE(QNN_NEAREST_AWAY);
        CASE(QNN_NEAREST_UP);
        CASE(QNN_NEAREST_DOWN);
        CASE(QNN_NEAREST_TO_ZERO);
        CASE(QNN_FLOOR);
        CASE(QNN_CEIL);
        CASE(QNN_TRUNCATE);
        CASE(QNN_STOCHASTIC);
    }
}

static void store(const int64_t *rounded, int64_t at, int64_t n, const qnn_target *t, void *out)
{
    if (qnn_target_bytes(t) == 1)
        for (int64_t i = 0; i < n; i++)
            ((int8_t *)out)[at + i] = (int8_t)rounded[i];
    else
        for (int64_t i = 0; i < n; i++)
            ((int16_t *)out)[at + i] = (int16_t)rounded[i];
}

/* acc + bias of a chunk in int64 where no sum leaves int64 (returns 1); else acc alone (returns 0), and the slow route
   adds with care. */
static int add_bias(int64_t *acc, const int64_t *bias, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (bias[i] > 0 ? acc[i] > INT64_MAX - bias[i] : acc[i] < INT64_MIN - bias[i])
            return 0;
    for (int64_t i = 0; i < n; i++)
        acc[i] += bias[i];
    return 1;
}

/* One chunk of at most CHUNK accumulators, which are overwritten; bias is NULL or has n entries. */
static void requantize_chunk(int64_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_plan *p,
                             int64_t *rounded, qnn_counts *counts)
{
    uint16_t words[CHUNK];
    const uint16_t *noise = 0;
    if (p->rounding == QNN_STOCHASTIC) {
        qnn_noise_words(p->target, index, n, words);
        noise = words;
    }
    if (bias && add_bias(acc, bias, n))
        bias = 0;
    if (!bias && p->fast) {
        requantize_by_rule(acc, noise, n, p, rounded, counts);
        return;
    }
    if (!bias && p->divisor == 1 && p->shift <= 0) {
        requantize_left(acc, n, p, rounded, counts);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        rounded[i] = qnn_requantize_one(acc[i], bias ? bias[i] : 0, p, noise ? noise[i] : 0u, counts);
}

/* The biases of elements at .. at+n-1 of rows of `cols` elements. */
static void spread_bias(const int64_t *bias, int64_t cols, int64_t at, int64_t n, int64_t *out)
{
    int64_t column = at % cols;
    for (int64_t i = 0; i < n; i++) {
        out[i] = bias[column];
        column = column + 1 == cols ? 0 : column + 1;
    }
}

#define DEFINE_REQUANTIZE(suffix, type)                                                                                \
    void qnn_requantize_rows_##suffix(const type *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols, \
                                      const qnn_target *t, void *out, qnn_counts *counts)                              \
    {                                                                                                                  \
        int64_t sum[CHUNK], spread[CHUNK], rounded[CHUNK], n = rows * cols;                                            \
        qnn_plan plan = qnn_make_plan(t);                                                                              \
        for (int64_t at = 0; at < n; at += CHUNK) {                                                                    \
            int64_t m = n - at < CHUNK ? n - at : CHUNK;                                                               \
            for (int64_t i = 0; i < m; i++)                                                                            \
                sum[i] = acc[at + i];                                                                                  \
            if (bias)                                                                                                  \
                spread_bias(bias, cols, at, m, spread);                                                                \
            requantize_chunk(sum, bias ? spread : 0, index + at, m, &plan, rounded, counts);                           \
            store(rounded, at, m, t, out);                                                                             \
        }                                                                                                              \
    }                                                                                                                  \
    void qnn_requantize_##suffix(const type *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,  \
                                 void *out, qnn_counts *counts)                                                        \
    {                                                                                                                  \
        qnn_requantize_rows_##suffix(acc, bias, index, 1, n, t, out, counts);                                          \
    }

DEFINE_REQUANTIZE(s32, int32_t)
DEFINE_REQUANTIZE(s64, int64_t)
