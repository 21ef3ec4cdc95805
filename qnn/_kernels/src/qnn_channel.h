/* The widest part of the sums per channel (qnn_channel.c). */
#ifndef QNN_CHANNEL_H
#define QNN_CHANNEL_H

#include <stdint.h>

#include "qnn_cpu.h"

enum {
    QNN_COLUMNS512 = 64,
    QNN_MOST_FOURS512 = 1 << 13 /* 4 * 2^13 products of 8 bits without and 8 with a sign are at most 2^30 */
};

/* 64 neighbouring columns of `count` times four rows, `stride` bytes apart: sums of x, and of x * y. */
void qnn_columns_avx512(const int8_t *x, const int8_t *y, int64_t stride, int64_t count, int32_t sum[QNN_COLUMNS512],
                        int32_t dot[QNN_COLUMNS512]);

#endif
