/* The steps of an integer product in portable C11. */
#include <string.h>

#include "qnn_gemm.h"
#include "qnn_gemm_pack.h"
#include "qnn_winograd.h"

/* Two rows at a time. Even and odd members of the pairs are summed apart and each row's pair is spread over a whole
   vector, because in this form compilers use their 16-bit vector multiplication (three times as fast as the obvious
   loop). */
static void panel_rows(const int16_t *const *rows, int count, int64_t step, const qnn_segment *segments,
                       int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride, int accumulate)
{
    int32_t total[2][2 * QNN_PANEL];
    const int16_t *first = rows[0], *second = rows[count - 1];
    memset(total, 0, sizeof total);
    for (int64_t s = 0; s < segment_count; s++) {
        int64_t at = segments[s].offset;
        for (int64_t p = 0; p < segments[s].pairs; p++, at += step, panel += 2 * QNN_PANEL) {
            int16_t a[2 * QNN_PANEL], b[2 * QNN_PANEL];
            for (int j = 0; j < 2 * QNN_PANEL; j += 2) {
                a[j] = first[at];
                a[j + 1] = first[at + 1];
                b[j] = second[at];
                b[j + 1] = second[at + 1];
            }
            for (int j = 0; j < 2 * QNN_PANEL; j++)
                total[0][j] += a[j] * panel[j];
            for (int j = 0; j < 2 * QNN_PANEL; j++)
                total[1][j] += b[j] * panel[j];
        }
    }
    for (int r = 0; r < count; r++)
        for (int j = 0; j < QNN_PANEL; j++) {
            int32_t sum = total[r][2 * j] + total[r][2 * j + 1];
            sums[r * sums_stride + j] = accumulate ? sums[r * sums_stride + j] + sum : sum;
        }
}

static void panel_c(const int16_t *const *rows, int64_t count, int64_t step, const qnn_segment *segments,
                    int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride, int accumulate)
{
    for (int64_t r = 0; r < count; r += 2)
        panel_rows(rows + r, r + 1 < count ? 2 : 1, step, segments, segment_count, panel, sums + r * sums_stride,
                   sums_stride, accumulate);
}

static void pack_rows_c(const void *const *rows, int bytes, int64_t length, int64_t columns, int split, int16_t *panel)
{
    if (bytes == 1)
        qnn_pack_rows_plain(rows, 1, length, columns, 0, panel);
    else
        qnn_pack_rows_plain(rows, 2, length, columns, split, panel);
}

static void pack_columns_c(const void *source, int bytes, int64_t stride, int64_t length, int64_t columns, int split,
                           int16_t *panel)
{
    if (bytes == 1)
        qnn_pack_columns_plain(source, 1, stride, length, columns, 0, panel);
    else
        qnn_pack_columns_plain(source, 2, stride, length, columns, split, panel);
}

static void widen_c(const void *source, int bytes, int64_t n, int16_t *out)
{
    if (bytes == 1)
        qnn_widen_plain(source, 1, n, out);
    else
        memcpy(out, source, (size_t)n * sizeof *out);
}

static void interleave_c(const int16_t *first, const int16_t *second, int64_t n, int16_t *out)
{
    qnn_interleave_plain(first, second, n, out);
}

static void decode4_c(const uint8_t *packed, int64_t n, int8_t *weights) { qnn_decode4_plain(packed, n, weights); }

static void dots_c(const int16_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride, int64_t n,
                   int64_t k, int32_t *sums)
{
    qnn_dots_plain(a, a_stride, m, b, b_stride, n, k, sums);
}

const qnn_isa *qnn_isa_c(void)
{
    static const qnn_isa isa = {
        .panel = panel_c,
        .pack_rows = pack_rows_c,
        .pack_columns = pack_columns_c,
        .widen = widen_c,
        .interleave = interleave_c,
        .requantize_s32 = qnn_requantize_rows_s32,
        .requantize_s64 = qnn_requantize_rows_s64,
        .dots = dots_c,
        .decode4 = decode4_c,
        .winograd = &qnn_winograd_c,
        .how = {.threads = 1},
    };
    return &isa;
}
