/* Batch norm's two elementwise steps: integers in, float32 operations in the stated order, n bits out (clauses BN-5,
   BN-7). */
#include <float.h>
#include <math.h>

#include "qnn_blocks.h"

/* Every float32 operation rounds to float32: a machine that keeps more (x87) cannot give the bits, so it gets no
   kernel. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "qnn needs float32 arithmetic without excess precision"
#endif
#if defined(__FAST_MATH__)
#error "qnn cannot be built with fast-math"
#endif

typedef struct {
    const void *g, *x;
    int g_bytes, x_bytes;
    const float *a, *b, *c; /* normalize: mean and k in a and b */
    int64_t cols;
    const qnn_target *target;
    int avx2;
    int quick;    /* qnn_normalize_avx2.c does it */
    int quick512; /* or qnn_normalize_avx512.c */
    char *out;
} job;

_Static_assert((int)QNN_PART <= (int)QNN_NORMALIZE_MOST && (int)QNN_PART <= (int)QNN_MOST_PERIOD512,
               "a part must fit the noise of the quick ways");

QNN_BODY void to_float_body(const void *x, int bytes, int64_t n, float *out)
{
    if (bytes == 1)
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)((const int8_t *)x)[i];
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)((const int16_t *)x)[i];
}
QNN_TWICE(to_float, (const void *x, int bytes, int64_t n, float *out), (x, bytes, n, out))

/* The channels' factors repeated over n elements from flat position `at` on: whole rows, or a part of one. */
static void repeat(const float *factor, int64_t cols, int64_t at, int64_t n, float *out)
{
    memcpy(out, factor + at % cols, (size_t)(cols < n ? cols : n) * sizeof *out);
    qnn_repeat(out, sizeof *out, cols, n);
}

QNN_BODY void normalize_body(const float *mean, const float *k, int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        float centred = x[i] - mean[i];
        x[i] = centred * k[i];
    }
}
QNN_TWICE(normalize, (const float *mean, const float *k, int64_t n, float *x), (mean, k, n, x))

QNN_BODY void normalize_grad_body(const float *a, const float *b, const float *c, const float *x, int64_t n, float *g)
{
    for (int64_t i = 0; i < n; i++) {
        float first = a[i] * g[i], second = b[i] * x[i];
        float sum = first + second;
        g[i] = sum + c[i];
    }
}
QNN_TWICE(normalize_grad, (const float *a, const float *b, const float *c, const float *x, int64_t n, float *g),
          (a, b, c, x, n, g))

/* Whether no int8 can lead to an infinity or a NaN: bounds with room for the roundings on the way. */
static int is_finite(const job *j)
{
    for (int64_t i = 0; i < j->cols; i++) {
        double a = fabs((double)j->a[i]), b = fabs((double)j->b[i]);
        double bound = j->g ? 128 * a + 128 * b + fabs((double)j->c[i]) : (128 + a) * b;
        if (!(a < FLT_MAX / 2 && bound < FLT_MAX / 2)) /* not so of a NaN either */
            return 0;
    }
    return 1;
}

static void quantize_part(const job *j, const float *y, int64_t at, int64_t m, qnn_tally *tally)
{
    tally->bad += (j->avx2 ? qnn_quantize_chunk_avx2 : qnn_quantize_chunk)(
        y, at, m, j->target, j->out + at * qnn_target_bytes(j->target), &tally->counts);
}

/* Factors repeated for parts that begin at the same column are made once: parts hold whole rows if these are short. */
static int is_new_pattern(const job *j, int64_t at, int64_t begin, int64_t m, int64_t filled)
{
    return at == begin || j->cols > QNN_PART || m > filled;
}

