/* Whole tensors to n bits: accumulators of any width, the scale layer, sums of tensors with different exponents. */
#include "qnn_blocks.h"

typedef struct {
    const void *x;
    int bytes;
    const int32_t *gamma; /* scale only */
    const int64_t *bias, *small_bias; /* small_bias: added with the product (scale only) */
    int64_t cols;
    const qnn_term *terms; /* add only */
    int term_count, wide;
    const qnn_target *target;
    int avx2, avx512;
    int in_lanes; /* of int16: qnn_scale_avx512.c */
    const qnn_ahead *ahead;
    char *out;
    qnn_block_fn *block; /* what makes results that something follows: a ReLU, or the gradient of one */
    int rectify;
    const void *y; /* that one's result, or null */
    int y_bytes;
} job;

_Static_assert((int)QNN_PART <= (int)QNN_MOST_PERIOD512, "a part must fit the noise of the quick way");

/* Requantises the part of the tensor that starts at flat position `at`: whole rows or a piece of one (see
   qnn_next_part). */
static void emit(const job *j, const void *acc, int wide, int64_t at, int64_t m, qnn_tally *tally)
{
    void *out = j->out + at * qnn_target_bytes(j->target);
    const int64_t *bias = j->bias ? j->bias + at % j->cols : 0;
    int64_t cols = !bias || m % j->cols ? m : j->cols, rows = m / cols;
    if (!bias)
        rows = m, cols = 1;
    if (wide)
        (j->avx2 ? qnn_requantize_rows_s64_avx2 : qnn_requantize_rows_s64)(acc, bias, at, rows, cols, j->target, out,
                                                                           &tally->counts);
    else
        (j->avx512 ? qnn_requantize_rows_s32_avx512
         : j->avx2 ? qnn_requantize_rows_s32_avx2
                   : qnn_requantize_rows_s32)(acc, bias, at, rows, cols, j->target, out, &tally->counts);
}

/* What follows the block, while it lies in the caches; it has been counted as it was. */
static void followed_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    const int bytes = qnn_target_bytes(j->target), most = bytes == 1 ? INT8_MAX : INT16_MAX;
    const int64_t from = begin * j->cols, to = end * j->cols;
    j->block(j, begin, end, tally);
    if (j->rectify)
        qnn_clip_part(j->out, bytes, from, to, 0, most, j->avx2, j->out);
    if (j->y)
        qnn_relu_grad_part(j->out, bytes, j->y, j->y_bytes, from, to, j->avx2, j->out);
}

static void widen(const void *x, int bytes, int64_t n, int32_t *out)
{
    if (bytes == 1)
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const int8_t *)x)[i];
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const int16_t *)x)[i];
}

static void requantize_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int32_t wider[QNN_PART];
    for (int64_t at = begin * j->cols, m; at < end * j->cols; at += m) {
        const void *acc = (const char *)j->x + at * j->bytes;
        m = j->bias || j->bytes <= 2 ? qnn_next_part(at, end * j->cols, j->cols) : (end - begin) * j->cols;
        if (j->bytes <= 2) {
            widen(acc, j->bytes, m, wider);
            acc = wider;
        }
        emit(j, acc, j->bytes == 8, at, m, tally);
    }
}

void qnn_requantize_tensor(const void *acc, int acc_bytes, const int64_t *bias, int64_t rows, int64_t cols,
                           const qnn_target *t, qnn_how how, void *out, qnn_counts *counts)
{
    job j = {.x = acc, .bytes = acc_bytes, .bias = bias, .cols = bias ? cols : 1, .target = t, .avx2 = how.avx2,
             .avx512 = how.avx512, .out = out};
    int64_t items = bias ? rows : rows * cols;
    qnn_tally total = qnn_run_blocks(items, qnn_row_grain(j.cols), how, requantize_block, &j);
    qnn_counts_add(counts, &total.counts);
}

/* out[i] = x[i] * factor[i] + addend[i]; products are at most 2^30, addends below it. */
QNN_BODY void multiply_body(const void *x, int bytes, const int32_t *factor, const int32_t *addend, int64_t n,
                            int32_t *out)
{
    if (bytes == 1)
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const int8_t *)x)[i] * factor[i] + addend[i];
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const int16_t *)x)[i] * factor[i] + addend[i];
}
QNN_TWICE(multiply, (const void *x, int bytes, const int32_t *factor, const int32_t *addend, int64_t n, int32_t *out),
          (x, bytes, factor, addend, n, out))

