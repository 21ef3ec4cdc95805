/* The shortcut of CIFAR's residual nets (clause LAY-10): every stride-th pixel, more channels of zeros; and back. */
#include "qnn_blocks.h"

typedef struct {
    const char *from;
    char *to;
    int64_t h, w, oh, ow, stride, pixel, out_pixel; /* sizes of pixels in bytes: of the input, of the output */
} job;

enum { UNIT = 16 };

/* Mostly a few units, for which a call would take longer than the copy. */
static void copy(char *to, const char *from, int64_t n)
{
    int64_t i = 0;
    for (; i + UNIT <= n; i += UNIT)
        memcpy(to + i, from + i, UNIT);
    if (i < n)
        memcpy(to + i, from + i, (size_t)(n - i));
}

static void clear(char *to, int64_t n)
{
    static const char zeros[UNIT] = {0};
    int64_t i = 0;
    for (; i + UNIT <= n; i += UNIT)
        memcpy(to + i, zeros, UNIT);
    if (i < n)
        memset(to + i, 0, (size_t)(n - i));
}

/* Rows begin .. end-1 of the output of all images. */
static void pick_rows(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    for (int64_t row = begin; row < end; row++) {
        const char *from = j->from + (row / j->oh * j->h + row % j->oh * j->stride) * j->w * j->pixel;
        char *to = j->to + row * j->ow * j->out_pixel;
        for (int64_t x = 0; x < j->ow; x++, from += j->stride * j->pixel, to += j->out_pixel) {
            copy(to, from, j->pixel);
            clear(to + j->pixel, j->out_pixel - j->pixel);
        }
    }
}

/* Rows begin .. end-1 of the input's gradient. */
static void put_rows(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    for (int64_t row = begin; row < end; row++) {
        const int64_t y = row % j->h;
        const char *from = j->from + (row / j->h * j->oh + y / j->stride) * j->ow * j->out_pixel;
        char *to = j->to + row * j->w * j->pixel;
        if (y % j->stride) {
            clear(to, j->w * j->pixel);
            continue;
        }
        for (int64_t x = 0, gap; x < j->w; x += gap, to += gap * j->pixel, from += j->out_pixel) {
            gap = j->w - x < j->stride ? j->w - x : j->stride;
            copy(to, from, j->pixel);
            clear(to + j->pixel, (gap - 1) * j->pixel);
        }
    }
}

void qnn_subsample(const qnn_pixels *p, const void *x, qnn_how how, void *y)
{
    job j = {x, y, p->h, p->w, p->oh, p->ow, p->stride, p->pixel, p->out_pixel};
    qnn_run_blocks(p->images * p->oh, qnn_row_grain(p->ow * p->out_pixel), how, pick_rows, &j);
}

void qnn_subsample_grad(const qnn_pixels *p, const void *g, qnn_how how, void *dx)
{
    job j = {g, dx, p->h, p->w, p->oh, p->ow, p->stride, p->pixel, p->out_pixel};
    qnn_run_blocks(p->images * p->h, qnn_row_grain(p->w * p->pixel), how, put_rows, &j);
}
