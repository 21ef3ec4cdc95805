/* Pooling over NHWC integers: the maximum with its place, exact sums, and both gradients (clauses POOL-2 to POOL-5). */
#include "qnn_blocks.h"

typedef struct {
    qnn_pool p;
    const void *x;
    int bytes, avx2;
    int32_t *index;
    const int32_t *winner;
    void *y;
} job;

/* The places of a window along one axis that lie inside the input: first .. last-1. Place 0 is input `origin`. */
typedef struct {
    int64_t first, last, origin;
} span;

static inline span make_span(int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t size)
{
    span s;
    s.origin = out * stride - pad;
    s.first = s.origin < 0 ? -s.origin : 0;
    s.last = size - s.origin < kernel ? size - s.origin : kernel;
    return s;
}

enum { LANES = 64 }; /* channels that are compared together */

#define MAX_POOL_PIXEL(name, type)                                                                            \
    QNN_BODY void name##_body(const job *j, int64_t image, span ys, span xs, int64_t out)                     \
    {                                                                                                         \
        const qnn_pool *p = &j->p;                                                                            \
        for (int64_t c = 0; c < p->channels; c += LANES) {                                                    \
            int64_t n = p->channels - c < LANES ? p->channels - c : LANES;                                    \
            type best[LANES],                                                                                 \
                place[LANES]; /* the place as a number of the same width, so that one mask serves both */     \
            int first = 1;                                                                                    \
            for (int64_t ky = ys.first; ky < ys.last; ky++)                                                   \
                for (int64_t kx = xs.first; kx < xs.last; kx++) {                                             \
                    int64_t at = ((image * p->h + ys.origin + ky) * p->w + xs.origin + kx) * p->channels + c; \
                    const type *x = (const type *)j->x + at;                                                  \
                    type here = (type)(ky * p->kw + kx - 128);                                                \
                    for (int64_t i = 0; i < n; i++) {                                                         \
                        int wins = first || x[i] > best[i];                                                   \
                        best[i] = wins ? x[i] : best[i];                                                      \
                        place[i] = wins ? here : place[i];                                                    \
                    }                                                                                         \
                    first = 0;                                                                                \
                }                                                                                             \
            for (int64_t i = 0; i < n; i++) {                                                                 \
                ((type *)j->y)[out + c + i] = best[i];                                                        \
                j->index[out + c + i] = place[i] + 128;                                                       \
            }                                                                                                 \
        }                                                                                                     \
    }                                                                                                         \
    QNN_TWICE(name, (const job *j, int64_t image, span ys, span xs, int64_t out), (j, image, ys, xs, out))

MAX_POOL_PIXEL(max_s8, int8_t)
MAX_POOL_PIXEL(max_s16, int16_t)

/* y[c] (+)= x[c] over the places of one window. */
QNN_BODY void sum_pixel_body(const job *j, int64_t image, span ys, span xs, int64_t out)
{
    const qnn_pool *p = &j->p;
    int32_t *y = (int32_t *)j->y + out;
    memset(y, 0, (size_t)p->channels * sizeof *y);
    for (int64_t ky = ys.first; ky < ys.last; ky++)
        for (int64_t kx = xs.first; kx < xs.last; kx++) {
            int64_t at = ((image * p->h + ys.origin + ky) * p->w + xs.origin + kx) * p->channels;
            if (j->bytes == 1)
                for (int64_t c = 0; c < p->channels; c++)
                    y[c] += ((const int8_t *)j->x + at)[c];
            else
                for (int64_t c = 0; c < p->channels; c++)
                    y[c] += ((const int16_t *)j->x + at)[c];
        }
}
QNN_TWICE(sum_pixel, (const job *j, int64_t image, span ys, span xs, int64_t out), (j, image, ys, xs, out))

/* Adds one output's gradient to the inputs of its window: to all of them, or where `winner` names the place. A winner
   that names no place of the window (padding, or nonsense) is added nowhere. */