/* Whether a bias can be added in int32. */
static int is_small(const int64_t *bias, int64_t cols)
{
    for (int64_t i = 0; i < cols; i++)
        if (bias[i] <= -(1 << 30) || bias[i] >= 1 << 30)
            return 0;
    return 1;
}

/* The largest |x * gamma + bias| that there can be with x of int8 and a bias of which is_small holds. */
static int64_t largest_sum(const int32_t *gamma, const int64_t *bias, int64_t cols)
{
    int64_t most = 0;
    for (int64_t i = 0; i < cols; i++) {
        int64_t size = 128 * (gamma[i] < 0 ? -(int64_t)gamma[i] : gamma[i]);
        if (bias)
            size += bias[i] < 0 ? -bias[i] : bias[i];
        most = size > most ? size : most;
    }
    return most;
}

/* The channels' factors and small biases (or zeros) of m elements from flat position `at` on: whole rows, or a part of
   one. */
#define REPEAT(name, type)                                                         \
    static void name(const job *j, int64_t at, int64_t m, type *gamma, type *bias) \
    {                                                                              \
        const int64_t column = at % j->cols, n = j->cols < m ? j->cols : m;        \
        for (int64_t i = 0; i < n; i++) {                                          \
            gamma[i] = (type)j->gamma[column + i];                                 \
            bias[i] = j->small_bias ? (type)j->small_bias[column + i] : 0;         \
        }                                                                          \
        qnn_repeat(gamma, sizeof *gamma, n, m);                                    \
        qnn_repeat(bias, sizeof *bias, n, m);                                      \
    }

REPEAT(repeat_s32, int32_t)
REPEAT(repeat_s16, int16_t)

static void scale_block_in_lanes(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int16_t gamma[QNN_PART], bias[QNN_PART];
    for (int64_t at = begin * j->cols, m; at < end * j->cols; at += m) {
        const int64_t period = qnn_next_part(at, end * j->cols, j->cols);
        m = qnn_run_of_pattern(at, end * j->cols, j->cols, period);
        repeat_s16(j, at, period, gamma, bias);
        qnn_scale_steps_avx512((const int8_t *)j->x + at, gamma, bias, period, at, m, j->target, j->ahead,
                               (int8_t *)j->out + at, &tally->counts);
    }
}

static void scale_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int32_t product[QNN_PART], gamma[QNN_PART], bias[QNN_PART];
    for (int64_t at = begin * j->cols, m; at < end * j->cols; at += m) {
        m = qnn_next_part(at, end * j->cols, j->cols);
        /* Parts of whole rows all begin at channel 0, so the first one's factors serve all. */
        if (at == begin * j->cols || j->cols > QNN_PART)
            repeat_s32(j, at, m, gamma, bias);
        (j->avx2 ? multiply_avx2 : multiply_c)((const char *)j->x + at * j->bytes, j->bytes, gamma, bias, m,
                                                 product);
        emit(j, product, 0, at, m, tally);
    }
}

void qnn_scale_tensor(const void *x, int x_bytes, const int32_t *gamma, const int64_t *bias, int64_t rows, int64_t cols,
                      const qnn_target *t, int rectify, qnn_how how, void *out, qnn_counts *counts)
{
    job j = {.x = x,
             .bytes = x_bytes,
             .gamma = gamma,
             .bias = bias,
             .cols = cols,
             .target = t,
             .avx2 = how.avx2,
             .avx512 = how.avx512,
             .ahead = how.ahead,
             .rectify = rectify,
             .out = out};
    if (rows < 1 || cols < 1)
        return;
    if (bias && is_small(bias, cols)) {
        j.small_bias = bias;
        j.bias = 0;
    }
    j.in_lanes = j.avx512 && x_bytes == 1 && !j.bias && qnn_fits_lanes512(t, largest_sum(gamma, bias, cols));
    j.block = j.in_lanes ? scale_block_in_lanes : scale_block;
    qnn_tally total = qnn_run_blocks(rows, qnn_row_grain(cols), how, rectify ? followed_block : j.block, &j);
    qnn_counts_add(counts, &total.counts);
}

