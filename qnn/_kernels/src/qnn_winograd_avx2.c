/* Winograd's transforms with AVX2: 16 channels at a time as int16, 8 as int32. */
#include "qnn_cpu.h"
#include "qnn_winograd.h"

#if QNN_X86
#include <immintrin.h>

QNN_AVX2_INLINE __m256i widen(const int8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}
QNN_AVX2_INLINE __m256i load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
QNN_AVX2_INLINE void store(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

/* The same with channels 0-3, 8-11, 4-7, 12-15, so that unpacking two of these gives pairs in order. */
QNN_AVX2_INLINE __m256i widen_apart(const int8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)p), 0xD8));
}

/* 16 pairs of two results of widen_apart. */
QNN_AVX2_INLINE void store_pairs(int16_t *to, __m256i first, __m256i second)
{
    store(to, _mm256_unpacklo_epi16(first, second));
    store(to + 16, _mm256_unpackhi_epi16(first, second));
}

/* Where row y of B takes its two pixels of a column from: row 1 adds them, the others subtract the second. */
static const int FIRST[4] = {0, 1, 2, 1}, SECOND[4] = {2, 2, 1, 3};

/* One row of B applied to a column. `add` and `apart` are constants at every call. */
QNN_AVX2_INLINE __m256i column(const int8_t *first, const int8_t *second, int add, int apart)
{
    __m256i a = apart ? widen_apart(first) : widen(first), b = apart ? widen_apart(second) : widen(second);
    return add ? _mm256_add_epi16(a, b) : _mm256_sub_epi16(a, b);
}

/* The four points of one row of B and the tile whose third column is at first and second; k holds its first two
   columns and then those of the next tile. One row of B at a time needs few enough registers to stay in them. */
QNN_AVX2_INLINE void row_points(const int8_t *first, const int8_t *second, int64_t channels, int add, int apart,
                                __m256i k[2], __m256i point[4])
{
    __m256i third = column(first, second, add, apart), fourth = column(first + channels, second + channels, add, apart);
    point[0] = _mm256_sub_epi16(k[0], third);
    point[1] = _mm256_add_epi16(k[1], third);
    point[2] = _mm256_sub_epi16(third, k[1]);
    point[3] = _mm256_sub_epi16(k[1], fourth);
    k[0] = third;
    k[1] = fourth;
}

QNN_AVX2_INLINE void data_row(const int8_t *first, const int8_t *second, int64_t channels, int64_t tiles, int add,
                              int16_t *out)
{
    __m256i k[2] = {column(first, second, add, 0), column(first + channels, second + channels, add, 0)}, point[4];
    for (int64_t t = 0; t < tiles; t++, out += qnn_wino_tile(channels)) {
        first += 2 * channels;
        second += 2 * channels;
        row_points(first, second, channels, add, 0, k, point);
        for (int x = 0; x < 4; x++)
            store(out + x * channels, point[x]);
    }
}

QNN_AVX2 static void data_avx2(const int8_t *source, int64_t row, int64_t channels, int64_t tiles, int16_t *out)
{
    for (int64_t c = 0; c < channels; c += QNN_WINO_LANES)
        for (int y = 0; y < 4; y++) {
            const int8_t *first = source + FIRST[y] * row + c, *second = source + SECOND[y] * row + c;
            if (y == 1)
                data_row(first, second, channels, tiles, 1, out + 4 * y * channels + c);
            else
                data_row(first, second, channels, tiles, 0, out + 4 * y * channels + c);
        }
}

QNN_AVX2_INLINE void data_pairs_row(const int8_t *first, const int8_t *second, int64_t channels, int64_t pairs, int add,
                                    int64_t stride, int16_t *out)
{
    __m256i k[2] = {column(first, second, add, 1), column(first + channels, second + channels, add, 1)};
    __m256i even[4], odd[4];
    for (int64_t pair = 0; pair < pairs; pair++, out += stride) {
        row_points(first + 2 * channels, second + 2 * channels, channels, add, 1, k, even);
        first += 4 * channels;
        second += 4 * channels;
        row_points(first, second, channels, add, 1, k, odd);
        for (int x = 0; x < 4; x++)
            store_pairs(out + x * channels * 2, even[x], odd[x]);
    }
}

