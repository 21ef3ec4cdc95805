/* int8 by int8 with AVX512-VNNI: quads by vpdpbusd, exact (it wraps, and its sums never get that far), 8 rows by two
   panels or 16 rows by one at a time. Where rows overlap, as in convolutions of stride 1, what they share is loaded
   once. */
#include "qnn_s8.h"
#include "qnn_vector512.h"

#if QNN_HAS_VNNI

enum { TAPS = 3 };

/* Row r of a tile, from few registers: multiples of the stride that addressing can form are not kept. */
typedef struct {
    int64_t one, three, five, seven;
} strides;

QNN_AVX512_INLINE const int8_t *row_at(const int8_t *low, const int8_t *high, const strides *s, const int r)
{
    const int8_t *from = r < 8 ? low : high;
    switch (r % 8) {
    case 0:
        return from;
    case 1:
        return from + s->one;
    case 2:
        return from + 2 * s->one;
    case 3:
        return from + s->three;
    case 4:
        return from + 4 * s->one;
    case 5:
        return from + s->five;
    case 6:
        return from + 2 * s->three;
    default:
        return from + s->seven;
    }
}

/* `rows` and `panels` are constants at every call, so the sums live in registers. */
QNN_AVX512_INLINE void tile(const int rows, const int panels, const qnn_s8_block *b, const int8_t *first,
                            const int8_t *panel, const int32_t *start, int32_t *sums)
{
    v512 total[16][2];
    const strides s = {b->row_stride, 3 * b->row_stride, 5 * b->row_stride, 7 * b->row_stride};
    const int8_t *second = panel + (panels == 2 ? b->panel_stride : 0);
    QNN_UNROLL for (int r = 0; r < rows; r++)
        QNN_UNROLL for (int p = 0; p < panels; p++) {
            total[r][p] = v512_load(start + 16 * p);
            if (b->accumulate)
                total[r][p] = v512_add_s32(total[r][p], v512_load(sums + r * b->sums_stride + 16 * p));
        }
    for (int64_t i = 0; i < b->segments; i++) {
        const int8_t *low = first + b->segment[i].offset, *high = low + 8 * s.one;
        const int8_t *end = panel + b->segment[i].quads * QNN_S8_STEP;
        for (; panel < end; panel += QNN_S8_STEP, second += QNN_S8_STEP, low += 4, high += 4) {
            v512 columns[2] = {v512_load(panel), v512_load(second)};
            QNN_UNROLL for (int r = 0; r < rows; r++) {
                v512 quad = v512_spread32(row_at(low, high, &s, r));
                QNN_UNROLL for (int p = 0; p < panels; p++)
                    total[r][p] = v512_dot_u8s8(total[r][p], quad, columns[p]);
            }
        }
    }
    QNN_UNROLL for (int r = 0; r < rows; r++)
        QNN_UNROLL for (int p = 0; p < panels; p++)
            v512_store(sums + r * b->sums_stride + 16 * p, total[r][p]);
}

/* The same where each segment is TAPS pixels of row_stride bytes, as in a convolution with stride 1: tap k of row r is
   tap 0 of row r + k, so a quad is loaded once for all taps. */
QNN_AVX512_INLINE void slide(const int rows, const int panels, const qnn_s8_block *b, const int8_t *first,
                             const int8_t *panel, const int32_t *start, int32_t *sums)
{
    v512 total[16][2];
    const strides s = {b->row_stride, 3 * b->row_stride, 5 * b->row_stride, 7 * b->row_stride};
    const int64_t second = panels == 2 ? b->panel_stride : 0, tap = b->row_stride / QNN_S8_QUAD * QNN_S8_STEP;
    QNN_UNROLL for (int r = 0; r < rows; r++)
        QNN_UNROLL for (int p = 0; p < panels; p++) {
            total[r][p] = v512_load(start + 16 * p);
            if (b->accumulate)
                total[r][p] = v512_add_s32(total[r][p], v512_load(sums + r * b->sums_stride + 16 * p));
        }
    for (int64_t i = 0; i < b->segments; i++, panel += TAPS * tap) {
        const int8_t *at = first + b->segment[i].offset, *end = at + b->row_stride, *from = panel;
        for (; at < end; at += QNN_S8_QUAD, from += QNN_S8_STEP) {
            v512 columns[TAPS][2];
            QNN_UNROLL for (int k = 0; k < TAPS; k++)
                QNN_UNROLL for (int p = 0; p < panels; p++)
                    columns[k][p] = v512_load(from + k * tap + p * second);
            QNN_UNROLL for (int pixel = 0; pixel < rows + TAPS - 1; pixel++) {
                v512 quad = v512_spread32(pixel < 16 ? row_at(at, at + 8 * s.one, &s, pixel)
                                                     : row_at(at + 16 * s.one, 0, &s, pixel - 16));
                QNN_UNROLL for (int k = 0; k < TAPS; k++)
                    QNN_UNROLL for (int p = 0; p < panels; p++)
                        if (pixel - k >= 0 && pixel - k < rows)
                            total[pixel - k][p] = v512_dot_u8s8(total[pixel - k][p], quad, columns[k][p]);
            }
        }
    }
    QNN_UNROLL for (int r = 0; r < rows; r++)
        QNN_UNROLL for (int p = 0; p < panels; p++)
            v512_store(sums + r * b->sums_stride + 16 * p, total[r][p]);
}

