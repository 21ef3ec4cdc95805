/* Bytes through a table of 256 entries per channel: pictures into integers, and element-wise layers folded for inference. */
#include "qnn_blocks.h"
#include "qnn_table.h"

typedef struct {
    const uint8_t *codes;
    const int8_t *table;
    int64_t cols;
    int vbmi;
    int8_t *out;
} job;

/* The address of a load is the byte before it, so there is nothing to vectorise; unrolled loops keep the load ports busy. */
static void look_up_row(const uint8_t *codes, const int8_t *table, int64_t cols, int8_t *out)
{
    int64_t c = 0;
    for (; c + 8 <= cols; c += 8, table += 8 * 256)
        for (int i = 0; i < 8; i++)
            out[c + i] = table[256 * i + codes[c + i]];
    for (; c < cols; c++, table += 256)
        out[c] = table[codes[c]];
}

void qnn_look_up_rows(const uint8_t *codes, const int8_t *table, int64_t rows, int64_t cols, int vbmi, int8_t *out)
{
    int64_t row = 0;
    if (cols == 1) {
        for (; row < rows; row++)
            out[row] = table[codes[row]];
        return;
    }
    if (vbmi && cols % QNN_SQUARE_CHANNELS == 0)
        row = qnn_look_up_squares_vbmi(codes, table, rows, cols, out);
    for (; row < rows; row++)
        look_up_row(codes + row * cols, table, cols, out + row * cols);
}

static void look_up_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int64_t at = begin * j->cols;
    (void)tally;
    qnn_look_up_rows(j->codes + at, j->table, end - begin, j->cols, j->vbmi, j->out + at);
}

void qnn_look_up_tensor(const void *codes, const int8_t *table, int64_t rows, int64_t cols, qnn_how how, int8_t *out)
{
    job j = {codes, table, cols, how.avx512, out};
    qnn_run_blocks(rows, QNN_GRAIN / (cols < 1 ? 1 : cols), how, look_up_block, &j);
}
