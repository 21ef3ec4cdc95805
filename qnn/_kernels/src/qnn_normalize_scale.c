/* Normalisation and scale layer in one pass over memory: a block of rows is scaled while what the normalisation made of it
 * lies in the caches. Both steps are the whole tensor's own, called for a block, so there are no bits here. */
#include "qnn_blocks.h"

typedef struct {
    const void *x;
    int x_bytes;
    const float *mean, *k;
    const int32_t *gamma;
    const int64_t *bias;
    int64_t cols;
    const qnn_target *normal, *target;
    int rectify;
    qnn_how how;
    char *normal_out, *out;
    qnn_tally *scaled; /* per worker; that of the blocks is for what the normalisation counts */
} job;

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *b = context;
    const job *j = b->context;
    const int64_t from = qnn_first_item(b, begin), rows = qnn_first_item(b, end) - from, at = from * j->cols;
    const qnn_target normal = qnn_target_from(j->normal, at), target = qnn_target_from(j->target, at);
    const int bytes = qnn_target_bytes(&normal);
    char *xhat = j->normal_out + at * bytes;
    qnn_tally *tally = b->tallies + worker;
    tally->bad += qnn_normalize_tensor(qnn_moved(j->x, at, j->x_bytes), j->x_bytes, j->mean, j->k, rows, j->cols, &normal,
                                       j->how, xhat, &tally->counts);
    qnn_scale_tensor(xhat, bytes, j->gamma, j->bias, rows, j->cols, &target, j->rectify, j->how,
                     j->out + at * qnn_target_bytes(&target), &j->scaled[worker].counts);
}

int64_t qnn_normalize_scale_tensor(const void *x, int x_bytes, const float *mean, const float *k, int64_t rows,
                                   int64_t cols, const qnn_target *normal, void *normal_out, qnn_counts *normal_counts,
                                   const int32_t *gamma, const int64_t *bias, const qnn_target *t, int rectify,
                                   qnn_how how, void *out, qnn_counts *counts)
{
    qnn_tally tallies[QNN_WORKERS], scaled[QNN_WORKERS];
    const int64_t grain = qnn_steps_grain(cols), count = (rows + grain - 1) / grain;
    const int workers = qnn_workers(count, how.threads), threads = how.threads;
    int64_t bad = 0;
    how.threads = 1; /* within a block */
    job j = {x, x_bytes, mean, k, gamma, bias, cols, normal, t, rectify, how, normal_out, out, scaled};
    memset(tallies, 0, sizeof tallies);
    memset(scaled, 0, sizeof scaled);
    qnn_blocks blocks = {0, &j, rows, grain, tallies};
    qnn_parallel(count, threads, do_block, &blocks);
    for (int w = 0; w < workers; w++) {
        qnn_counts_add(normal_counts, &tallies[w].counts);
        qnn_counts_add(counts, &scaled[w].counts);
        bad += tallies[w].bad;
    }
    return bad;
}
