/* Plain C in the place of the intrinsics of the elementwise steps (built with QNN_EMULATE=1 only, for tests). Each does
 * what the processor's manual says, for every operand: the kernels' own promises are left to their tests. What the
 * manual leaves undefined is filled with rubbish.
 *
 * The names are those of immintrin.h, so that the kernels read the same either way; a file includes one of the two. */
#ifndef QNN_EMULATE_LANES_H
#define QNN_EMULATE_LANES_H

#if defined(_IMMINTRIN_H_INCLUDED) || defined(__IMMINTRIN_H) || defined(_EMMINTRIN_H_INCLUDED) || defined(__EMMINTRIN_H)
#error "the processor's own intrinsics are included already"
#endif

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef union {
    uint8_t u8[64];
    int8_t s8[64];
    uint16_t u16[32];
    int16_t s16[32];
    uint32_t u32[16];
    int32_t s32[16];
    uint64_t u64[8];
} __m512i;

typedef struct {
    float lane[16];
} __m512;

typedef struct {
    uint8_t u8[32];
} __m256i;

typedef union {
    uint8_t u8[16];
    uint64_t u64[2];
} __m128i;

typedef uint16_t __mmask16;
typedef uint32_t __mmask32;
typedef uint64_t __mmask64;

enum { _MM_HINT_T0 = 3, _MM_HINT_T1 = 2, _CMP_EQ_OQ = 0, _CMP_NEQ_UQ = 4 };
enum { _MM_FROUND_TO_NEG_INF = 1, _MM_FROUND_TO_POS_INF = 2, _MM_FROUND_NO_EXC = 8 };
enum { _MM_PERM_CCAA = 0xA0, _MM_PERM_DDBB = 0xF5 }; /* two bits a lane, the first lane's lowest; A is 0 */

QNN_EMULATED_STEP void qnn_lanes_require(int holds)
{
    if (!holds)
        __builtin_trap(); /* an operand that this file does not know */
}

/* --- memory: any alignment --- */

QNN_EMULATED_STEP void _mm_prefetch(const void *p, int hint) { (void)p, (void)hint; }

/* Defines name(p) and store(p, v). */
#define QNN_MEMORY(type, load, store)             \
    QNN_EMULATED_STEP type load(const void *p)    \
    {                                             \
        type v;                                   \
        memcpy(&v, p, sizeof v);                  \
        return v;                                 \
    }                                             \
    QNN_EMULATED_STEP void store(void *p, type v) \
    {                                             \
        memcpy(p, &v, sizeof v);                  \
    }

QNN_MEMORY(__m128i, _mm_loadu_si128, _mm_storeu_si128)
QNN_MEMORY(__m256i, _mm256_loadu_si256, _mm256_storeu_si256)
QNN_MEMORY(__m512i, _mm512_loadu_si512, _mm512_storeu_si512)
QNN_MEMORY(__m512, _mm512_loadu_ps, _mm512_storeu_ps)

/* --- constants --- */

/* Defines name(arguments): every lane of `part` is `value`. */
#define QNN_FILL(type, name, argument, part, lanes, value) \
    QNN_EMULATED_STEP type name(argument)                  \
    {                                                      \
        type v;                                            \
        for (int i = 0; i < (lanes); i++)                  \
            v.part[i] = (value);                           \
        return v;                                          \
    }

QNN_FILL(__m512i, _mm512_set1_epi8, int8_t a, s8, 64, a)
QNN_FILL(__m512i, _mm512_set1_epi16, int16_t a, s16, 32, a)
QNN_FILL(__m512i, _mm512_set1_epi32, int32_t a, s32, 16, a)
QNN_FILL(__m512i, _mm512_set1_epi64, int64_t a, u64, 8, (uint64_t)a)
QNN_FILL(__m512, _mm512_set1_ps, float a, lane, 16, a)
QNN_FILL(__m512, _mm512_setzero_ps, void, lane, 16, 0.0f)
QNN_FILL(__m512i, _mm512_setzero_si512, void, u64, 8, 0)