QNN_BODY void grad_pixel_body(const job *j, int64_t image, span ys, span xs, int64_t out)
{
    const qnn_pool *p = &j->p;
    for (int64_t ky = ys.first; ky < ys.last; ky++)
        for (int64_t kx = xs.first; kx < xs.last; kx++) {
            int64_t at = ((image * p->h + ys.origin + ky) * p->w + xs.origin + kx) * p->channels;
            int32_t *dx = (int32_t *)j->y + at, place = (int32_t)(ky * p->kw + kx);
            const int8_t *narrow = (const int8_t *)j->x + out;
            const int16_t *wide = (const int16_t *)j->x + out;
            const int32_t *winner = j->winner + out;
            if (j->winner && j->bytes == 1)
                for (int64_t c = 0; c < p->channels; c++)
                    dx[c] += narrow[c] & -(winner[c] == place); /* a mask: no branch, no conditional load */
            else if (j->winner)
                for (int64_t c = 0; c < p->channels; c++)
                    dx[c] += wide[c] & -(winner[c] == place);
            else if (j->bytes == 1)
                for (int64_t c = 0; c < p->channels; c++)
                    dx[c] += narrow[c];
            else
                for (int64_t c = 0; c < p->channels; c++)
                    dx[c] += wide[c];
        }
}
QNN_TWICE(grad_pixel, (const job *j, int64_t image, span ys, span xs, int64_t out), (j, image, ys, xs, out))

typedef void pixel_fn(const job *, int64_t, span, span, int64_t);

static void rows_of_outputs(const job *j, int64_t begin, int64_t end, pixel_fn *pixel)
{
    const qnn_pool *p = &j->p;
    for (int64_t row = begin; row < end; row++) {
        span ys = make_span(row % p->oh, p->kh, p->stride_y, p->pad_y, p->h);
        for (int64_t x = 0; x < p->ow; x++) {
            span xs = make_span(x, p->kw, p->stride_x, p->pad_x, p->w);
            pixel(j, row / p->oh, ys, xs, (row * p->ow + x) * p->channels);
        }
    }
}

/* Output columns begin .. end-1 of one row of outputs (rows run over all images). */
static void columns_of_row(const job *j, int64_t row, int64_t begin, int64_t end, pixel_fn *pixel)
{
    const qnn_pool *p = &j->p;
    span ys = make_span(row % p->oh, p->kh, p->stride_y, p->pad_y, p->h);
    for (int64_t x = begin; x < end; x++)
        pixel(j, row / p->oh, ys, make_span(x, p->kw, p->stride_x, p->pad_x, p->w), (row * p->ow + x) * p->channels);
}

/* Rows of int8 whose windows lie inside the input go the quick way as far as it leads. */
static void max_row_s8_avx2(const job *j, int64_t row)
{
    const qnn_pool *p = &j->p;
    span ys = make_span(row % p->oh, p->kh, p->stride_y, p->pad_y, p->h);
    int64_t first = (p->pad_x + p->stride_x - 1) / p->stride_x, last = 0, out = row * p->ow * p->channels;
    first = first < p->ow ? first : p->ow;
    columns_of_row(j, row, 0, first, max_s8_avx2);
    last = first;
    if (ys.first == 0 && ys.last == p->kh && p->kh * p->kw <= 255)
        last = qnn_max_pool_row_avx2(
            p, (const int8_t *)j->x + (row / p->oh * p->h + ys.origin) * p->w * p->channels, first,
            (int8_t *)j->y + out, j->index + out);
    columns_of_row(j, row, last, p->ow, max_s8_avx2);
}

static void max_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    if (j->bytes == 1 && j->avx2)
        for (int64_t row = begin; row < end; row++)
            max_row_s8_avx2(j, row);
    else if (j->bytes == 1)
        rows_of_outputs(j, begin, end, max_s8_c);
    else
        rows_of_outputs(j, begin, end, j->avx2 ? max_s16_avx2 : max_s16_c);
}

/* Sets the inputs of one window, which belong to no other. */
#define UNPOOL_PIXEL(name, type)                                                                              \
    QNN_BODY void name##_body(const job *j, int64_t image, span ys, span xs, int64_t out)                     \
    {                                                                                                         \
        const qnn_pool *p = &j->p;                                                                            \
        const type *g = (const type *)j->x + out;                                                             \
        const int32_t *winner = j->winner + out;                                                              \
        for (int64_t ky = ys.first; ky < ys.last; ky++)                                                       \
            for (int64_t kx = xs.first; kx < xs.last; kx++) {                                                 \
                int64_t at = ((image * p->h + ys.origin + ky) * p->w + xs.origin + kx) * p->channels;         \
                type *dx = (type *)j->y + at;                                                                 \
                int32_t place = (int32_t)(ky * p->kw + kx);                                                   \
                for (int64_t c = 0; c < p->channels; c++)                                                     \
                    dx[c] = (type)(g[c] & -(winner[c] == place));                                             \
            }                                                                                                 \
    }                                                                                                         \
    QNN_TWICE(name, (const job *j, int64_t image, span ys, span xs, int64_t out), (j, image, ys, xs, out))

