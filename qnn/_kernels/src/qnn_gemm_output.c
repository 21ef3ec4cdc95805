/* From the sums of panels to the result: layout of the right operand, draining, handing rows to the epilogue,
   memory. */
#include <string.h>

#include "qnn_gemm.h"
#include "qnn_table.h"

qnn_layout qnn_make_layout(int left_bytes, int right_bytes)
{
    qnn_layout layout;
    layout.split = left_bytes == 2 && right_bytes == 2;
    layout.panel_width = layout.split ? QNN_PANEL / 2 : QNN_PANEL;
    /* Largest even k with k * 2^7 * 2^7, k * 2^7 * 2^15 or, for a lower byte of up to 255, k * 255 * 2^15 below
       2^31. */
    layout.safe_k = layout.split ? 256 : (left_bytes + right_bytes == 2 ? 131070 : 510);
    return layout;
}

/* Column j of a row of sums over all panels; the sum of a split column does not fit int32 in general. */
static inline int64_t sum_at(const int32_t *row, int split, int64_t j)
{
    if (!split)
        return row[j];
    const int32_t *panel = row + j / 8 * QNN_PANEL;
    return (int64_t)panel[j % 8] * 256 + panel[8 + j % 8];
}

void qnn_drain(const qnn_layout *layout, const int32_t *sums, int64_t sums_stride, int64_t count, int64_t columns,
               const int32_t *map, int wide, int add, void *dst, int64_t dst_stride)
{
    for (int64_t r = 0; r < count; r++) {
        const int32_t *row = sums + r * sums_stride;
        int64_t at = (map ? map[r] : r) * dst_stride;
        if (!wide) {
            int32_t *out = (int32_t *)dst + at;
            if (!layout->split && !add)
                memcpy(out, row, (size_t)columns * sizeof *out);
            else
                for (int64_t j = 0; j < columns; j++)
                    out[j] = (int32_t)(sum_at(row, layout->split, j) + (add ? out[j] : 0));
            continue;
        }
        int64_t *out = (int64_t *)dst + at;
        if (add)
            for (int64_t j = 0; j < columns; j++)
                out[j] += sum_at(row, layout->split, j);
        else
            for (int64_t j = 0; j < columns; j++)
                out[j] = sum_at(row, layout->split, j);
    }
}

void qnn_emit(const qnn_isa *isa, const qnn_output *output, const void *sums, int64_t first_row, int64_t rows,
              int64_t first_column, int64_t columns, qnn_counts *counts)
{
    int64_t bytes = output->wide ? 8 : 4, out_bytes = output->target ? qnn_target_bytes(output->target) : bytes;
    /* Whole rows are one run of elements; parts of rows go one by one. */
    int64_t run = columns == output->columns ? rows : 1;
    for (int64_t r = 0; r < rows; r += run) {
        int64_t index = (first_row + r) * output->columns + first_column;
        const char *from = (const char *)sums + r * columns * bytes;
        char *to = (char *)output->data + index * out_bytes;
        const int64_t *bias = output->bias ? output->bias + first_column : 0;
        if (!output->target)
            memcpy(to, from, (size_t)(run * columns * bytes));
        else if (output->wide)
            isa->requantize_s64((const int64_t *)(const void *)from, bias, index, run, columns, output->target, to,
                                counts);
        else
            isa->requantize_s32((const int32_t *)(const void *)from, bias, index, run, columns, output->target, to,
                                counts);
        if (output->table)
            qnn_look_up_rows((const uint8_t *)to, output->table + 256 * first_column, run, columns,
                             output->vbmi, (int8_t *)to);
    }
}