QNN_EMULATED_STEP __m512i _mm512_setr_epi32(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f, int32_t g,
                                        int32_t h, int32_t i, int32_t j, int32_t k, int32_t l, int32_t m, int32_t n,
                                        int32_t o, int32_t p)
{
    __m512i v = {.s32 = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p}};
    return v;
}

QNN_EMULATED_STEP __m512i _mm512_setr_epi64(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g,
                                        int64_t h)
{
    __m512i v = {.u64 = {(uint64_t)a, (uint64_t)b, (uint64_t)c, (uint64_t)d, (uint64_t)e, (uint64_t)f, (uint64_t)g,
                         (uint64_t)h}};
    return v;
}

/* --- lane by lane --- */

/* Defines name(a, b): lane i of `part` is `value`, which sees a, b and i. */
#define QNN_LANES(name, part, lanes, value)              \
    QNN_EMULATED_STEP __m512i name(__m512i a, __m512i b) \
    {                                                    \
        __m512i v;                                       \
        for (int i = 0; i < (lanes); i++)                \
            v.part[i] = (value);                         \
        return v;                                        \
    }

QNN_LANES(_mm512_add_epi8, u8, 64, (uint8_t)(a.u8[i] + b.u8[i]))
QNN_LANES(_mm512_add_epi16, u16, 32, (uint16_t)(a.u16[i] + b.u16[i]))
QNN_LANES(_mm512_add_epi32, u32, 16, a.u32[i] + b.u32[i])
QNN_LANES(_mm512_add_epi64, u64, 8, a.u64[i] + b.u64[i])
QNN_LANES(_mm512_sub_epi8, u8, 64, (uint8_t)(a.u8[i] - b.u8[i]))
QNN_LANES(_mm512_and_si512, u64, 8, a.u64[i] & b.u64[i])
QNN_LANES(_mm512_xor_si512, u64, 8, a.u64[i] ^ b.u64[i])
QNN_LANES(_mm512_max_epi16, s16, 32, a.s16[i] > b.s16[i] ? a.s16[i] : b.s16[i])
QNN_LANES(_mm512_min_epi16, s16, 32, a.s16[i] < b.s16[i] ? a.s16[i] : b.s16[i])
QNN_LANES(_mm512_min_epi32, s32, 16, a.s32[i] < b.s32[i] ? a.s32[i] : b.s32[i])
QNN_LANES(_mm512_mullo_epi16, u16, 32, (uint16_t)(a.s16[i] * b.s16[i]))
QNN_LANES(_mm512_mul_epu32, u64, 8, (a.u64[i] & UINT32_MAX) * (b.u64[i] & UINT32_MAX)) /* the even lanes of 32 bits */

/* Four bytes without sign times four with one, added without saturation. */
QNN_EMULATED_STEP __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b)
{
    for (int i = 0; i < 64; i++)
        sum.u32[i / 4] += (uint32_t)(a.u8[i] * b.s8[i]);
    return sum;
}

/* Bit by bit entry 4 a + 2 b + c of the truth table. */
QNN_EMULATED_STEP __m512i _mm512_ternarylogic_epi64(__m512i a, __m512i b, __m512i c, int table)
{
    __m512i v;
    for (int i = 0; i < 8; i++) {
        v.u64[i] = 0;
        for (int entry = 0; entry < 8; entry++)
            if (table >> entry & 1)
                v.u64[i] |= (entry & 4 ? a.u64[i] : ~a.u64[i]) & (entry & 2 ? b.u64[i] : ~b.u64[i]) &
                            (entry & 1 ? c.u64[i] : ~c.u64[i]);
    }
    return v;
}

/* --- shifts: a count as wide as the lane or wider leaves zeros, or signs --- */

/* Defines name(a, count) and each(a, counts), whose counts are lanes: lane i of `part` is `value`, which sees x, the lane,
   and by, at most the width less 1, and is `beyond` for higher counts. */
