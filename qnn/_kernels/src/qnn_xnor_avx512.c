/* Counts of differing bits with AVX512: a popcount per word of 64 bits. Panels have 16 columns side by side, two
 * vectors, against 8 rows at a time. */
#include <string.h>

#include "qnn_vector512.h"
#include "qnn_xnor.h"

#if QNN_HAS_VNNI

enum { ROWS = 8, WIDTH = 16 };

/* Straight from the rows of b, which are read in one stream. */
QNN_AVX512_BITS static void dots_avx512(const uint64_t *a, int64_t a_stride, int64_t rows, const uint64_t *b,
                                        int64_t b_stride, int64_t columns, int64_t words, int32_t *counts,
                                        int64_t counts_stride)
{
    const int64_t whole = words / 8 * 8, rest = words - whole;
    for (int64_t c = 0; c < columns; c++, b += b_stride) {
        uint64_t last[8] = {0};
        memcpy(last, b + whole, (size_t)rest * sizeof *last);
        for (int64_t r = 0; r < rows; r++) {
            const uint64_t *row = a + r * a_stride;
            v512 even = v512_zero(), odd = v512_zero();
            int64_t i = 0;
            for (; whole - i >= 16; i += 16) {
                even = v512_add_s64(even, v512_ones_u64(v512_xor(v512_load(row + i), v512_load(b + i))));
                odd = v512_add_s64(odd, v512_ones_u64(v512_xor(v512_load(row + i + 8), v512_load(b + i + 8))));
            }
            if (i < whole)
                even = v512_add_s64(even, v512_ones_u64(v512_xor(v512_load(row + i), v512_load(b + i))));
            if (rest) {
                uint64_t left[8] = {0};
                memcpy(left, row + whole, (size_t)rest * sizeof *left);
                odd = v512_add_s64(odd, v512_ones_u64(v512_xor(v512_load(left), v512_load(last))));
            }
            counts[r * counts_stride + c] = (int32_t)v512_sum_s64(v512_add_s64(even, odd));
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

const qnn_bits *qnn_bits_avx512(void)
{
    static const qnn_bits bits = {dots_avx512, 4, WIDTH, 8, pack, prepare, multiply_avx512};
    return &bits;
}

#else

const qnn_bits *qnn_bits_avx512(void) { return 0; }

#endif
