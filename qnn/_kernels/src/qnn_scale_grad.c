/* The scale layer's way back, in one pass over memory: a block of rows is masked, summed and scaled while it lies in the
 * caches. Every step is the whole tensor's own, called for a block, so there are no bits here. */
#include <stdlib.h>

#include "qnn_blocks.h"

typedef struct {
    const void *g, *y, *x, *z;
    int g_bytes, y_bytes, x_bytes, z_bytes;
    const int32_t *gamma;
    int64_t cols;
    const qnn_target *target;
    qnn_how how;
    char *out;
    int64_t *totals; /* per worker: sums and dots, twice */
    int64_t stride;
} job;

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

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *b = context;
    const job *j = b->context;
    const int64_t from = qnn_first_item(b, begin), rows = qnn_first_item(b, end) - from, at = from * j->cols;
    int64_t *totals = j->totals + worker * j->stride;
    qnn_tally *tally = b->tallies + worker;
    const qnn_target t = qnn_target_from(j->target, at);
    const void *g = qnn_moved(j->g, at, j->g_bytes);
    char *out = j->out + at * qnn_target_bytes(j->target);
    if (j->y) { /* of g's type, so the masked block can wait where its result will be */
        qnn_relu_grad_tensor(g, j->g_bytes, qnn_moved(j->y, at, j->y_bytes), j->y_bytes, rows * j->cols, j->how, out);
        g = out;
    }
    qnn_add_channel_sums(g, j->g_bytes, qnn_moved(j->x, at, j->x_bytes), j->x_bytes, rows, j->cols, j->how, totals,
                         totals + j->cols);
    const qnn_ahead ahead = next_block(j, at + rows * j->cols);
    qnn_how how = j->how;
    how.ahead = &ahead;
    qnn_scale_tensor(g, j->g_bytes, j->gamma, 0, rows, j->cols, &t, 0, how, out, &tally->counts);
    if (j->z)
        qnn_add_channel_sums(out, qnn_target_bytes(&t), qnn_moved(j->z, at, j->z_bytes), j->z_bytes, rows, j->cols, j->how,
                             totals + 2 * j->cols, totals + 3 * j->cols);
}

int qnn_scale_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, const void *x, int x_bytes,
                          const void *z, int z_bytes, const int32_t *gamma, int64_t rows, int64_t cols,
                          const qnn_target *t, qnn_how how, void *out, qnn_counts *counts, int64_t *sums)
{
    qnn_tally tallies[QNN_WORKERS];
    const int64_t grain = qnn_steps_grain(cols), count = (rows + grain - 1) / grain;
    const int workers = qnn_workers(count, how.threads), threads = how.threads;
    how.threads = 1; /* within a block */
    job j = {.g = g, .y = y, .x = x, .z = z, .g_bytes = g_bytes, .y_bytes = y_bytes, .x_bytes = x_bytes,
             .z_bytes = z_bytes, .gamma = gamma, .cols = cols, .target = t, .how = how, .out = out,
             .stride = 4 * cols + 8};
    memset(sums, 0, 4 * (size_t)cols * sizeof *sums);
    memset(tallies, 0, sizeof tallies);
    j.totals = calloc((size_t)workers * (size_t)j.stride, sizeof *j.totals);
    if (!j.totals)
        return 1;
    qnn_blocks blocks = {0, &j, rows, grain, tallies};
    qnn_parallel(count, threads, do_block, &blocks);
    for (int w = 0; w < workers; w++) {
        qnn_counts_add(counts, &tallies[w].counts);
        for (int64_t i = 0; i < 4 * cols; i++)
            sums[i] += j.totals[w * j.stride + i];
    }
    free(j.totals);
    return 0;
}