#define QNN_SHIFT(name, each, lane_type, part, lanes, value, beyond)                     \
    static inline lane_type name##_lane(const lane_type x, uint64_t count)               \
    {                                                                                    \
        const uint64_t last = 512 / (lanes) - 1;                                         \
        const int by = (int)(count < last ? count : last);                               \
        return count > last ? (lane_type)(beyond) : (lane_type)(value);                  \
    }                                                                                    \
    QNN_EMULATED_STEP __m512i name(__m512i a, unsigned count)                            \
    {                                                                                    \
        __m512i v;                                                                       \
        for (int i = 0; i < (lanes); i++)                                                \
            v.part[i] = name##_lane(a.part[i], (uint8_t)count);                          \
        return v;                                                                        \
    }                                                                                    \
    QNN_EMULATED_STEP __m512i each(__m512i a, __m512i counts)                            \
    {                                                                                    \
        __m512i v;                                                                       \
        for (int i = 0; i < (lanes); i++)                                                \
            v.part[i] = name##_lane(a.part[i], (lanes) == 32 ? counts.u16[i] : counts.u32[i]); \
        return v;                                                                        \
    }

QNN_SHIFT(_mm512_slli_epi16, _mm512_sllv_epi16, uint16_t, u16, 32, (uint32_t)x << by, 0)
QNN_SHIFT(_mm512_srli_epi16, _mm512_srlv_epi16, uint16_t, u16, 32, x >> by, 0)
QNN_SHIFT(_mm512_srli_epi32, _mm512_srlv_epi32, uint32_t, u32, 16, x >> by, 0)
QNN_SHIFT(_mm512_srai_epi16, _mm512_srav_epi16, int16_t, s16, 32, x >> by, x < 0 ? -1 : 0)
QNN_SHIFT(_mm512_srai_epi32, _mm512_srav_epi32, int32_t, s32, 16, x >> by, x < 0 ? -1 : 0)

/* --- comparisons: bit i of the mask is lane i's --- */

/* Defines name(a, b): bit i is whether `holds`. */
#define QNN_COMPARE(name, mask, lanes, holds)         \
    QNN_EMULATED_STEP mask name(__m512i a, __m512i b) \
    {                                                 \
        mask found = 0;                               \
        for (int i = 0; i < (lanes); i++)             \
            found |= (mask)((mask)(holds) << i);      \
        return found;                                 \
    }

QNN_COMPARE(_mm512_cmpgt_epu8_mask, __mmask64, 64, a.u8[i] > b.u8[i])
QNN_COMPARE(_mm512_cmpge_epu8_mask, __mmask64, 64, a.u8[i] >= b.u8[i])
QNN_COMPARE(_mm512_cmpneq_epi16_mask, __mmask32, 32, a.u16[i] != b.u16[i])
QNN_COMPARE(_mm512_testn_epi8_mask, __mmask64, 64, (a.u8[i] & b.u8[i]) == 0)

QNN_EMULATED_STEP __mmask64 _mm512_movepi8_mask(__m512i a)
{
    __mmask64 signs = 0;
    for (int i = 0; i < 64; i++)
        signs |= (__mmask64)(a.u8[i] >> 7) << i;
    return signs;
}

/* The lower halves of two masks, the second one's below. */
QNN_EMULATED_STEP __mmask32 _mm512_kunpackw(__mmask32 a, __mmask32 b) { return a << 16 | (b & UINT16_MAX); }
QNN_EMULATED_STEP __mmask64 _mm512_kunpackd(__mmask64 a, __mmask64 b) { return a << 32 | (b & UINT32_MAX); }

/* --- lanes change places --- */

QNN_LANES(_mm512_permutexvar_epi32, u32, 16, b.u32[a.u32[i] & 15]) /* (index, from) */

/* Defines name(a, index, b): lane i is that of a and b, one behind the other, whose number index names. */
#define QNN_PERMUTE(name, part, lanes)                                                            \
    QNN_EMULATED_STEP __m512i name(__m512i a, __m512i index, __m512i b)                           \
    {                                                                                             \
        __m512i v;                                                                                \
        for (int i = 0; i < (lanes); i++)                                                         \
            v.part[i] = (index.part[i] & (lanes) ? &b : &a)->part[index.part[i] & ((lanes) - 1)]; \
        return v;                                                                                 \
    }

