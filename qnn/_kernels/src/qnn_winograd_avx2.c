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

/* B applied to a column of four pixels. */
QNN_AVX2_INLINE void column(const int8_t *source, int64_t row, __m256i out[4])
{
    __m256i a = widen(source), b = widen(source + row), c = widen(source + 2 * row), d = widen(source + 3 * row);
    out[0] = _mm256_sub_epi16(a, c);
    out[1] = _mm256_add_epi16(b, c);
    out[2] = _mm256_sub_epi16(c, b);
    out[3] = _mm256_sub_epi16(b, d);
}

/* Neighbouring tiles share two columns of pixels, which stay in registers. */
QNN_AVX2 static void data_avx2(const int8_t *source, int64_t row, int64_t channels, int64_t tiles, int16_t *out)
{
    for (int64_t c = 0; c < channels; c += QNN_WINO_LANES) {
        __m256i k[4][4];
        const int8_t *from = source + c;
        int16_t *to = out + c;
        column(from, row, k[0]);
        column(from + channels, row, k[1]);
        for (int64_t t = 0; t < tiles; t++, to += QNN_WINO_POINTS * channels) {
            from += 2 * channels;
            column(from, row, k[2]);
            column(from + channels, row, k[3]);
            for (int y = 0; y < 4; y++) {
                store(to + 4 * y * channels, _mm256_sub_epi16(k[0][y], k[2][y]));
                store(to + (4 * y + 1) * channels, _mm256_add_epi16(k[1][y], k[2][y]));
                store(to + (4 * y + 2) * channels, _mm256_sub_epi16(k[2][y], k[1][y]));
                store(to + (4 * y + 3) * channels, _mm256_sub_epi16(k[1][y], k[3][y]));
                k[0][y] = k[2][y];
                k[1][y] = k[3][y];
            }
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
    for (int64_t t = 0; t < tiles; t++, sums += QNN_WINO_POINTS * QNN_PANEL, out += 2 * pixel) {
        result_eight(sums, row, pixel, out);
        result_eight(sums + 8, row, pixel, out + 8);
    }
}

const struct qnn_winograd qnn_winograd_avx2 = {data_avx2, weights_avx2, result_avx2};

#endif