QNN_AVX2 static void data_pairs_avx2(const int8_t *source, int64_t row, int64_t channels, int64_t pairs,
                                     int64_t stride, int16_t *out)
{
    for (int64_t c = 0; c < channels; c += QNN_WINO_LANES)
        for (int y = 0; y < 4; y++) {
            const int8_t *first = source + FIRST[y] * row + c, *second = source + SECOND[y] * row + c;
            int16_t *to = out + (4 * y * channels + c) * 2;
            if (y == 1)
                data_pairs_row(first, second, channels, pairs, 1, stride, to);
            else
                data_pairs_row(first, second, channels, pairs, 0, stride, to);
        }
}

/* G2 applied to two numbers. */
QNN_AVX2_INLINE void grad_points(__m256i first, __m256i second, __m256i out[4])
{
    out[0] = _mm256_add_epi16(first, first);
    out[1] = _mm256_add_epi16(first, second);
    out[2] = _mm256_sub_epi16(first, second);
    out[3] = _mm256_add_epi16(second, second);
}

QNN_AVX2 static void grad_pairs_avx2(const int8_t *source, int64_t row, int64_t channels, int64_t pairs,
                                     int64_t point_stride, int64_t panel_stride, int16_t *out)
{
    for (int64_t c = 0; c < channels; c += QNN_PANEL, out += panel_stride)
        for (int64_t pair = 0; pair < pairs; pair++) {
            const int8_t *from = source + c + 4 * pair * channels;
            int16_t *to = out + pair * 2 * QNN_PANEL;
            __m256i half[4][4], first[4], second[4];
            for (int x = 0; x < 4; x++, from += channels)
                grad_points(widen_apart(from), widen_apart(from + row), half[x]);
            for (int y = 0; y < 4; y++) {
                grad_points(half[0][y], half[1][y], first);
                grad_points(half[2][y], half[3][y], second);
                for (int x = 0; x < 4; x++)
                    store_pairs(to + (4 * y + x) * point_stride, first[x], second[x]);
            }
        }
}

/* G applied to three numbers. */
QNN_AVX2_INLINE void weight_points(__m256i first, __m256i second, __m256i third, __m256i out[4])
{
    __m256i outer = _mm256_add_epi16(first, third);
    out[0] = _mm256_add_epi16(first, first);
    out[1] = _mm256_add_epi16(outer, second);
    out[2] = _mm256_sub_epi16(outer, second);
    out[3] = _mm256_add_epi16(third, third);
}

QNN_AVX2 static void weights_avx2(const int8_t *const taps[9], int16_t *out)
{
    __m256i half[3][4], point[4];
    for (int y = 0; y < 3; y++)
        weight_points(widen(taps[3 * y]), widen(taps[3 * y + 1]), widen(taps[3 * y + 2]), half[y]);
    for (int x = 0; x < 4; x++) {
        weight_points(half[0][x], half[1][x], half[2][x], point);
        for (int y = 0; y < 4; y++)
            store(out + (4 * y + x) * QNN_WINO_LANES, point[y]);
    }
}

/* One point of `count` tiles, whose data lie `stride` elements apart; count is a constant, so that the sums stay in
   registers. */
