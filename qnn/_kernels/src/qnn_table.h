/* A table of 256 entries per channel, applied to rows of bytes on one thread. */
#ifndef QNN_TABLE_H
#define QNN_TABLE_H

#include "qnn_cpu.h"

enum { QNN_SQUARE_ROWS = 64, QNN_SQUARE_CHANNELS = 16 };

/* out[r][c] = table[c][codes[r][c]]; out may be codes. vbmi: the processor has AVX512-VBMI (qnn_cpu_has_vbmi). */
void qnn_look_up_rows(const uint8_t *codes, const int8_t *table, int64_t rows, int64_t cols, int vbmi, int8_t *out);

/* The same for as many rows from the first on as fill squares; returns how many. cols is a multiple of 16. */
int64_t qnn_look_up_squares_vbmi(const uint8_t *codes, const int8_t *table, int64_t rows, int64_t cols, int8_t *out);

#endif
