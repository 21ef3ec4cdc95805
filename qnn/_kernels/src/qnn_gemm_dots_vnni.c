/* Several rows of bytes by columns that lie one after the other, with AVX512-VNNI: dot products straight from the
   columns, which are read once and never packed. The bytes of the rows come with 128 added; what that is too much, 128
   times the column's sum, is counted by lanes and taken off before the lanes are added up, so no sum leaves int32. */
#include "qnn_gemm.h"
#include "qnn_vector512.h"

#if QNN_HAS_VNNI

enum { ROWS = 4, COLUMNS = QNN_DOT_COLUMNS, BLOCK = 64 };

/* Four columns: whole blocks, and a last one filled up with zeros. */
typedef struct {
    const int8_t *from[COLUMNS];
    int64_t blocks;
    int has_tail;
    int8_t tail[COLUMNS][BLOCK];
    v512 excess[COLUMNS];
} columns;

QNN_AVX512_INLINE void start(columns *c, const int8_t *b, int64_t stride, int64_t n, int64_t k)
{
    static const int8_t offset[4] = {-128, -128, -128, -128}; /* 128 as an unsigned byte */
    const v512 each = v512_spread32(offset);
    const int64_t rest = k % BLOCK;
    c->blocks = k / BLOCK;
    c->has_tail = rest > 0;
    memset(c->tail, 0, sizeof c->tail);
    for (int j = 0; j < COLUMNS; j++) {
        c->from[j] = b + (j < n ? j : n - 1) * stride;
        memcpy(c->tail[j], c->from[j] + c->blocks * BLOCK, (size_t)rest);
        v512 sum = v512_dot_u8s8(v512_zero(), each, v512_load(c->tail[j]));
        for (int64_t i = 0; i < c->blocks; i++)
            sum = v512_dot_u8s8(sum, each, v512_load(c->from[j] + BLOCK * i));
        c->excess[j] = sum;
    }
}

/* `rows` is a constant at every call, so the sums live in registers. */
QNN_AVX512_INLINE void tile(const int rows, const columns *c, const int8_t *a, int64_t stride, int32_t *sums)
{
    v512 total[ROWS][COLUMNS];
    QNN_UNROLL for (int r = 0; r < rows; r++)
        QNN_UNROLL for (int j = 0; j < COLUMNS; j++)
            total[r][j] = v512_zero();
    for (int64_t i = 0; i < c->blocks + c->has_tail; i++) {
        v512 column[COLUMNS];
        QNN_UNROLL for (int j = 0; j < COLUMNS; j++)
            column[j] = v512_load(i < c->blocks ? c->from[j] + BLOCK * i : c->tail[j]);
        QNN_UNROLL for (int r = 0; r < rows; r++) {
            const v512 row = v512_load(a + r * stride + BLOCK * i);
            QNN_UNROLL for (int j = 0; j < COLUMNS; j++)
                total[r][j] = v512_dot_u8s8(total[r][j], row, column[j]);
        }
    }
    QNN_UNROLL for (int r = 0; r < rows; r++) {
        QNN_UNROLL for (int j = 0; j < COLUMNS; j++)
            total[r][j] = v512_sub_s32(total[r][j], c->excess[j]);
        v512_four_sums_s32(total[r][0], total[r][1], total[r][2], total[r][3], sums + r * COLUMNS);
    }
}

QNN_AVX512 void qnn_dots_s8_vnni(const int8_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride,
                                 int64_t n, int64_t k, int32_t *sums)
{
    columns c;
    int64_t r = 0;
    start(&c, b, b_stride, n, k);
    for (; m - r >= ROWS; r += ROWS)
        tile(ROWS, &c, a + r * a_stride, a_stride, sums + r * COLUMNS);
    for (; m - r >= 2; r += 2)
        tile(2, &c, a + r * a_stride, a_stride, sums + r * COLUMNS);
    if (m - r)
        tile(1, &c, a + r * a_stride, a_stride, sums + r * COLUMNS);
}

#endif
