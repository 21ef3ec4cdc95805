/* Addressed noise with AVX2: eight Philox blocks side by side. */
#include "qnn_cpu.h"
#include "qnn_noise.h"

#include <string.h>

#if QNN_X86
#include <immintrin.h>

enum { ROUNDS = 10 };

/* What all blocks of a call share. */
typedef struct {
    uint32_t stream, step;
    __m256i k0[ROUNDS], k1[ROUNDS];
} keys;

QNN_AVX2_INLINE void make_keys(uint64_t seed, uint32_t stream, uint32_t step, keys *k)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    k->stream = stream;
    k->step = step;
    for (int round = 0; round < ROUNDS; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        k->k0[round] = _mm256_set1_epi32((int)k0);
        k->k1[round] = _mm256_set1_epi32((int)k1);
    }
}

/* The lower halves of 64-bit lanes of two registers as one: even lanes, odd lanes. */
QNN_AVX2_INLINE __m256i merge(__m256i even, __m256i odd)
{
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}

/* The outputs of blocks block .. block+7 in order, as 32 words of 32 bits. Even and odd blocks go apart, one in each
   64-bit lane: a product then holds both its halves, and what lies above the lower 32 bits of the state is never
   looked at. */
QNN_AVX2_INLINE void eight_blocks(const keys *k, uint64_t block, __m256i out[4])
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), top = _mm256_set1_epi32(INT32_MIN);
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    __m256i first = _mm256_set1_epi32((int)(uint32_t)block);
    __m256i c0 = _mm256_add_epi32(first, lane);
    /* A lane whose lower counter word wrapped (is below the first one, unsigned) carries into the upper word. */
    __m256i carry = _mm256_cmpgt_epi32(_mm256_xor_si256(first, top), _mm256_xor_si256(c0, top));
    __m256i c1 = _mm256_sub_epi32(_mm256_set1_epi32((int)(uint32_t)(block >> 32)), carry);
    __m256i c2 = _mm256_set1_epi32((int)k->step), c3 = _mm256_set1_epi32((int)k->stream);
    __m256i s[4][2] = {{c0, _mm256_srli_epi64(c0, 32)}, {c1, _mm256_srli_epi64(c1, 32)}, {c2, c2}, {c3, c3}};
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) {
            __m256i p0 = _mm256_mul_epu32(s[0][i], m0), p1 = _mm256_mul_epu32(s[2][i], m1);
            s[0][i] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(s[1][i], k->k0[round]));
            s[2][i] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(s[3][i], k->k1[round]));
            s[1][i] = p1;
            s[3][i] = p0;
        }
    c0 = merge(s[0][0], s[0][1]);
    c1 = merge(s[1][0], s[1][1]);
    c2 = merge(s[2][0], s[2][1]);
    c3 = merge(s[3][0], s[3][1]);
    __m256i t0 = _mm256_unpacklo_epi32(c0, c1), t1 = _mm256_unpackhi_epi32(c0, c1);
    __m256i t2 = _mm256_unpacklo_epi32(c2, c3), t3 = _mm256_unpackhi_epi32(c2, c3);
    __m256i b04 = _mm256_unpacklo_epi64(t0, t2), b15 = _mm256_unpackhi_epi64(t0, t2);
    __m256i b26 = _mm256_unpacklo_epi64(t1, t3), b37 = _mm256_unpackhi_epi64(t1, t3);
    out[0] = _mm256_permute2x128_si256(b04, b15, 0x20);
    out[1] = _mm256_permute2x128_si256(b26, b37, 0x20);
    out[2] = _mm256_permute2x128_si256(b04, b15, 0x31);
    out[3] = _mm256_permute2x128_si256(b26, b37, 0x31);
}

QNN_AVX2 static void store_u16(const __m256i in[4], __m256i mask, uint16_t *out)
{
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256((__m256i *)(void *)(out + 16 * i), _mm256_and_si256(in[i], mask));
}

QNN_AVX2 static void store_u8(const __m256i in[4], __m256i mask, uint16_t *out)
{
    for (int i = 0; i < 4; i++) {
        __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(in[i]));
        __m256i high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(in[i], 1));
        _mm256_storeu_si256((__m256i *)(void *)(out + 32 * i), _mm256_and_si256(_mm256_slli_epi16(low, 8), mask));
        _mm256_storeu_si256((__m256i *)(void *)(out + 32 * i + 16), _mm256_and_si256(_mm256_slli_epi16(high, 8), mask));
    }
}

/* Words start .. start+n-1 of which only the bits of `mask` are kept; per_block is 8 (16-bit words) or 16 (8-bit
   words). */
QNN_AVX2 static void philox(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, int per_block,
                            uint16_t mask, uint16_t *out)
{
    const __m256i masks = _mm256_set1_epi16((short)mask);
    uint64_t block = start / (uint64_t)per_block;
    int64_t skip = (int64_t)(start % (uint64_t)per_block), batch = 8 * per_block;
    uint16_t words[128];
    __m256i raw[4];
    keys k;
    make_keys(seed, stream, step, &k);
    for (int64_t i = 0; i < n; block += 8, skip = 0) {
        int whole = skip == 0 && n - i >= batch;
        uint16_t *to = whole ? out + i : words;
        eight_blocks(&k, block, raw);
        if (per_block == 8)
            store_u16(raw, masks, to);
        else
            store_u8(raw, masks, to);
        int64_t take = batch - skip < n - i ? batch - skip : n - i;
        if (!whole)
            memcpy(out + i, words + skip, (size_t)take * sizeof *out);
        i += take;
    }
}

void qnn_philox_u16_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    philox(seed, stream, step, start, n, 8, 0xFFFF, out);
}

void qnn_philox_u8_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    philox(seed, stream, step, start, n, 16, 0xFFFF, out);
}

void qnn_noise_words_avx2(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    /* Less than two blocks: eight side by side would be mostly thrown away. */
    if (t->noise_kind != QNN_NOISE_PHILOX || n <= 16) {
        qnn_noise_words(t, index, n, out);
        return;
    }
    uint16_t mask = (uint16_t)(0xFFFFu << (16 - t->noise_bits));
    philox(t->seed, t->stream, t->step, t->start + (uint64_t)index, n, t->noise_bits > 8 ? 8 : 16, mask, out);
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
