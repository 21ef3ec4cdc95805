/* Packing in plain C, written so that it can be compiled once for every instruction set (all inline, sizes
   constant). */
#ifndef QNN_GEMM_PACK_H
#define QNN_GEMM_PACK_H

#include <string.h>

#include "qnn_gemm.h"

#if defined(__GNUC__) || defined(__clang__)
#define QNN_INLINE static inline __attribute__((always_inline))
#else
#define QNN_INLINE static inline
#endif

QNN_INLINE int16_t qnn_element(const void *source, int bytes, int64_t i)
{
    return bytes == 1 ? ((const int8_t *)source)[i] : ((const int16_t *)source)[i];
}

/* Puts the pair (first, second) of real column j into pair row `pair` (32 entries) of a panel. */
QNN_INLINE void qnn_put_pair(int16_t *pair, int64_t j, int split, int16_t first, int16_t second)
{
    if (!split) {
        pair[2 * j] = first;
        pair[2 * j + 1] = second;
        return;
    }
    int16_t high_first = (int16_t)QNN_ASR(first, 8), high_second = (int16_t)QNN_ASR(second, 8);
    pair[2 * j] = high_first;
    pair[2 * j + 1] = high_second;
    pair[QNN_PANEL + 2 * j] = (int16_t)(first - high_first * 256);
    pair[QNN_PANEL + 2 * j + 1] = (int16_t)(second - high_second * 256);
}

QNN_INLINE void qnn_pack_rows_plain(const void *const *rows, int bytes, int64_t length, int64_t columns, int split,
                                    int16_t *panel)
{
    int64_t width = split ? QNN_PANEL / 2 : QNN_PANEL;
    for (int64_t k = 0; k < length; k += 2, panel += 2 * QNN_PANEL) {
        if (columns < width)
            memset(panel, 0, 2 * QNN_PANEL * sizeof *panel);
        if (k + 1 < length)
            for (int64_t j = 0; j < columns; j++)
                qnn_put_pair(panel, j, split, qnn_element(rows[k], bytes, j), qnn_element(rows[k + 1], bytes, j));
        else
            for (int64_t j = 0; j < columns; j++)
                qnn_put_pair(panel, j, split, qnn_element(rows[k], bytes, j), 0);
    }
}

QNN_INLINE void qnn_pack_columns_plain(const void *source, int bytes, int64_t stride, int64_t length, int64_t columns,
                                       int split, int16_t *panel)
{
    int64_t width = split ? QNN_PANEL / 2 : QNN_PANEL;
    if (columns < width)
        memset(panel, 0, (size_t)((length + 1) / 2) * 2 * QNN_PANEL * sizeof *panel);
    for (int64_t j = 0; j < columns; j++) {
        int64_t base = j * stride, k = 0;
        int16_t *pair = panel;
        for (; k + 1 < length; k += 2, pair += 2 * QNN_PANEL)
            qnn_put_pair(pair, j, split, qnn_element(source, bytes, base + k), qnn_element(source, bytes,
                                                                                           base + k + 1));
        if (k < length)
            qnn_put_pair(pair, j, split, qnn_element(source, bytes, base + k), 0);
    }
}

QNN_INLINE void qnn_dots_plain(const int16_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride,
                               int64_t n, int64_t k, int32_t *sums)
{
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < n; c++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += a[r * a_stride + i] * b[c * b_stride + i];
            sums[r * QNN_DOT_COLUMNS + c] = sum;
        }
}

/* Weights of the codes 0..15: magnitude field m gives 2^(m - 1), or 0 for m = 0; the upper bit is the sign. */
#define QNN_WEIGHTS_OF_CODES4 0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64

/* The same, QNN_CODE_BIAS more: unsigned bytes, the largest of which, 128, is written as a signed one. */
#define QNN_BIASED_WEIGHTS_OF_CODES4 64, 65, 66, 68, 72, 80, 96, -128, 64, 63, 62, 60, 56, 48, 32, 0

QNN_INLINE void qnn_decode4_plain(const uint8_t *packed, int64_t n, int8_t *weights)
{
    static const int8_t table[16] = {QNN_WEIGHTS_OF_CODES4};
    for (int64_t i = 0; i < n; i++)
        weights[i] = table[packed[i / 2] >> i % 2 * 4 & 15];
}

QNN_INLINE void qnn_widen_plain(const void *source, int bytes, int64_t n, int16_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = qnn_element(source, bytes, i);
}

QNN_INLINE void qnn_interleave_plain(const int16_t *first, const int16_t *second, int64_t n, int16_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
    }
}

#endif