QNN_PERMUTE(_mm512_permutex2var_epi8, u8, 64)
QNN_PERMUTE(_mm512_permutex2var_epi64, u64, 8)

/* The following stay within blocks of 128 bits. */
QNN_LANES(_mm512_unpacklo_epi8, u8, 64, (i % 2 ? &b : &a)->u8[i / 16 * 16 + i % 16 / 2])
QNN_LANES(_mm512_unpackhi_epi8, u8, 64, (i % 2 ? &b : &a)->u8[i / 16 * 16 + i % 16 / 2 + 8])
QNN_LANES(_mm512_unpacklo_epi16, u16, 32, (i % 2 ? &b : &a)->u16[i / 8 * 8 + i % 8 / 2])
QNN_LANES(_mm512_unpackhi_epi16, u16, 32, (i % 2 ? &b : &a)->u16[i / 8 * 8 + i % 8 / 2 + 4])

QNN_EMULATED_STEP __m512i _mm512_mask_shuffle_epi32(__m512i kept, __mmask16 which, __m512i a, int order)
{
    for (int i = 0; i < 16; i++)
        if (which >> i & 1)
            kept.u32[i] = a.u32[i / 4 * 4 + (order >> 2 * (i % 4) & 3)];
    return kept;
}

QNN_EMULATED_STEP __m512i _mm512_shuffle_epi32(__m512i a, int order)
{
    return _mm512_mask_shuffle_epi32(a, 0xFFFF, a, order);
}

QNN_EMULATED_STEP __m512i _mm512_mask_blend_epi8(__mmask64 which, __m512i a, __m512i b)
{
    for (int i = 0; i < 64; i++)
        if (which >> i & 1)
            a.u8[i] = b.u8[i];
    return a;
}

QNN_EMULATED_STEP __m512i _mm512_mask_broadcast_i32x4(__m512i kept, __mmask16 which, __m128i a)
{
    for (int i = 0; i < 16; i++)
        if (which >> i & 1)
            memcpy(&kept.u32[i], a.u8 + 4 * (i % 4), 4);
    return kept;
}

/* --- other widths --- */

QNN_EMULATED_STEP __m512i _mm512_castsi128_si512(__m128i a)
{
    __m512i v;
    memset(&v, 0x5B, sizeof v); /* nothing is promised of the upper lanes */
    memcpy(&v, &a, sizeof a);
    return v;
}

QNN_EMULATED_STEP __m128i _mm512_extracti32x4_epi32(__m512i a, int number)
{
    return _mm_loadu_si128(a.u8 + 16 * (number & 3));
}

QNN_EMULATED_STEP __m256i _mm512_extracti64x4_epi64(__m512i a, int number)
{
    return _mm256_loadu_si256(a.u8 + 32 * (number & 1));
}

QNN_EMULATED_STEP __m128i _mm512_castsi512_si128(__m512i a) { return _mm512_extracti32x4_epi32(a, 0); }
QNN_EMULATED_STEP __m256i _mm512_castsi512_si256(__m512i a) { return _mm512_extracti64x4_epi64(a, 0); }

/* Defines name(a): the lanes of a, of type `narrow`, as those of `part`. */
#define QNN_WIDEN(name, from, narrow, part, lanes) \
    QNN_EMULATED_STEP __m512i name(from a)         \
    {                                              \
        narrow lane[lanes];                        \
        __m512i v;                                 \
        memcpy(lane, &a, sizeof lane);             \
        for (int i = 0; i < (lanes); i++)          \
            v.part[i] = lane[i];                   \
        return v;                                  \
    }

QNN_WIDEN(_mm512_cvtepi8_epi16, __m256i, int8_t, s16, 32)
QNN_WIDEN(_mm512_cvtepi8_epi32, __m128i, int8_t, s32, 16)
QNN_WIDEN(_mm512_cvtepu8_epi16, __m256i, uint8_t, u16, 32)
QNN_WIDEN(_mm512_cvtepu16_epi32, __m256i, uint16_t, u32, 16)