static int is_sliding(const qnn_s8_block *b)
{
    int64_t pixel = b->row_stride / QNN_S8_QUAD;
    for (int64_t i = 0; i < b->segments; i++)
        if (b->segment[i].quads != TAPS * pixel)
            return 0;
    return b->row_stride % QNN_S8_QUAD == 0;
}

/* A tile and two panels, or one; rows that fill up a group of 8 are written too. */
QNN_AVX512 static void slide_two_panels(const qnn_s8_block *b, const qnn_s8_tile *t, const int8_t *panel,
                                        const int32_t *start, int32_t *sums)
{
    for (int64_t r = 0; r < t->rows; r += 8)
        slide(8, 2, b, t->first + r * b->row_stride, panel, start, sums + r * b->sums_stride);
}

QNN_AVX512 static void slide_one_panel(const qnn_s8_block *b, const qnn_s8_tile *t, const int8_t *panel,
                                       const int32_t *start, int32_t *sums)
{
    if (t->rows > 8)
        slide(16, 1, b, t->first, panel, start, sums);
    else
        slide(8, 1, b, t->first, panel, start, sums);
}

#define PART(n, panels)                                                                                                \
    for (; rows - r >= n; r += n)                                                                                      \
    tile(n, panels, b, first + r * b->row_stride, panel, start, sums + r * b->sums_stride)

QNN_AVX512 static void two_panels(const qnn_s8_block *b, const int8_t *first, int64_t rows, const int8_t *panel,
                                  const int32_t *start, int32_t *sums)
{
    int64_t r = 0;
    PART(8, 2);
    PART(4, 2);
    PART(2, 2);
    PART(1, 2);
}

QNN_AVX512 static void one_panel(const qnn_s8_block *b, const int8_t *first, int64_t rows, const int8_t *panel,
                                 const int32_t *start, int32_t *sums)
{
    int64_t r = 0;
    PART(16, 1);
    PART(8, 1);
    PART(4, 1);
    PART(1, 1);
}

QNN_AVX512 static void multiply_vnni(const qnn_s8_block *b)
{
    const int sliding = is_sliding(b);
    for (int64_t p = 0; p < b->panels; p += 2)
        for (int64_t t = 0; t < b->tiles; t++) {
            int32_t *sums = b->sums + t * QNN_S8_TILE * b->sums_stride + p * QNN_PANEL;
            const int8_t *panel = b->panel + p * b->panel_stride;
            const int32_t *start = b->start + p * QNN_PANEL;
            if (sliding)
                (p + 1 < b->panels ? slide_two_panels : slide_one_panel)(b, b->tile + t, panel, start, sums);
            else if (p + 1 < b->panels)
                two_panels(b, b->tile[t].first, b->tile[t].rows, panel, start, sums);
            else
                one_panel(b, b->tile[t].first, b->tile[t].rows, panel, start, sums);
        }
}

/* -128 * the sum of each column, which undoes the 128 that was added to every byte of the left operand. */
QNN_AVX512 static void start_vnni(const int8_t *panel, int64_t quads, int32_t start[16])
{
    const int32_t ones = 0x01010101;
    v512 one = v512_spread32(&ones), sum = v512_zero();
    for (int64_t q = 0; q < quads; q++)
        sum = v512_dot_u8s8(sum, one, v512_load(panel + q * QNN_S8_STEP));
    v512_store(start, sum);
    for (int j = 0; j < QNN_PANEL; j++)
        start[j] *= -128;
}

/* Plain C, which the compiler turns into vectors of this instruction set. */
QNN_AVX512 static void copy_flipped(const int8_t *source, int64_t n, int8_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int8_t)(source[i] ^ -128);
}

static void nothing(void) {}

const qnn_s8 *qnn_s8_vnni(void)
{
    static const qnn_s8 s8 = {0x80, 1, 8, 128, copy_flipped, nothing, nothing, start_vnni, multiply_vnni};
    return &s8;
}

#else

const qnn_s8 *qnn_s8_vnni(void) { return 0; }

#endif
