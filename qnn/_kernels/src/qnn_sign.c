/* Signs of numbers as bits, 64 to a word (BIN-1, BIN-2). */
#include "qnn_blocks.h"
#include "qnn_xnor.h"

/* Whether x >= 0, from the bits of a float32: -0 counts as +1, and NaN is reported. */
static inline unsigned float_sign(const float *x, int64_t *nan)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    *nan |= (bits & 0x7FFFFFFFu) > 0x7F800000u;
    return !(bits >> 31) || bits == 0x80000000u;
}

int64_t qnn_pack_row(const void *x, int type, int64_t n, uint64_t *words)
{
    int64_t nan = 0;
    for (int64_t w = 0; w < qnn_words(n); w++) {
        uint64_t word = 0;
        for (int64_t i = 64 * w; i < n && i < 64 * w + 64; i++) {
            unsigned bit = type == QNN_PACK_S8    ? ((const int8_t *)x)[i] >= 0
                           : type == QNN_PACK_S16 ? ((const int16_t *)x)[i] >= 0
                           : type == QNN_PACK_S32 ? ((const int32_t *)x)[i] >= 0
                                                  : float_sign((const float *)x + i, &nan);
            word |= (uint64_t)bit << i % 64;
        }
        words[w] = word;
    }
    return nan;
}

typedef struct {
    const void *x;
    int type, avx2;
    int64_t k, words;
    uint64_t *packed;
} packing;

static void pack_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const packing *p = context;
    int64_t size = p->type == QNN_PACK_F32 ? 4 : p->type;
    for (int64_t r = begin; r < end; r++)
        tally->bad += (p->avx2 ? qnn_pack_row_avx2 : qnn_pack_row)((const char *)p->x + r * p->k * size, p->type, p->k,
                                                                   p->packed + r * p->words);
}

int64_t qnn_pack_bits(const void *x, int type, int64_t rows, int64_t k, qnn_how how, uint64_t *words)
{
    packing p = {x, type, how.avx2, k, qnn_words(k), words};
    return qnn_run_blocks(rows, qnn_row_grain(k), how, pack_block, &p).bad;
}
