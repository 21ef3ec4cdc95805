/* Packed 4-bit power-of-two codes with AVX512-VNNI: decoded by a table of sixteen and multiplied in quads. */
#include "qnn_gemm.h"
#include "qnn_gemm_pack.h"
#include "qnn_vector512.h"

#if QNN_HAS_VNNI

enum {
    ROWS = 8,
    AHEAD = 8192 /* bytes: what the loads of some 100 ns bring; may lie behind the end */
};

/* 128 codes: the weights of the even ones, then those of the odd ones; `ahead` bytes further codes are fetched. */
QNN_AVX512_INLINE void decode(const uint8_t *codes, int64_t ahead, v512 weights[2])
{
    static const int8_t of_codes[16] = {QNN_BIASED_WEIGHTS_OF_CODES4};
    const int32_t low = 0x0F0F0F0F;
    const v512 table = v512_spread128(of_codes), mask = v512_spread32(&low), both = v512_load(codes);
    v512_prefetch(codes + ahead);
    weights[0] = v512_table_u8(table, v512_and(both, mask));
    weights[1] = v512_table_u8(table, v512_and(v512_shift_right_u16(both, 4), mask));
}

/* One row by one column: so the codes are read in one stream, which the prefetchers of the processor like best. */
QNN_AVX512_INLINE v512 one(const int8_t *a, const uint8_t *codes, int64_t blocks)
{
    v512 even = v512_zero(), odd = v512_zero(), weights[2];
    for (int64_t i = 0; i < blocks; i++, a += 128, codes += 64) {
        decode(codes, AHEAD, weights);
        even = v512_pinned(v512_dot_u8s8(even, weights[0], v512_load(a)));
        odd = v512_pinned(v512_dot_u8s8(odd, weights[1], v512_load(a + 64)));
    }
    return v512_add_s32(even, odd);
}

QNN_AVX512_INLINE v512 dot_both(v512 sum, const v512 weights[2], v512 first, v512 second)
{
    sum = v512_pinned(v512_dot_u8s8(sum, weights[0], first));
    return v512_pinned(v512_dot_u8s8(sum, weights[1], second));
}

/* m rows by n columns, constants at every call, so the sums live in registers. */
QNN_AVX512_INLINE void tile(const int m, const int n, const int8_t *a, int64_t a_stride, const uint8_t *const *columns,
                            int64_t blocks, int32_t *sums)
{
    const int64_t ahead = n * (columns[1] - columns[0]); /* the columns after these */
    v512 total[ROWS][QNN_DOT_COLUMNS];
    for (int r = 0; r < m; r++)
        for (int c = 0; c < QNN_DOT_COLUMNS; c++)
            total[r][c] = v512_zero();
    for (int64_t i = 0; i < blocks; i++) {
        v512 weights[QNN_DOT_COLUMNS][2];
        for (int c = 0; c < n; c++)
            decode(columns[c] + 64 * i, ahead, weights[c]);
        for (int r = 0; r < m; r++) {
            const int8_t *terms = a + r * a_stride + 128 * i;
            v512 first = v512_pinned(v512_load(terms)), second = v512_pinned(v512_load(terms + 64));
            for (int c = 0; c < n; c++)
                total[r][c] = dot_both(total[r][c], weights[c], first, second);
        }
    }
    for (int r = 0; n == 4 && r < m; r++)
        v512_four_sums_s32(total[r][0], total[r][1], total[r][2], total[r][3], sums + r * QNN_DOT_COLUMNS);
    for (int r = 0; n == 2 && r < m; r += 2) { /* m is even then */
        int32_t four[4];
        v512_four_sums_s32(total[r][0], total[r][1], total[r + 1][0], total[r + 1][1], four);
        memcpy(sums + r * QNN_DOT_COLUMNS, four, 8);
        memcpy(sums + (r + 1) * QNN_DOT_COLUMNS, four + 2, 8);
    }
}

QNN_AVX512 static void dots_vnni(const int8_t *a, int64_t a_stride, int64_t m, const uint8_t *const *columns,
                                 int64_t blocks, int32_t *sums)
{
    int64_t r = 0;
    for (; m - r >= 8; r += 8)
        for (int c = 0; c < QNN_DOT_COLUMNS; c += 2)
            tile(8, 2, a + r * a_stride, a_stride, columns + c, blocks, sums + r * QNN_DOT_COLUMNS + c);
    for (; m - r >= 4; r += 4)
        tile(4, 4, a + r * a_stride, a_stride, columns, blocks, sums + r * QNN_DOT_COLUMNS);
    for (; m - r >= 2; r += 2)
        tile(2, 4, a + r * a_stride, a_stride, columns, blocks, sums + r * QNN_DOT_COLUMNS);
    if (m - r)
        v512_four_sums_s32(one(a + r * a_stride, columns[0], blocks), one(a + r * a_stride, columns[1], blocks),
                           one(a + r * a_stride, columns[2], blocks), one(a + r * a_stride, columns[3], blocks),
                           sums + r * QNN_DOT_COLUMNS);
}

/* 64 bytes, 128 codes, through a table of sixteen. */
QNN_AVX512 void qnn_decode4_vnni(const uint8_t *packed, int64_t n, int8_t *weights)
{
    static const int8_t of_codes[16] = {QNN_WEIGHTS_OF_CODES4};
    const int32_t low = 0x0F0F0F0F;
    const v512 table = v512_spread128(of_codes), mask = v512_spread32(&low);
    int64_t i = 0;
    for (; i + 128 <= n; i += 128) {
        const v512 both = v512_load(packed + i / 2);
        const v512 even = v512_table_u8(table, v512_and(both, mask));
        const v512 odd = v512_table_u8(table, v512_and(v512_shift_right_u16(both, 4), mask));
        v512_store_turns_u8(even, odd, weights + i);
    }
    qnn_decode4_plain(packed + i / 2, n - i, weights + i);
}

const qnn_codes *qnn_codes_vnni(void)
{
    static const qnn_codes codes = {128, ROWS, 32, dots_vnni};
    return &codes;
}

#endif