QNN_AVX2_INLINE void point_products(const int count, const int16_t *data, int64_t stride, const int16_t *packed,
                                    int64_t pairs, int32_t *sums)
{
    __m256i total[QNN_TILE_ROWS][2];
    for (int t = 0; t < count; t++)
        total[t][0] = total[t][1] = _mm256_setzero_si256();
    const int16_t *end = packed + pairs * 2 * QNN_PANEL, *second = count > 3 ? data + 3 * stride : data;
#pragma GCC unroll 2
    for (; packed < end; packed += 2 * QNN_PANEL, data += 2, second += 2) {
        __m256i low = _mm256_load_si256((const __m256i *)(const void *)packed);
        __m256i high = _mm256_load_si256((const __m256i *)(const void *)(packed + QNN_PANEL));
        for (int t = 0; t < count; t++) {
            int32_t pair;
            memcpy(&pair, t < 3 ? data + t * stride : second + (t - 3) * stride, sizeof pair);
            __m256i both = _mm256_set1_epi32(pair);
            total[t][0] = _mm256_add_epi32(total[t][0], _mm256_madd_epi16(both, low));
            total[t][1] = _mm256_add_epi32(total[t][1], _mm256_madd_epi16(both, high));
        }
    }
    for (int t = 0; t < count; t++, sums += QNN_WINO_SUMS) {
        store(sums, total[t][0]);
        store(sums + 8, total[t][1]);
    }
}

#define REST(n)                                             \
    case n:                                                 \
        point_products(n, rest, stride, packed, pairs, to); \
        break

QNN_AVX2 static void products_avx2(const int16_t *data, int64_t channels, int64_t pairs, const int16_t *packed,
                                   int64_t tiles, int32_t *sums)
{
    const int64_t stride = qnn_wino_tile(channels);
    for (int point = 0; point < QNN_WINO_POINTS; point++) {
        int64_t t = 0;
        for (; t + QNN_TILE_ROWS <= tiles; t += QNN_TILE_ROWS)
            point_products(QNN_TILE_ROWS, data + t * stride, stride, packed, pairs, sums + t * QNN_WINO_SUMS);
        const int16_t *rest = data + t * stride;
        int32_t *to = sums + t * QNN_WINO_SUMS;
        switch (tiles - t) {
            REST(1);
            REST(2);
            REST(3);
            REST(4);
            REST(5);
        default:
            break;
        }
        data += channels;
        packed += pairs * 2 * QNN_PANEL;
        sums += QNN_PANEL;
    }
}

/* Eight columns of one tile; additions wrap, and only the last value has to fit. */
QNN_AVX2_INLINE void result_eight(const int32_t *m, int64_t row, int64_t pixel, int32_t *out)
{
    __m256i half[2][4];
    for (int x = 0; x < 4; x++, m += QNN_PANEL) {
        __m256i m1 = load(m + 4 * QNN_PANEL), m2 = load(m + 8 * QNN_PANEL);
        half[0][x] = _mm256_add_epi32(_mm256_add_epi32(load(m), m1), m2);
        half[1][x] = _mm256_sub_epi32(_mm256_sub_epi32(m1, m2), load(m + 12 * QNN_PANEL));
    }
    for (int y = 0; y < 2; y++) {
        __m256i *h = half[y];
        __m256i left = _mm256_add_epi32(_mm256_add_epi32(h[0], h[1]), h[2]);
        __m256i right = _mm256_sub_epi32(_mm256_sub_epi32(h[1], h[2]), h[3]);
        store(out + y * row, _mm256_srai_epi32(left, 2));
        store(out + y * row + pixel, _mm256_srai_epi32(right, 2));
    }
}

QNN_AVX2 static void result_avx2(const int32_t *sums, int64_t tiles, int64_t row, int64_t pixel, int32_t *out)
{
    for (int64_t t = 0; t < tiles; t++, sums += QNN_WINO_SUMS, out += 2 * pixel) {
        result_eight(sums, row, pixel, out);
        result_eight(sums + 8, row, pixel, out + 8);
    }
}

const struct qnn_winograd qnn_winograd_avx2 = {data_avx2,   weights_avx2,    products_avx2,
                                              result_avx2, data_pairs_avx2, grad_pairs_avx2};

#endif
