/* Packed 4-bit power-of-two codes with AVX2: decoded by a table of sixteen and multiplied as bytes. */
#include "qnn_cpu.h"
#include "qnn_gemm.h"
#include "qnn_gemm_pack.h"

#if QNN_X86
#include <immintrin.h>

enum { AHEAD = 8192 }; /* bytes: what the loads of some 100 ns bring; may lie behind the end */

QNN_AVX2_INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* The sums of eight lanes of four vectors. */
QNN_AVX2_INLINE __m128i four_sums(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

/* sum + the products of 32 bytes. pmaddubsw cannot saturate here: a weight is at most 128 (its bias included), so a
   pair of products lies between 2 * 128 * -128 = -2^15 and 2 * 128 * 127. */
QNN_AVX2_INLINE __m256i dot(__m256i sum, __m256i weights, const int8_t *a)
{
    __m256i pairs = _mm256_maddubs_epi16(weights, load256(a));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* 64 codes: the weights of the even ones, then those of the odd ones; `ahead` bytes further codes are fetched. */
QNN_AVX2_INLINE void decode(const uint8_t *codes, int64_t ahead, __m256i weights[2])
{
    const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(QNN_BIASED_WEIGHTS_OF_CODES4));
    const __m256i mask = _mm256_set1_epi8(15), both = load256(codes);
    _mm_prefetch((const char *)codes + ahead, _MM_HINT_T0);
    weights[0] = _mm256_shuffle_epi8(table, _mm256_and_si256(both, mask));
    weights[1] = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(both, 4), mask));
}

/* One row by one column: so the codes are read in one stream, which the prefetchers of the processor like best. */
QNN_AVX2_INLINE __m256i one(const int8_t *a, const uint8_t *codes, int64_t blocks)
{
    __m256i even = _mm256_setzero_si256(), odd = even, weights[2];
    for (int64_t i = 0; i < blocks; i++, a += 64, codes += 32) {
        decode(codes, AHEAD, weights);
        even = dot(even, weights[0], a);
        odd = dot(odd, weights[1], a + 32);
    }
    return _mm256_add_epi32(even, odd);
}

/* m rows by two columns; m is a constant at every call, so the sums live in registers. */
QNN_AVX2_INLINE void tile(const int m, const int8_t *a, int64_t a_stride, const uint8_t *const *columns, int64_t blocks,
                          int32_t *sums)
{
    const int64_t ahead = 2 * (columns[1] - columns[0]); /* the columns after these */
    __m256i total[4][2], weights[2];
    for (int r = 0; r < m; r++)
        total[r][0] = total[r][1] = _mm256_setzero_si256();
    for (int64_t i = 0; i < blocks; i++)
        for (int c = 0; c < 2; c++) {
            decode(columns[c] + 32 * i, ahead, weights);
            for (int r = 0; r < m; r++) {
                const int8_t *terms = a + r * a_stride + 64 * i;
                total[r][c] = dot(dot(total[r][c], weights[0], terms), weights[1], terms + 32);
            }
        }
    for (int r = 0; r < m; r++)
        _mm_storel_epi64((__m128i *)(void *)(sums + r * QNN_DOT_COLUMNS),
                         four_sums(total[r][0], total[r][1], total[r][0], total[r][1]));
}

QNN_AVX2 static void dots_avx2(const int8_t *a, int64_t a_stride, int64_t m, const uint8_t *const *columns,
                               int64_t blocks, int32_t *sums)
{
    if (m == 1) {
        __m256i first = one(a, columns[0], blocks), second = one(a, columns[1], blocks);
        __m256i third = one(a, columns[2], blocks), fourth = one(a, columns[3], blocks);
        _mm_storeu_si128((__m128i *)(void *)sums, four_sums(first, second, third, fourth));
        return;
    }
    for (int c = 0; c < QNN_DOT_COLUMNS; c += 2)
        if (m == 2)
            tile(2, a, a_stride, columns + c, blocks, sums + c);
        else if (m == 3)
            tile(3, a, a_stride, columns + c, blocks, sums + c);
        else
            tile(4, a, a_stride, columns + c, blocks, sums + c);
}

/* Sixteen bytes, 32 codes, through a table of sixteen. */
QNN_AVX2 void qnn_decode4_avx2(const uint8_t *packed, int64_t n, int8_t *weights)
{
    const __m128i table = _mm_setr_epi8(QNN_WEIGHTS_OF_CODES4), mask = _mm_set1_epi8(15);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m128i both = _mm_loadu_si128((const __m128i *)(const void *)(packed + i / 2));
        __m128i even = _mm_shuffle_epi8(table, _mm_and_si128(both, mask));
        __m128i odd = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(both, 4), mask));
        _mm_storeu_si128((__m128i *)(void *)(weights + i), _mm_unpacklo_epi8(even, odd));
        _mm_storeu_si128((__m128i *)(void *)(weights + i + 16), _mm_unpackhi_epi8(even, odd));
    }
    qnn_decode4_plain(packed + i / 2, n - i, weights + i);
}

const qnn_codes qnn_codes_avx2 = {64, 4, 96, dots_avx2};

#endif
