/* Signs of numbers as bits by the movemask instructions of AVX2. */
#include <string.h>

#include "qnn_cpu.h"
#include "qnn_elem.h"
#include "qnn_xnor.h"

#if QNN_X86
#include <immintrin.h>

/* 32 signs of int8: the mask has the sign bits, which are 1 for negative numbers. */
QNN_AVX2_INLINE uint32_t signs_s8(const int8_t *x)
{
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(const void *)x));
}

QNN_AVX2_INLINE uint32_t signs_s16(const int16_t *x)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)x);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(x + 16));
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xD8));
}

QNN_AVX2_INLINE uint32_t signs_s32(const int32_t *x)
{
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(x + 8 * i));
        bits |= ((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(v)) ^ 0xFFu) << 8 * i;
    }
    return bits;
}

/* From the bits of float32: 1 unless negative, and -0 is not negative. NaN, whose magnitude is above infinity, is
   reported. */
QNN_AVX2_INLINE uint32_t signs_f32(const float *x, __m256i *nan)
{
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++) {
        __m256i v = _mm256_castps_si256(_mm256_loadu_ps(x + 8 * i));
        __m256i minus_zero = _mm256_cmpeq_epi32(v, _mm256_set1_epi32(INT32_MIN));
        __m256i size = _mm256_and_si256(v, _mm256_set1_epi32(INT32_MAX));
        *nan = _mm256_or_si256(*nan, _mm256_cmpgt_epi32(size, _mm256_set1_epi32(0x7F800000)));
        bits |= ((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(minus_zero, v))) ^ 0xFFu)
                << 8 * i;
    }
    return bits;
}

/* 64 signs. */
QNN_AVX2_INLINE uint64_t pack_word(const void *x, int type, __m256i *nan)
{
    const int64_t size = type == QNN_PACK_F32 ? 4 : type;
    uint64_t word = 0;
    for (int half = 0; half < 2; half++) {
        const void *at = (const char *)x + 32 * half * size;
        uint32_t bits = type == QNN_PACK_S8    ? signs_s8((const int8_t *)at)
                        : type == QNN_PACK_S16 ? signs_s16((const int16_t *)at)
                        : type == QNN_PACK_S32 ? signs_s32((const int32_t *)at)
                                               : signs_f32((const float *)at, nan);
        word |= (uint64_t)bits << 32 * half;
    }
    return word;
}

QNN_AVX2 int64_t qnn_pack_row_avx2(const void *x, int type, int64_t n, uint64_t *words)
{
    const int64_t size = type == QNN_PACK_F32 ? 4 : type, whole = n / 64, rest = n % 64;
    __m256i nan = _mm256_setzero_si256();
    for (int64_t w = 0; w < whole; w++)
        words[w] = pack_word((const char *)x + 64 * w * size, type, &nan);
    if (rest) {
        char last[64 * 4] = {0};
        memcpy(last, (const char *)x + 64 * whole * size, (size_t)(rest * size));
        words[whole] = pack_word(last, type, &nan) & (((uint64_t)1 << rest) - 1);
    }
    return !_mm256_testz_si256(nan, nan);
}

#else

int64_t qnn_pack_row_avx2(const void *x, int type, int64_t n, uint64_t *words)
{
    return qnn_pack_row(x, type, n, words);
}

#endif
