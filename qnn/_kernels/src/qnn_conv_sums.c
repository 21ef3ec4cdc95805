/* Sums per channel of what a convolution emits, for the normalisation behind it: added up block by block, while the
   integers lie in the caches. They are exact, so the split into blocks and workers cannot matter (clause BN-1). */
#include "qnn_gemm.h"

#include <string.h>

#include "qnn_parallel.h"

void qnn_add_emitted(const qnn_isa *isa, const qnn_output *output, int64_t width, int64_t row, int64_t rows, int64_t x0,
                     int64_t columns, int worker)
{
    if (!output->totals)
        return;
    const int bytes = qnn_target_bytes(output->target);
    int64_t *sum = output->totals + worker * output->totals_stride;
    const int64_t run = columns == width ? rows : 1; /* whole rows are one run of pixels */
    for (int64_t r = 0; r < rows; r += run) {
        const char *from = (const char *)output->data + ((row + r) * width + x0) * output->columns * bytes;
        qnn_add_channel_sums(from, bytes, from, bytes, run * columns, output->columns, isa->how, sum,
                             sum + output->columns);
    }
}

int qnn_conv2d_sums(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes, const void *weights,
                    int w_bytes, const qnn_output *output, int threads, qnn_counts *counts, int64_t *sums)
{
    const int64_t columns = output->columns;
    const int workers = qnn_workers(QNN_WORKERS, threads); /* as many as there may be */
    qnn_output own = *output;
    own.totals_stride = 2 * columns + 8; /* apart by a cache line */
    const int64_t bytes = workers * own.totals_stride * (int64_t)sizeof *sums;
    own.totals = qnn_allocate(bytes);
    if (!own.totals)
        return -1;
    memset(own.totals, 0, (size_t)bytes);
    memset(sums, 0, 2 * (size_t)columns * sizeof *sums);
    const int result = qnn_conv2d(isa, shape, x, x_bytes, weights, w_bytes, &own, threads, counts);
    for (int w = 0; w < workers; w++)
        for (int64_t i = 0; i < 2 * columns; i++)
            sums[i] += own.totals[w * own.totals_stride + i];
    qnn_release(own.totals);
    return result;
}
