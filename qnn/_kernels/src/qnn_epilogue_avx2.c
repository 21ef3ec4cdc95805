/* Requantising with AVX2: int32 accumulators, shifts 1 to 31, every rounding; the rest goes to the plain C. */
#include "qnn_epilogue.h"

void qnn_requantize_rows_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s32(acc, bias, index, rows, cols, t, out, counts);
}

void qnn_requantize_rows_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_requantize_rows_s64(acc, bias, index, rows, cols, t, out, counts);
}

void qnn_requantize_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t, void *out,
                             qnn_counts *counts)
{
    qnn_requantize_rows_s32_avx2(acc, bias, index, 1, n, t, out, counts);
}

void qnn_requantize_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t, void *out,
                             qnn_counts *counts)
{
    qnn_requantize_rows_s64_avx2(acc, bias, index, 1, n, t, out, counts);
}
