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

#endif
#endif
#endif