static void normalize_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    float y[QNN_PART], mean[QNN_PART], k[QNN_PART];
    int64_t first = begin * j->cols, filled = 0;
    for (int64_t at = first, m; at < end * j->cols; at += m) {
        m = qnn_next_part(at, end * j->cols, j->cols);
        if (is_new_pattern(j, at, first, m, filled)) {
            repeat(j->a, j->cols, at, m, mean);
            repeat(j->b, j->cols, at, m, k);
            filled = m;
        }
        if (j->quick512) {
            const qnn_factors factors = {mean, k, 0, m};
            m = qnn_run_of_pattern(at, end * j->cols, j->cols, m);
            qnn_normalize_steps_avx512(0, (const int8_t *)j->x + at, &factors, at, m, j->target, (int8_t *)j->out + at,
                                       &tally->counts);
            continue;
        }
        if (j->quick) {
            tally->bad += qnn_normalize_part_avx2(0, (const int8_t *)j->x + at, mean, k, 0, at, m, j->target,
                                                  (int8_t *)j->out + at, &tally->counts);
            continue;
        }
        (j->avx2 ? to_float_avx2 : to_float_c)((const char *)j->x + at * j->x_bytes, j->x_bytes, m, y);
        (j->avx2 ? normalize_avx2 : normalize_c)(mean, k, m, y);
        quantize_part(j, y, at, m, tally);
    }
}

static void normalize_grad_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    float y[QNN_PART], x[QNN_PART], a[QNN_PART], b[QNN_PART], c[QNN_PART];
    int64_t first = begin * j->cols, filled = 0;
    for (int64_t at = first, m; at < end * j->cols; at += m) {
        m = qnn_next_part(at, end * j->cols, j->cols);
        if (is_new_pattern(j, at, first, m, filled)) {
            repeat(j->a, j->cols, at, m, a);
            repeat(j->b, j->cols, at, m, b);
            repeat(j->c, j->cols, at, m, c);
            filled = m;
        }
        if (j->quick512) {
            const qnn_factors factors = {a, b, c, m};
            m = qnn_run_of_pattern(at, end * j->cols, j->cols, m);
            qnn_normalize_steps_avx512((const int8_t *)j->g + at, (const int8_t *)j->x + at, &factors, at, m, j->target,
                                       (int8_t *)j->out + at, &tally->counts);
            continue;
        }
        if (j->quick) {
            tally->bad += qnn_normalize_part_avx2((const int8_t *)j->g + at, (const int8_t *)j->x + at, a, b, c, at, m,
                                                  j->target, (int8_t *)j->out + at, &tally->counts);
            continue;
        }
        (j->avx2 ? to_float_avx2 : to_float_c)((const char *)j->g + at * j->g_bytes, j->g_bytes, m, y);
        (j->avx2 ? to_float_avx2 : to_float_c)((const char *)j->x + at * j->x_bytes, j->x_bytes, m, x);
        (j->avx2 ? normalize_grad_avx2 : normalize_grad_c)(a, b, c, x, m, y);
        quantize_part(j, y, at, m, tally);
    }
}

int64_t qnn_normalize_tensor(const void *x, int x_bytes, const float *mean, const float *k, int64_t rows, int64_t cols,
                             const qnn_target *t, qnn_how how, void *out, qnn_counts *counts)
{
    job j = {.x = x, .x_bytes = x_bytes, .a = mean, .b = k, .cols = cols, .target = t, .avx2 = how.avx2, .out = out};
    j.quick = j.avx2 && x_bytes == 1 && qnn_normalize_has_avx2(t);
    if (rows < 1 || cols < 1)
        return 0;
    j.quick512 = how.avx512 && x_bytes == 1 && qnn_normalize_has_avx512(t) && is_finite(&j);
    qnn_tally total = qnn_run_blocks(rows, qnn_row_grain(cols), how, normalize_block, &j);
    qnn_counts_add(counts, &total.counts);
    return total.bad;
}

int64_t qnn_normalize_grad_tensor(const void *g, int g_bytes, const void *x, int x_bytes, const float *a,
                                  const float *b, const float *c, int64_t rows, int64_t cols, const qnn_target *t,
                                  qnn_how how, void *out, qnn_counts *counts)
{
    job j = {.g = g,
             .g_bytes = g_bytes,
             .x = x,
             .x_bytes = x_bytes,
             .a = a,
             .b = b,
             .c = c,
             .cols = cols,
             .target = t,
             .avx2 = how.avx2,
             .out = out};
    j.quick = j.avx2 && x_bytes == 1 && g_bytes == 1 && qnn_normalize_has_avx2(t);
    if (rows < 1 || cols < 1)
        return 0;
    j.quick512 = how.avx512 && x_bytes == 1 && g_bytes == 1 && qnn_normalize_has_avx512(t) && is_finite(&j);
    qnn_tally total = qnn_run_blocks(rows, qnn_row_grain(cols), how, normalize_grad_block, &j);
    qnn_counts_add(counts, &total.counts);
    return total.bad;
}
