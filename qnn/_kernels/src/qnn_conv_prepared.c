/* A forward convolution whose plan and packed weights are kept from call to call. */
#include "qnn_conv_s8.h"

struct qnn_prepared_conv {
    const qnn_isa *isa;
    qnn_conv_shape shape;
    const void *weights;
    int x_bytes, w_bytes, in_bytes; /* in_bytes: `plan` is what runs */
    qnn_s8_plan plan;
};

qnn_prepared_conv *qnn_prepare_conv2d(const qnn_isa *isa, const qnn_conv_shape *shape, int x_bytes, const void *weights,
                                      int w_bytes, int wide, int threads)
{
    qnn_prepared_conv *p = qnn_allocate(sizeof *p);
    if (!p)
        return 0;
    memset(p, 0, sizeof *p);
    p->isa = isa, p->shape = *shape, p->weights = weights, p->x_bytes = x_bytes, p->w_bytes = w_bytes;
    int result = x_bytes == 1 && w_bytes == 1 && !wide ? qnn_s8_plan_make(&p->plan, isa, shape, weights, 0, threads) : 1;
    p->in_bytes = result == 0;
    if (result >= 0)
        return p;
    qnn_prepared_conv_release(p);
    return 0;
}

int qnn_prepared_conv2d(const qnn_prepared_conv *p, int64_t images, const void *x, const qnn_output *output, int threads,
                        qnn_counts *counts)
{
    qnn_conv_shape shape = p->shape;
    if (p->in_bytes)
        return qnn_s8_plan_run(&p->plan, images, x, output, threads, counts);
    shape.images = images;
    return qnn_conv2d(p->isa, &shape, x, p->x_bytes, p->weights, p->w_bytes, output, threads, counts);
}

void qnn_prepared_conv_release(qnn_prepared_conv *p)
{
    if (!p)
        return;
    qnn_s8_plan_release(&p->plan);
    qnn_release(p);
}
