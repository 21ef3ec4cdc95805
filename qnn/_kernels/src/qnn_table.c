/* Bytes through a table of 256 entries per channel: pictures into integers, and element-wise layers folded for inference. */
#include "qnn_blocks.h"

typedef struct {
    const uint8_t *codes;
    const int8_t *table;
    int64_t cols;
    int8_t *out;
} job;

/* The address of a load is the byte before it, so there is nothing to vectorise; unrolled loops keep the load ports busy. */
static void look_up_row(const uint8_t *restrict codes, const int8_t *restrict table, int64_t cols, int8_t *restrict out)
{
    int64_t c = 0;
    for (; c + 8 <= cols; c += 8, table += 8 * 256)
        for (int i = 0; i < 8; i++)
            out[c + i] = table[256 * i + codes[c + i]];
    for (; c < cols; c++, table += 256)
        out[c] = table[codes[c]];
}

static void look_up_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    if (j->cols == 1)
        for (int64_t row = begin; row < end; row++)
            j->out[row] = j->table[j->codes[row]];
    else
        for (int64_t row = begin; row < end; row++)
            look_up_row(j->codes + row * j->cols, j->table, j->cols, j->out + row * j->cols);
}

void qnn_look_up_tensor(const void *codes, const int8_t *table, int64_t rows, int64_t cols, qnn_how how, int8_t *out)
{
    job j = {codes, table, cols, out};
    qnn_run_blocks(rows, QNN_GRAIN / (cols < 1 ? 1 : cols), how, look_up_block, &j);
}
