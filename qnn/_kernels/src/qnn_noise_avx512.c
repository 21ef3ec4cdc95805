/* Addressed noise with AVX-512: eight Philox blocks side by side, each word in a lane of 64 bits. */
#include "qnn_cpu.h"
#include "qnn_noise.h"

#include <string.h>

#if QNN_HAS_LANES512
#include "qnn_intrinsics512.h"

enum { GROUPS = 4, BLOCKS = 8, XOR3 = 0x96 /* the truth table of a ^ b ^ c */ };

/* The counters of eight neighbouring blocks, one vector per word. Only the lower halves of the lanes count: a product
   looks at nothing else, so its own halves are used where they are, and the lower one needs no step. */
typedef struct {
    __m512i c0, c1, c2, c3;
} lanes;

QNN_AVX512_INLINE lanes counters(uint32_t stream, uint32_t step, uint64_t block)
{
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i blocks = _mm512_add_epi64(_mm512_set1_epi64((long long)block), lane);
    lanes v = {blocks, _mm512_srli_epi64(blocks, 32), _mm512_set1_epi64(step), _mm512_set1_epi64(stream)};
    return v;
}

/* The upper halves of the lanes as lower ones. By a shuffle: a shift would wait for the port that multiplies. */
QNN_AVX512_INLINE __m512i upper(__m512i v) { return _mm512_shuffle_epi32(v, _MM_PERM_DDBB); }

QNN_AVX512_INLINE void philox_round(lanes *v, __m512i k0, __m512i k1)
{
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
    const __m512i product0 = _mm512_mul_epu32(v->c0, m0), product1 = _mm512_mul_epu32(v->c2, m1);
    v->c0 = _mm512_ternarylogic_epi64(upper(product1), v->c1, k0, XOR3);
    v->c2 = _mm512_ternarylogic_epi64(upper(product0), v->c3, k1, XOR3);
    v->c1 = product1;
    v->c3 = product0;
}

/* The outputs of eight blocks in order, as 32 words of 32 bits. */
QNN_AVX512_INLINE void in_order(const lanes *v, __m512i out[2])
{
    const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i last = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    const __m512i c01 = _mm512_mask_shuffle_epi32(v->c0, 0xAAAA, v->c1, _MM_PERM_CCAA);
    const __m512i c23 = _mm512_mask_shuffle_epi32(v->c2, 0xAAAA, v->c3, _MM_PERM_CCAA);
    out[0] = _mm512_permutex2var_epi64(c01, first, c23);
    out[1] = _mm512_permutex2var_epi64(c01, last, c23);
}

/* The outputs of `groups` times eight blocks from `block` on; several groups hide the latency of the products. */
QNN_AVX512_INLINE void many_blocks(const int groups, uint64_t seed, uint32_t stream, uint32_t step, uint64_t block,
                                   __m512i out[][2])
{
    lanes v[GROUPS];
    __m512i k0 = _mm512_set1_epi64((uint32_t)seed), k1 = _mm512_set1_epi64((long long)(seed >> 32));
    for (int g = 0; g < groups; g++)
        v[g] = counters(stream, step, block + BLOCKS * (uint64_t)g);
    for (int round = 0; round < 10; round++) {
        for (int g = 0; g < groups; g++)
            philox_round(v + g, k0, k1);
        k0 = _mm512_add_epi64(k0, _mm512_set1_epi64(0x9E3779B9));
        k1 = _mm512_add_epi64(k1, _mm512_set1_epi64(0xBB67AE85));
    }
    for (int g = 0; g < groups; g++)
        in_order(v + g, out[g]);
}

/* 64 words of 16 bits, or 128 of 8 bits, each in the upper half of its place. */
QNN_AVX512_INLINE void store_words(const __m512i in[2], const int per_block, __m512i mask, uint16_t *out)
{
    for (int i = 0; i < 2; i++)
        if (per_block == 8)
            _mm512_storeu_si512(out + 32 * i, _mm512_and_si512(in[i], mask));
        else
            for (int half = 0; half < 2; half++) {
                __m256i bytes = half ? _mm512_extracti64x4_epi64(in[i], 1) : _mm512_castsi512_si256(in[i]);
                __m512i words = _mm512_slli_epi16(_mm512_cvtepu8_epi16(bytes), 8);
                _mm512_storeu_si512(out + 64 * i + 32 * half, _mm512_and_si512(words, mask));
            }
}

/* Words start .. start+n-1 of which only the bits of `mask` are kept; per_block is 8 (16-bit words) or 16. */
QNN_AVX512_INLINE void philox(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n,
                              const int per_block, uint16_t mask, uint16_t *out)
{
    const __m512i masks = _mm512_set1_epi16((short)mask);
    uint64_t block = start / (uint64_t)per_block;
    int64_t skip = (int64_t)(start % (uint64_t)per_block), batch = BLOCKS * per_block, i = 0;
    uint16_t words[128];
    __m512i raw[GROUPS][2];
    while (i < n) {
        for (; skip == 0 && n - i >= GROUPS * batch; i += GROUPS * batch, block += BLOCKS * GROUPS) {
            many_blocks(GROUPS, seed, stream, step, block, raw);
            for (int g = 0; g < GROUPS; g++)
                store_words(raw[g], per_block, masks, out + i + g * batch);
        }
        if (i < n) { /* the first words, if they begin within a block, or the last ones */
            int64_t take = batch - skip < n - i ? batch - skip : n - i;
            many_blocks(1, seed, stream, step, block, raw);
            store_words(raw[0], per_block, masks, words);
            memcpy(out + i, words + skip, (size_t)take * sizeof *out);
            i += take, block += BLOCKS, skip = 0;
        }
    }
}

QNN_AVX512 static void philox_u16(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n,
                                  uint16_t mask, uint16_t *out)
{
    philox(seed, stream, step, start, n, 8, mask, out);
}

QNN_AVX512 static void philox_u8(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n,
                                 uint16_t mask, uint16_t *out)
{
    philox(seed, stream, step, start, n, 16, mask, out);
}

void qnn_noise_words_avx512(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    /* Less than two blocks: eight side by side would be mostly thrown away. */
    if (t->noise_kind != QNN_NOISE_PHILOX || n <= 16) {
        qnn_noise_words(t, index, n, out);
        return;
    }
    uint16_t mask = (uint16_t)(0xFFFFu << (16 - t->noise_bits));
    (t->noise_bits > 8 ? philox_u16 : philox_u8)(t->seed, t->stream, t->step, t->start + (uint64_t)index, n, mask, out);
}

#else /* never asked for */

void qnn_noise_words_avx512(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    qnn_noise_words(t, index, n, out);
}

#endif
