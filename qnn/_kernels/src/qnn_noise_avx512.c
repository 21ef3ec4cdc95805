/* Addressed noise with AVX-512: eight Philox blocks side by side, each word in a lane of 64 bits. */
#include "qnn_cpu.h"
#include "qnn_noise.h"

#include <string.h>

#if QNN_HAS_LANES512
#include "qnn_intrinsics512.h"

enum { GROUPS = 4, BLOCKS = 8, ROUNDS = 10, XOR3 = 0x96 /* the truth table of a ^ b ^ c */ };

#define M0 0xD2511F53u
#define M1 0xCD9E8D57u

/* The words of eight neighbouring blocks, one vector per word. Only the lower halves of the lanes count: a product looks
 * at nothing else, so its own halves are used where they are, and the lower one needs no step. */
typedef struct {
    __m512i c0, c1, c2, c3;
} lanes;

static void make_common(qnn_philox_common *of, const qnn_target *t, uint32_t block_high)
{
    for (uint64_t r = 0; r < ROUNDS; r++) {
        of->key0[r] = t->seed + r * 0x9E3779B9u;
        of->key1[r] = (t->seed >> 32) + r * 0xBB67AE85u;
    }
    const uint64_t product1 = (uint64_t)t->step * M1;
    const uint32_t c0 = (uint32_t)((product1 >> 32) ^ block_high ^ of->key0[0]);
    const uint64_t product0 = (uint64_t)c0 * M0;
    of->second = t->stream ^ of->key1[0];
    of->first2 = product1 ^ of->key0[1];
    of->third2 = (product0 >> 32) ^ of->key1[1];
    of->fourth = product0;
    of->block_high = block_high;
    of->made = 1;
}

/* The upper halves of the lanes as lower ones. By a shuffle: a shift would wait for the port that multiplies. */
QNN_AVX512_INLINE __m512i upper(__m512i v) { return _mm512_shuffle_epi32(v, _MM_PERM_DDBB); }

QNN_AVX512_INLINE __m512i everywhere(uint64_t v) { return _mm512_set1_epi64((long long)v); }

QNN_AVX512_INLINE __m512i times(__m512i v, uint64_t factor) { return _mm512_mul_epu32(v, everywhere(factor)); }

/* Eight blocks after two rounds. */
QNN_AVX512_INLINE lanes two_rounds(__m512i blocks, const qnn_philox_common *of)
{
    const __m512i product0 = times(blocks, M0);
    const __m512i product1 = times(_mm512_xor_si512(upper(product0), everywhere(of->second)), M1);
    lanes v = {_mm512_xor_si512(upper(product1), everywhere(of->first2)), product1,
               _mm512_xor_si512(product0, everywhere(of->third2)), everywhere(of->fourth)};
    return v;
}

QNN_AVX512_INLINE void philox_round(lanes *v, const int round, const qnn_philox_common *of)
{
    const __m512i product0 = times(v->c0, M0), product1 = times(v->c2, M1);
    v->c0 = _mm512_ternarylogic_epi64(upper(product1), v->c1, everywhere(of->key0[round]), XOR3);
    v->c2 = _mm512_ternarylogic_epi64(upper(product0), v->c3, everywhere(of->key1[round]), XOR3);
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
QNN_AVX512_INLINE void many_blocks(const int groups, uint64_t block, const qnn_philox_common *of, __m512i out[][2])
{
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    lanes v[GROUPS];
    for (int g = 0; g < groups; g++)
        v[g] = two_rounds(_mm512_add_epi64(everywhere(block), _mm512_add_epi64(lane, everywhere(BLOCKS * (uint64_t)g))),
                          of);
    for (int round = 2; round < ROUNDS; round++)
        for (int g = 0; g < groups; g++)
            philox_round(v + g, round, of);
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

/* Words start .. start+n-1 of which only the bits of `mask` are kept; per_block is 8 (16-bit words) or 16. The blocks'
 * numbers differ only below 2^32. */
QNN_AVX512_INLINE void philox(const qnn_philox_common *of, uint64_t start, int64_t n, const int per_block,
                              const uint16_t mask, uint16_t *out)
{
    const __m512i masks = _mm512_set1_epi16((short)mask);
    uint64_t block = start / (uint64_t)per_block;
    int64_t skip = (int64_t)(start % (uint64_t)per_block), batch = BLOCKS * per_block, i = 0;
    uint16_t words[128];
    __m512i raw[GROUPS][2];
    while (i < n) {
        for (; skip == 0 && n - i >= GROUPS * batch; i += GROUPS * batch, block += BLOCKS * GROUPS) {
            many_blocks(GROUPS, block, of, raw);
            for (int g = 0; g < GROUPS; g++)
                store_words(raw[g], per_block, masks, out + i + g * batch);
        }
        if (i < n) { /* the first words, if they begin within a block, or the last ones */
            int64_t take = batch - skip < n - i ? batch - skip : n - i;
            many_blocks(1, block, of, raw);
            store_words(raw[0], per_block, masks, words);
            memcpy(out + i, words + skip, (size_t)take * sizeof *out);
            i += take, block += BLOCKS, skip = 0;
        }
    }
}

QNN_AVX512 static void philox_16(const qnn_philox_common *of, uint64_t start, int64_t n, uint16_t *out)
{
    philox(of, start, n, 8, 0xFFFF, out);
}

QNN_AVX512 static void philox_9_to_15(const qnn_philox_common *of, uint64_t start, int64_t n, uint16_t mask,
                                      uint16_t *out)
{
    philox(of, start, n, 8, mask, out);
}

QNN_AVX512 static void philox_to_8(const qnn_philox_common *of, uint64_t start, int64_t n, uint16_t mask, uint16_t *out)
{
    philox(of, start, n, 16, mask, out);
}

void qnn_more_noise_avx512(const qnn_target *t, qnn_philox_common *of, int64_t index, int64_t n, uint16_t *out)
{
    /* Less than two blocks: eight side by side would be mostly thrown away. */
    if (t->noise_kind != QNN_NOISE_PHILOX || n <= 16) {
        qnn_noise_words(t, index, n, out);
        return;
    }
    const int bits = t->noise_bits;
    const uint16_t mask = (uint16_t)(0xFFFFu << (16 - bits));
    const int places = bits > 8 ? 35 : 36; /* a word's number behind that of its block's upper half */
    for (uint64_t start = t->start + (uint64_t)index; n > 0;) {
        const uint64_t left = ((uint64_t)1 << places) - start % ((uint64_t)1 << places);
        const int64_t part = left < (uint64_t)n ? (int64_t)left : n;
        if (!of->made || of->block_high != start >> places)
            make_common(of, t, (uint32_t)(start >> places));
        if (bits == 16)
            philox_16(of, start, part, out);
        else
            (bits > 8 ? philox_9_to_15 : philox_to_8)(of, start, part, mask, out);
        start += (uint64_t)part, out += part, n -= part;
    }
}

void qnn_noise_words_avx512(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    qnn_philox_common of = {.made = 0};
    qnn_more_noise_avx512(t, &of, index, n, out);
}

#else /* never asked for */

void qnn_noise_words_avx512(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    qnn_noise_words(t, index, n, out);
}

void qnn_more_noise_avx512(const qnn_target *t, qnn_philox_common *of, int64_t index, int64_t n, uint16_t *out)
{
    (void)of;
    qnn_noise_words(t, index, n, out);
}

#endif