/* sum (+)= x * 2^shift; the caller's bound keeps all sums within the type. */
#define ADD_TERM(name, sum_type)                                                                        \
    QNN_BODY void name##_body(const void *x, int bytes, int shift, int first, int64_t n, sum_type *sum) \
    {                                                                                                   \
        const sum_type factor = (sum_type)((sum_type)1 << shift);                                       \
        if (first)                                                                                      \
            memset(sum, 0, (size_t)n * sizeof *sum);                                                    \
        if (bytes == 1)                                                                                 \
            for (int64_t i = 0; i < n; i++)                                                             \
                sum[i] += ((const int8_t *)x)[i] * factor;                                              \
        else                                                                                            \
            for (int64_t i = 0; i < n; i++)                                                             \
                sum[i] += ((const int16_t *)x)[i] * factor;                                             \
    }                                                                                                   \
    QNN_TWICE(name, (const void *x, int bytes, int shift, int first, int64_t n, sum_type *sum),         \
              (x, bytes, shift, first, n, sum))

ADD_TERM(add_s32, int32_t)
ADD_TERM(add_s64, int64_t)

/* The sum of two terms of int8, as in a residual block: one pass instead of two. */
QNN_BODY void add_two_body(const int8_t *x, int shift_x, const int8_t *y, int shift_y, int64_t n, int32_t *sum)
{
    const int32_t factor_x = (int32_t)1 << shift_x, factor_y = (int32_t)1 << shift_y;
    for (int64_t i = 0; i < n; i++)
        sum[i] = x[i] * factor_x + y[i] * factor_y;
}
QNN_TWICE(add_two, (const int8_t *x, int shift_x, const int8_t *y, int shift_y, int64_t n, int32_t *sum),
          (x, shift_x, y, shift_y, n, sum))

static int is_two_of_bytes(const job *j)
{
    return j->term_count == 2 && !j->wide && j->terms[0].bytes == 1 && j->terms[1].bytes == 1;
}

static void add_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int32_t narrow[QNN_PART];
    int64_t wide[QNN_PART];
    if (j->in_lanes) {
        const int8_t *x = (const int8_t *)j->terms[0].data + begin, *y = (const int8_t *)j->terms[1].data + begin;
        qnn_add_steps_avx512(x, j->terms[0].shift, y, j->terms[1].shift, begin, end - begin, j->target,
                             (int8_t *)j->out + begin, &tally->counts);
        return;
    }
    for (int64_t at = begin, m; at < end; at += m) {
        m = end - at < QNN_PART ? end - at : QNN_PART;
        if (is_two_of_bytes(j)) {
            const int8_t *x = (const int8_t *)j->terms[0].data + at, *y = (const int8_t *)j->terms[1].data + at;
            (j->avx2 ? add_two_avx2 : add_two_c)(x, j->terms[0].shift, y, j->terms[1].shift, m, narrow);
            emit(j, narrow, 0, at, m, tally);
            continue;
        }
        for (int i = 0; i < j->term_count; i++) {
            const qnn_term *term = j->terms + i;
            const void *x = (const char *)term->data + at * term->bytes;
            if (j->wide)
                (j->avx2 ? add_s64_avx2 : add_s64_c)(x, term->bytes, term->shift, i == 0, m, wide);
            else
                (j->avx2 ? add_s32_avx2 : add_s32_c)(x, term->bytes, term->shift, i == 0, m, narrow);
        }
        emit(j, j->wide ? (const void *)wide : (const void *)narrow, j->wide, at, m, tally);
    }
}

void qnn_add_tensors(const qnn_term *terms, int count, int wide, int64_t n, const qnn_target *t, int rectify,
                     const void *y, int y_bytes, qnn_how how, void *out, qnn_counts *counts)
{
    job j = {.cols = 1, .terms = terms, .term_count = count, .wide = wide, .target = t, .avx2 = how.avx2,
             .avx512 = how.avx512, .out = out, .rectify = rectify, .y = y, .y_bytes = y_bytes};
    j.in_lanes = j.avx512 && is_two_of_bytes(&j) &&
                 qnn_fits_lanes512(t, 128 * (((int64_t)1 << terms[0].shift) + ((int64_t)1 << terms[1].shift)));
    j.block = add_block;
    qnn_tally total = qnn_run_blocks(n, QNN_GRAIN, how, rectify || y ? followed_block : j.block, &j);
    qnn_counts_add(counts, &total.counts);
}
