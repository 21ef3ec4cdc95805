/* The few 512-bit steps that the kernels use, as intrinsics or, with QNN_EMULATE, as plain C of the same meaning. */
#ifndef QNN_VECTOR512_H
#define QNN_VECTOR512_H

#include <string.h>

#include "qnn_cpu.h"

/* Before a loop with a constant number of turns whose vectors must stay in registers: a compiler that leaves it a loop
   keeps them in memory. */
#if defined(__clang__)
#define QNN_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define QNN_UNROLL _Pragma("GCC unroll 32")
#else
#define QNN_UNROLL
#endif

#if QNN_HAS_VNNI
#if defined(QNN_EMULATE)
#include "qnn_emulate.h"
#else
#include <immintrin.h>

typedef __m512i v512;

QNN_AVX512_INLINE v512 v512_zero(void) { return _mm512_setzero_si512(); }
QNN_AVX512_INLINE v512 v512_load(const void *p) { return _mm512_loadu_si512(p); }
QNN_AVX512_INLINE void v512_store(void *p, v512 v) { _mm512_storeu_si512(p, v); }
QNN_AVX512_INLINE v512 v512_add_s32(v512 a, v512 b) { return _mm512_add_epi32(a, b); }
QNN_AVX512_INLINE v512 v512_sub_s32(v512 a, v512 b) { return _mm512_sub_epi32(a, b); }
/* Four bytes at p, sixteen times. */
QNN_AVX512_INLINE v512 v512_spread32(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}
/* sum + the products of two pairs of int16, in every lane; does not saturate. */
QNN_AVX512_INLINE v512 v512_dot_s16(v512 sum, v512 a, v512 b) { return _mm512_dpwssd_epi32(sum, a, b); }
/* sum + the products of four uint8 (a) and four int8 (b), in every lane; does not saturate. */
QNN_AVX512_INLINE v512 v512_dot_u8s8(v512 sum, v512 a, v512 b) { return _mm512_dpbusd_epi32(sum, a, b); }
QNN_AVX512_INLINE v512 v512_and(v512 a, v512 b) { return _mm512_and_si512(a, b); }
QNN_AVX512_INLINE v512 v512_shift_right_u16(v512 a, const int bits) { return _mm512_srli_epi16(a, (unsigned)bits); }
/* Sixteen bytes at p, four times. */
QNN_AVX512_INLINE v512 v512_spread128(const void *p)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
/* table[index] for bytes; every sixteen have their own table, and no index is above 15. */
QNN_AVX512_INLINE v512 v512_table_u8(v512 table, v512 index) { return _mm512_shuffle_epi8(table, index); }
/* 128 bytes, of `even` and `odd` in turns. */
QNN_AVX512_INLINE void v512_store_turns_u8(v512 even, v512 odd, void *p)
{
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512i low = _mm512_unpacklo_epi8(even, odd), high = _mm512_unpackhi_epi8(even, odd);
    _mm512_storeu_si512(p, _mm512_permutex2var_epi64(low, first, high));
    _mm512_storeu_si512((char *)p + 64, _mm512_permutex2var_epi64(low, last, high));
}
/* The sums of the sixteen lanes of each. */
QNN_AVX512_INLINE void v512_four_sums_s32(v512 a, v512 b, v512 c, v512 d, int32_t sums[4])
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    _mm_storeu_si128((__m128i *)(void *)sums,
                     _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}
/* Nothing, but compilers take it for a change of the value: they then keep a sum in one register instead of copying
   it. */
QNN_AVX512_INLINE v512 v512_pinned(v512 v)
{
    __asm__("" : "+v"(v));
    return v;
}
/* --- for counts of bits --- */
#define QNN_AVX512_BITS_INLINE static inline __attribute__((always_inline)) QNN_AVX512_BITS
QNN_AVX512_INLINE v512 v512_xor(v512 a, v512 b) { return _mm512_xor_si512(a, b); }
/* Eight bytes at p, eight times. */
QNN_AVX512_INLINE v512 v512_spread64(const void *p)
{
    int64_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi64(word);
}
QNN_AVX512_INLINE v512 v512_add_s64(v512 a, v512 b) { return _mm512_add_epi64(a, b); }
/* n of 8 words, 1 <= n; zeros behind them. */
QNN_AVX512_INLINE v512 v512_load_words(const void *p, int64_t n)
{
    return _mm512_maskz_loadu_epi64((__mmask8)((1u << n) - 1), p);
}
QNN_AVX512_BITS_INLINE v512 v512_ones_u64(v512 a) { return _mm512_popcnt_epi64(a); }
/* The lower halves of eight lanes. */
QNN_AVX512_INLINE void v512_store_as_s32(void *p, v512 a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi64_epi32(a));
}
/* A hint; p may point anywhere. */
QNN_AVX512_INLINE void v512_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

#endif
#endif
#endif
