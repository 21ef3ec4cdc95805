/* Addressed noise with AVX2: eight Philox blocks side by side. */
#include "qnn_cpu.h"
#include "qnn_noise.h"

#include <string.h>

#if QNN_X86
#include <immintrin.h>

enum { GROUPS = 3 };

/* Low and high halves of the eight 32 x 32 bit products. */
QNN_AVX2_INLINE void multiply(__m256i x, __m256i m, __m256i *low, __m256i *high)
{
    __m256i even = _mm256_mul_epu32(x, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}

/* The counters of eight neighbouring blocks, one vector per word. */
typedef struct {
    __m256i c0, c1, c2, c3;
} lanes;

QNN_AVX2_INLINE lanes counters(uint32_t stream, uint32_t step, uint64_t block)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), top = _mm256_set1_epi32(INT32_MIN);
    __m256i first = _mm256_set1_epi32((int)(uint32_t)block), c0 = _mm256_add_epi32(first, lane);
    /* A lane whose lower counter word wrapped (is below the first one, unsigned) carries into the upper word. */
    __m256i carry = _mm256_cmpgt_epi32(_mm256_xor_si256(first, top), _mm256_xor_si256(c0, top));
    __m256i c1 = _mm256_sub_epi32(_mm256_set1_epi32((int)(uint32_t)(block >> 32)), carry);
    lanes v = {c0, c1, _mm256_set1_epi32((int)step), _mm256_set1_epi32((int)stream)};
    return v;
}

QNN_AVX2_INLINE void philox_round(lanes *v, __m256i k0, __m256i k1)
{
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    __m256i low0, high0, low1, high1;
    multiply(v->c0, m0, &low0, &high0);
    multiply(v->c2, m1, &low1, &high1);
    v->c0 = _mm256_xor_si256(_mm256_xor_si256(high1, v->c1), k0);
    v->c2 = _mm256_xor_si256(_mm256_xor_si256(high0, v->c3), k1);
    v->c1 = low1;
    v->c3 = low0;
}

/* The outputs of eight blocks in order, as 32 words of 32 bits. */
QNN_AVX2_INLINE void in_order(const lanes *v, __m256i out[4])
{
    __m256i t0 = _mm256_unpacklo_epi32(v->c0, v->c1), t1 = _mm256_unpackhi_epi32(v->c0, v->c1);
    __m256i t2 = _mm256_unpacklo_epi32(v->c2, v->c3), t3 = _mm256_unpackhi_epi32(v->c2, v->c3);
    __m256i b04 = _mm256_unpacklo_epi64(t0, t2), b15 = _mm256_unpackhi_epi64(t0, t2);
    __m256i b26 = _mm256_unpacklo_epi64(t1, t3), b37 = _mm256_unpackhi_epi64(t1, t3);
    out[0] = _mm256_permute2x128_si256(b04, b15, 0x20);
    out[1] = _mm256_permute2x128_si256(b26, b37, 0x20);
    out[2] = _mm256_permute2x128_si256(b04, b15, 0x31);
    out[3] = _mm256_permute2x128_si256(b26, b37, 0x31);
}

/* The outputs of GROUPS times eight blocks from `block` on. A round waits for its multiplications, so one group alone
   leaves the processor idle most of the time; three fill it. */
QNN_AVX2_INLINE void many_blocks(const int groups, uint64_t seed, uint32_t stream, uint32_t step, uint64_t block,
                                 __m256i out[][4])
{
    lanes v[GROUPS];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int g = 0; g < groups; g++)
        v[g] = counters(stream, step, block + 8 * (uint64_t)g);
    for (int round = 0; round < 10; round++) {
        const __m256i key0 = _mm256_set1_epi32((int)k0), key1 = _mm256_set1_epi32((int)k1);
        for (int g = 0; g < groups; g++)
            philox_round(v + g, key0, key1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int g = 0; g < groups; g++)
        in_order(v + g, out[g]);
}

QNN_AVX2_INLINE void store_u16(const __m256i in[4], __m256i mask, uint16_t *out)
{
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256((__m256i *)(void *)(out + 16 * i), _mm256_and_si256(in[i], mask));
}

QNN_AVX2_INLINE void store_u8(const __m256i in[4], __m256i mask, uint16_t *out)
{
    for (int i = 0; i < 4; i++) {
        __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(in[i]));
        __m256i high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(in[i], 1));
        _mm256_storeu_si256((__m256i *)(void *)(out + 32 * i), _mm256_and_si256(_mm256_slli_epi16(low, 8), mask));
        _mm256_storeu_si256((__m256i *)(void *)(out + 32 * i + 16), _mm256_and_si256(_mm256_slli_epi16(high, 8), mask));
    }
}

QNN_AVX2_INLINE void store_words(const __m256i raw[4], int per_block, __m256i masks, uint16_t *out)
{
    if (per_block == 8)
        store_u16(raw, masks, out);
    else
        store_u8(raw, masks, out);
}

/* Words start .. start+n-1 of which only the bits of `mask` are kept; per_block is 8 (16-bit words) or 16 (8-bit
   words). */
QNN_AVX2_INLINE void philox(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n,
                            const int per_block, uint16_t mask, uint16_t *out)
{
    const __m256i masks = _mm256_set1_epi16((short)mask);
    uint64_t block = start / (uint64_t)per_block;
    int64_t skip = (int64_t)(start % (uint64_t)per_block), batch = 8 * per_block, i = 0;
    uint16_t words[128];
    __m256i raw[GROUPS][4];
    while (i < n) {
        for (; skip == 0 && n - i >= GROUPS * batch; i += GROUPS * batch, block += 8 * GROUPS) {
            many_blocks(GROUPS, seed, stream, step, block, raw);
            for (int g = 0; g < GROUPS; g++)
                store_words(raw[g], per_block, masks, out + i + g * batch);
        }
        if (i < n) { /* the first words, if they begin within a block, or the last ones */
            int64_t take = batch - skip < n - i ? batch - skip : n - i;
            many_blocks(1, seed, stream, step, block, raw);
            store_words(raw[0], per_block, masks, words);
            memcpy(out + i, words + skip, (size_t)take * sizeof *out);
            i += take, block += 8, skip = 0;
        }
    }
}

QNN_AVX2 static void philox_u16(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t mask,
                                uint16_t *out)
{
    philox(seed, stream, step, start, n, 8, mask, out);
}

QNN_AVX2 static void philox_u8(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t mask,
                               uint16_t *out)
{
    philox(seed, stream, step, start, n, 16, mask, out);
}

void qnn_philox_u16_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    philox_u16(seed, stream, step, start, n, 0xFFFF, out);
}

void qnn_philox_u8_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    philox_u8(seed, stream, step, start, n, 0xFFFF, out);
}

void qnn_noise_words_avx2(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    /* Less than two blocks: eight side by side would be mostly thrown away. */
    if (t->noise_kind != QNN_NOISE_PHILOX || n <= 16) {
        qnn_noise_words(t, index, n, out);
        return;
    }
    uint16_t mask = (uint16_t)(0xFFFFu << (16 - t->noise_bits));
    (t->noise_bits > 8 ? philox_u16 : philox_u8)(t->seed, t->stream, t->step, t->start + (uint64_t)index, n, mask, out);
}

#else /* not x86-64: the plain C */

void qnn_philox_u16_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    qnn_philox_u16(seed, stream, step, start, n, out);
}

void qnn_philox_u8_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    qnn_philox_u8(seed, stream, step, start, n, out);
}

void qnn_noise_words_avx2(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    qnn_noise_words(t, index, n, out);
}

#endif