QNN_EMULATED_STEP int32_t qnn_clip(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

/* Each block of 128 bits becomes 64, clipped: a's before b's, block by block. */
QNN_LANES(_mm512_packs_epi16, s8, 64,
          (int8_t)qnn_clip((i % 16 < 8 ? &a : &b)->s16[i / 16 * 8 + i % 8], INT8_MIN, INT8_MAX))
QNN_LANES(_mm512_packs_epi32, s16, 32,
          (int16_t)qnn_clip((i % 8 < 4 ? &a : &b)->s32[i / 8 * 4 + i % 4], INT16_MIN, INT16_MAX))

/* --- float32 --- */

/* Defines name(a, b): lane i is `value`, which sees x and y. */
#define QNN_REALS(name, value)                        \
    QNN_EMULATED_STEP __m512 name(__m512 a, __m512 b) \
    {                                                 \
        __m512 v;                                     \
        for (int i = 0; i < 16; i++) {                \
            const float x = a.lane[i];                \
            const float y = b.lane[i];                \
            v.lane[i] = (value);                      \
        }                                             \
        return v;                                     \
    }

QNN_REALS(_mm512_add_ps, x + y)
QNN_REALS(_mm512_sub_ps, x - y)
QNN_REALS(_mm512_mul_ps, x * y)
QNN_REALS(_mm512_min_ps, x < y ? x : y) /* the second one if one is NaN or both are zeros */

QNN_EMULATED_STEP __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return a;
}

/* a b - c rounded up, once. The product has 48 bits, so it is exact in float64; `lost` is what the difference's own
   rounding took away. The float32 nearest to the sum is the one sought or the one below that. */
QNN_EMULATED_STEP float qnn_fmsub_up(float a, float b, float c)
{
    const double product = (double)a * b, other = -(double)c, sum = product + other;
    const double added = sum - product, lost = (product - (sum - added)) + (other - added);
    const float nearest = (float)sum;
    return nearest < sum || (nearest == sum && lost > 0) ? nextafterf(nearest, INFINITY) : nearest;
}

QNN_EMULATED_STEP __m512 _mm512_fmsub_round_ps(__m512 a, __m512 b, __m512 c, int rounding)
{
    qnn_lanes_require(rounding == (_MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC));
    for (int i = 0; i < 16; i++)
        a.lane[i] = qnn_fmsub_up(a.lane[i], b.lane[i], c.lane[i]);
    return a;
}

QNN_EMULATED_STEP __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int how)
{
    __mmask16 equal = 0;
    qnn_lanes_require(how == _CMP_EQ_OQ || how == _CMP_NEQ_UQ);
    for (int i = 0; i < 16; i++)
        equal |= (__mmask16)((a.lane[i] == b.lane[i]) << i);
    return how == _CMP_EQ_OQ ? equal : (__mmask16)~equal; /* NaN equals nothing */
}

/* What leaves int32, and NaN, becomes its lowest number. */
QNN_EMULATED_STEP __m512i _mm512_cvt_roundps_epi32(__m512 a, int rounding)
{
    const int up = rounding == (_MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    __m512i v;
    qnn_lanes_require(up || rounding == (_MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
    for (int i = 0; i < 16; i++) {
        const float whole = up ? ceilf(a.lane[i]) : floorf(a.lane[i]);
        v.s32[i] = whole >= -2147483648.0f && whole < 2147483648.0f ? (int32_t)whole : INT32_MIN;
    }
    return v;
}

QNN_EMULATED_STEP __m512 _mm512_cvtepi32_ps(__m512i a)
{
    __m512 v;
    for (int i = 0; i < 16; i++)
        v.lane[i] = (float)a.s32[i];
    return v;
}

QNN_EMULATED_STEP __m512 _mm512_castsi512_ps(__m512i a) { return _mm512_loadu_ps(&a); }

#endif