UNPOOL_PIXEL(unpool_s8, int8_t)
UNPOOL_PIXEL(unpool_s16, int16_t)

static void unpool_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    const qnn_pool *p = &j->p;
    int64_t size = p->h * p->w * p->channels;
    int quick = j->avx2 && j->bytes == 1 && p->kh * p->kw <= 127 && p->stride_x == p->kw && p->pad_x == 0 &&
                p->pad_y == 0;
    pixel_fn *pixel = j->bytes == 1 ? (j->avx2 ? unpool_s8_avx2 : unpool_s8_c)
                                    : (j->avx2 ? unpool_s16_avx2 : unpool_s16_c);
    (void)tally;
    memset((char *)j->y + begin * size * j->bytes, 0, (size_t)((end - begin) * size * j->bytes));
    for (int64_t row = begin * p->oh; row < end * p->oh; row++) {
        int64_t out = row * p->ow * p->channels, done = 0;
        int64_t top = (row / p->oh * p->h + row % p->oh * p->stride_y) * p->w * p->channels;
        if (quick)
            done = qnn_max_unpool_row_avx2(p, (const int8_t *)j->x + out, j->winner + out, (int8_t *)j->y + top);
        columns_of_row(j, row, done, p->ow, pixel);
    }
}

static void sum_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    rows_of_outputs(j, begin, end, j->avx2 ? sum_pixel_avx2 : sum_pixel_c);
}

/* Windows overlap, so a gradient is shared out by whole images. */
static void grad_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int64_t size = j->p.h * j->p.w * j->p.channels;
    (void)tally;
    memset((int32_t *)j->y + begin * size, 0, (size_t)((end - begin) * size) * sizeof(int32_t));
    rows_of_outputs(j, begin * j->p.oh, end * j->p.oh, j->avx2 ? grad_pixel_avx2 : grad_pixel_c);
}

void qnn_max_pool(const qnn_pool *p, const void *x, int bytes, qnn_how how, void *y, int32_t *index)
{
    job j = {.p = *p, .x = x, .bytes = bytes, .avx2 = how.avx2, .index = index, .y = y};
    qnn_run_blocks(p->images * p->oh, qnn_row_grain(p->ow * p->channels), how, max_block, &j);
}

void qnn_sum_pool(const qnn_pool *p, const void *x, int bytes, qnn_how how, int32_t *y)
{
    job j = {.p = *p, .x = x, .bytes = bytes, .avx2 = how.avx2, .y = y};
    qnn_run_blocks(p->images * p->oh, qnn_row_grain(p->ow * p->channels), how, sum_block, &j);
}

void qnn_max_pool_grad(const qnn_pool *p, const void *g, int bytes, const int32_t *index, qnn_how how, int32_t *dx)
{
    job j = {.p = *p, .x = g, .bytes = bytes, .avx2 = how.avx2, .winner = index, .y = dx};
    qnn_run_blocks(p->images, qnn_row_grain(p->h * p->w * p->channels), how, grad_block, &j);
}

void qnn_max_unpool(const qnn_pool *p, const void *g, int bytes, const int32_t *index, qnn_how how, void *dx)
{
    job j = {.p = *p, .x = g, .bytes = bytes, .avx2 = how.avx2, .winner = index, .y = dx};
    qnn_run_blocks(p->images, qnn_row_grain(p->h * p->w * p->channels), how, unpool_block, &j);
}

void qnn_sum_pool_grad(const qnn_pool *p, const void *g, int bytes, qnn_how how, int32_t *dx)
{
    job j = {.p = *p, .x = g, .bytes = bytes, .avx2 = how.avx2, .y = dx};
    qnn_run_blocks(p->images, qnn_row_grain(p->h * p->w * p->channels), how, grad_block, &j);
}
