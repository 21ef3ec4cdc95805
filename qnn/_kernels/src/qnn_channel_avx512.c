/* Sums per channel of int8 with the dot products of bytes that VNNI has: four rows at a time, 64 columns side by side. */
#include "qnn_channel.h"

#if QNN_HAS_LANES512
#include "qnn_intrinsics512.h"

/* Interleaves four rows, so that each lane of 32 bits has four rows of one column. Lane j of vector k is then column
   16 * (j / 4) + 4 * k + j % 4. */
QNN_AVX512_INLINE void four_rows(const int8_t *from, int64_t stride, __m512i out[4])
{
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + stride);
    const __m512i c = _mm512_loadu_si512(from + 2 * stride), d = _mm512_loadu_si512(from + 3 * stride);
    const __m512i ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);
    const __m512i ab2 = _mm512_unpackhi_epi8(a, b), cd2 = _mm512_unpackhi_epi8(c, d);
    out[0] = _mm512_unpacklo_epi16(ab, cd);
    out[1] = _mm512_unpackhi_epi16(ab, cd);
    out[2] = _mm512_unpacklo_epi16(ab2, cd2);
    out[3] = _mm512_unpackhi_epi16(ab2, cd2);
}

/* y is made unsigned by adding 128, which adds 128 times the sum to each dot: taken back at the end. */
QNN_AVX512 void qnn_columns_avx512(const int8_t *x, const int8_t *y, int64_t stride, int64_t count,
                                   int32_t sum[QNN_COLUMNS512], int32_t dot[QNN_COLUMNS512])
{
    const __m512i ones = _mm512_set1_epi8(1), sign = _mm512_set1_epi8(-128);
    __m512i sums[4], dots[4];
    for (int k = 0; k < 4; k++)
        sums[k] = dots[k] = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i++, x += 4 * stride, y += 4 * stride) {
        __m512i xs[4], ys[4];
        four_rows(x, stride, xs);
        four_rows(y, stride, ys);
        for (int k = 0; k < 4; k++) {
            sums[k] = _mm512_dpbusd_epi32(sums[k], ones, xs[k]);
            dots[k] = _mm512_dpbusd_epi32(dots[k], _mm512_xor_si512(ys[k], sign), xs[k]);
        }
    }
    for (int k = 0; k < 4; k++) {
        int32_t s[16], d[16];
        _mm512_storeu_si512(s, sums[k]);
        _mm512_storeu_si512(d, dots[k]);
        for (int j = 0; j < 16; j++) {
            const int column = j / 4 * 16 + 4 * k + j % 4;
            sum[column] = s[j];
            dot[column] = d[j] - 128 * s[j];
        }
    }
}

#else /* never asked for */

void qnn_columns_avx512(const int8_t *x, const int8_t *y, int64_t stride, int64_t count, int32_t sum[QNN_COLUMNS512],
                        int32_t dot[QNN_COLUMNS512])
{
    (void)x, (void)y, (void)stride, (void)count, (void)sum, (void)dot;
}

#endif
