/* Counts of differing bits with AVX512: a popcount per word of 64 bits. Panels have 16 columns side by side, two
 * vectors, against 8 rows at a time. */
#include <string.h>

#include "qnn_vector512.h"
#include "qnn_xnor.h"

#if QNN_HAS_VNNI

enum { ROWS = 8, WIDTH = 16 };

QNN_AVX512_BITS_INLINE v512 count(v512 sum, v512 a, v512 b)
{
    return v512_add_s64(sum, v512_ones_u64(v512_xor(a, b)));
}

/* One row by one column: so b is read in one stream. */
QNN_AVX512_BITS_INLINE v512 one(const uint64_t *a, const uint64_t *b, int64_t words)
{
    v512 even = v512_zero(), odd = v512_zero();
    int64_t i = 0;
    for (; words - i >= 16; i += 16) {
        even = count(even, v512_load(a + i), v512_load(b + i));
        odd = count(odd, v512_load(a + i + 8), v512_load(b + i + 8));
    }
    for (; i < words; i += 8) {
        int64_t n = words - i < 8 ? words - i : 8;
        even = count(even, v512_load_words(a + i, n), v512_load_words(b + i, n));
    }
    return v512_add_s64(even, odd);
}

/* Four rows by four columns; next: how far the columns after these are. The counts are below 2^31, so adding up the
   halves of all lanes is adding up the lanes. */
QNN_AVX512_BITS_INLINE void four_by_four(const uint64_t *a, int64_t a_stride, const uint64_t *const *b, int64_t next,
                                         int64_t words, int32_t counts[4][4])
{
    v512 total[4][4];
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 4; c++)
            total[r][c] = v512_zero();
    for (int64_t i = 0; i < words; i += 8) {
        const int64_t n = words - i < 8 ? words - i : 8;
        v512 columns[4];
        for (int c = 0; c < 4; c++) {
            columns[c] = v512_load_words(b[c] + i, n);
            v512_prefetch(b[c] + i + next);
        }
        for (int r = 0; r < 4; r++) {
            const v512 row = v512_load_words(a + r * a_stride + i, n);
            for (int c = 0; c < 4; c++)
                total[r][c] = count(total[r][c], row, columns[c]);
        }
    }
    for (int r = 0; r < 4; r++)
        v512_four_sums_s32(total[r][0], total[r][1], total[r][2], total[r][3], counts[r]);
}

/* Straight from the rows of b. */
QNN_AVX512_BITS static void dots_avx512(const uint64_t *a, int64_t a_stride, int64_t rows, const uint64_t *b,
                                        int64_t b_stride, int64_t columns, int64_t words, int32_t *counts,
                                        int64_t counts_stride)
{
    for (int64_t c = 0; c < columns; c += 4) {
        const int64_t n = columns - c < 4 ? columns - c : 4;
        const uint64_t *at[4];
        int64_t r = 0;
        for (int64_t x = 0; x < 4; x++) /* absent columns: the last one again */
            at[x] = b + (c + (x < n ? x : n - 1)) * b_stride;
        for (; rows - r >= 4; r += 4) {
            int32_t found[4][4];
            four_by_four(a + r * a_stride, a_stride, at, 4 * b_stride, words, found);
            for (int64_t y = 0; y < 4; y++)
                memcpy(counts + (r + y) * counts_stride + c, found[y], (size_t)n * sizeof *counts);
        }
        for (; r < rows; r++) {
            const uint64_t *row = a + r * a_stride;
            int32_t found[4];
            v512_four_sums_s32(one(row, at[0], words), one(row, at[1], words), one(row, at[2], words),
                               one(row, at[3], words), found);
            memcpy(counts + r * counts_stride + c, found, (size_t)n * sizeof *counts);
        }
    }
}

/* panel[word][column], eight words of a column at a time; the columns of the next panel are fetched meanwhile. */
QNN_AVX512_BITS static void pack(const uint64_t *b, int64_t b_stride, int64_t columns, int64_t words, void *panel)
{
    uint64_t *to = panel;
    if (columns < WIDTH)
        memset(panel, 0, (size_t)(words * WIDTH) * sizeof *to);
    for (int64_t i = 0; i < words; i += 8)
        for (int64_t c = 0; c < columns; c++) {
            const uint64_t *from = b + c * b_stride + i;
            v512_prefetch(from + columns * b_stride);
            if (words - i >= 8)
                for (int64_t e = 0; e < 8; e++)
                    to[WIDTH * (i + e) + c] = from[e];
            else
                for (int64_t e = 0; e < words - i; e++)
                    to[WIDTH * (i + e) + c] = from[e];
        }
}

static void prepare(const uint64_t *row, int64_t words, uint8_t *prepared)
{
    memcpy(prepared, row, (size_t)words * sizeof *row);
}

/* rows is a constant at every call, so the counts live in registers. */
QNN_AVX512_BITS_INLINE void tile(const int rows, const uint8_t *a, int64_t a_stride, const uint64_t *panel,
                                 int64_t words, int32_t *counts, int64_t counts_stride)
{
    v512 total[ROWS][2];
    for (int r = 0; r < rows; r++)
        total[r][0] = total[r][1] = v512_zero();
    for (int64_t i = 0; i < words; i++) {
        const v512 left = v512_load(panel + WIDTH * i), right = v512_load(panel + WIDTH * i + 8);
        for (int r = 0; r < rows; r++) {
            const v512 word = v512_spread64(a + r * a_stride + 8 * i);
            total[r][0] = v512_add_s64(total[r][0], v512_ones_u64(v512_xor(word, left)));
            total[r][1] = v512_add_s64(total[r][1], v512_ones_u64(v512_xor(word, right)));
        }
    }
    for (int r = 0; r < rows; r++) {
        v512_store_as_s32(counts + r * counts_stride, total[r][0]);
        v512_store_as_s32(counts + r * counts_stride + 8, total[r][1]);
    }
}

QNN_AVX512_BITS static void multiply_avx512(const uint8_t *a, int64_t a_stride, int64_t rows, const void *panel,
                                            int64_t words, int32_t *counts, int64_t counts_stride)
{
    int64_t r = 0;
    for (; rows - r >= 8; r += 8)
        tile(8, a + r * a_stride, a_stride, panel, words, counts + r * counts_stride, counts_stride);
    for (; rows - r >= 4; r += 4)
        tile(4, a + r * a_stride, a_stride, panel, words, counts + r * counts_stride, counts_stride);
    for (; r < rows; r++)
        tile(1, a + r * a_stride, a_stride, panel, words, counts + r * counts_stride, counts_stride);
}

QNN_AVX512_BITS static void finish_avx512(const uint32_t *all, const int32_t *counts, int64_t n, int32_t *y)
{
    QNN_FINISH_BITS(all, counts, n, y);
}

const qnn_bits *qnn_bits_avx512(void)
{
    static const qnn_bits bits = {dots_avx512, 24, WIDTH, 8, pack, prepare, multiply_avx512, finish_avx512};
    return &bits;
}

#else

const qnn_bits *qnn_bits_avx512(void) { return 0; }

#endif
