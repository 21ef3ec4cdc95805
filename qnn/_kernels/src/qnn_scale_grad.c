/* The scale layer's way back, in one pass over memory: a block of rows is masked, summed and scaled while it lies in the
 * caches. Every step is the whole tensor's own, called for a block, so there are no bits here. */
#include <stdlib.h>

#include "qnn_blocks.h"

enum { BLOCK = 2 * QNN_GRAIN /* elements: enough that what a call costs does not show */ };

typedef struct {
    const void *g, *y, *x, *z;
    int g_bytes, y_bytes, x_bytes, z_bytes;
    const int32_t *gamma;
    int64_t cols;
    const qnn_target *target;
    qnn_how how;
    char *out;
    int64_t *totals; /* per worker: two sums and two dots */
    int64_t stride;
} job;

/* The target of the elements from `at` on, as a tensor of their own. */
static qnn_target part_of(const qnn_target *whole, int64_t at)
{
    qnn_target t = *whole;
    t.start += (uint64_t)at;
    if (t.noise_kind == QNN_NOISE_ARRAY)
        t.noise_array += at;
    return t;
}

/* The block after the one at `at`, where its arrays are of bytes: fetched while this one is scaled, which keeps the
   processor busy but not the memory. */
static qnn_ahead next_block(const job *j, int64_t at)
{
    const struct {
        const void *data;
        int bytes;
    } arrays[] = {{j->g, j->g_bytes}, {j->y, j->y_bytes}, {j->x, j->x_bytes}, {j->z, j->z_bytes}};
    qnn_ahead ahead = {{0}, 0, j->out + at};
    for (int i = 0; i < 4; i++)
        if (arrays[i].data && arrays[i].bytes == 1)
            ahead.read[ahead.count++] = (const char *)arrays[i].data + at;
    return ahead;
}

static const void *moved(const void *from, int64_t elements, int bytes) { return (const char *)from + elements * bytes; }

/* Adds a block's sums to totals[0 .. cols-1] and its dots to the next cols; returns 1 when there was no memory. */
static int add_sums(const job *j, const void *a, int a_bytes, const void *b, int b_bytes, int64_t rows, int64_t *totals,
                    int64_t *scratch)
{
    if (qnn_channel_sums(a, a_bytes, b, b_bytes, rows, j->cols, j->how, scratch, scratch + j->cols))
        return 1;
    for (int64_t i = 0; i < 2 * j->cols; i++)
        totals[i] += scratch[i];
    return 0;
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *b = context;
    const job *j = b->context;
    const int64_t from = qnn_first_item(b, begin), rows = qnn_first_item(b, end) - from, at = from * j->cols;
    int64_t *totals = j->totals + worker * j->stride, *scratch = totals + 4 * j->cols;
    qnn_tally *tally = b->tallies + worker;
    const qnn_target t = part_of(j->target, at);
    const void *g = moved(j->g, at, j->g_bytes);
    char *out = j->out + at * qnn_target_bytes(j->target);
    if (j->y) { /* of g's type, so the masked block can wait where its result will be */
        qnn_relu_grad_tensor(g, j->g_bytes, moved(j->y, at, j->y_bytes), j->y_bytes, rows * j->cols, j->how, out);
        g = out;
    }
    tally->bad += add_sums(j, g, j->g_bytes, moved(j->x, at, j->x_bytes), j->x_bytes, rows, totals, scratch);
    const qnn_ahead ahead = next_block(j, at + rows * j->cols);
    qnn_how how = j->how;
    how.ahead = &ahead;
    qnn_scale_tensor(g, j->g_bytes, j->gamma, 0, rows, j->cols, &t, 0, how, out, &tally->counts);
    if (j->z)
        tally->bad += add_sums(j, out, qnn_target_bytes(&t), moved(j->z, at, j->z_bytes), j->z_bytes, rows,
                               totals + 2 * j->cols, scratch);
}

int qnn_scale_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, const void *x, int x_bytes,
                          const void *z, int z_bytes, const int32_t *gamma, int64_t rows, int64_t cols,
                          const qnn_target *t, qnn_how how, void *out, qnn_counts *counts, int64_t *sums)
{
    qnn_tally tallies[QNN_WORKERS];
    const int64_t grain = cols < BLOCK ? BLOCK / cols : 1, count = (rows + grain - 1) / grain;
    const int workers = qnn_workers(count, how.threads), threads = how.threads;
    int64_t bad = 0;
    how.threads = 1; /* within a block */
    job j = {.g = g, .y = y, .x = x, .z = z, .g_bytes = g_bytes, .y_bytes = y_bytes, .x_bytes = x_bytes,
             .z_bytes = z_bytes, .gamma = gamma, .cols = cols, .target = t, .how = how, .out = out,
             .stride = 6 * cols + 8};
    memset(sums, 0, 4 * (size_t)cols * sizeof *sums);
    memset(tallies, 0, sizeof tallies);
    j.totals = calloc((size_t)workers * (size_t)j.stride, sizeof *j.totals);
    if (!j.totals)
        return 1;
    qnn_blocks blocks = {0, &j, rows, grain, tallies};
    qnn_parallel(count, threads, do_block, &blocks);
    for (int w = 0; w < workers; w++) {
        qnn_counts_add(counts, &tallies[w].counts);
        bad += tallies[w].bad;
        for (int64_t i = 0; i < 4 * cols; i++)
            sums[i] += j.totals[w * j.stride + i];
    }
    free(j.totals);
    return bad != 0;
}
