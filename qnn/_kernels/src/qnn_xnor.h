/* Ones of differing bits between rows of words: the one inner loop of everything binary, and packing of signs. */
#ifndef QNN_XNOR_H
#define QNN_XNOR_H

#include <stdint.h>

/* counts[r][c] = ones of (row r of a xor row c of b). Either straight from b, or from b packed in panels: columns side
   by side, so that a step serves many of them and no lanes are added up at the end. */
typedef struct {
    /* any number of rows and columns; strides in words, of counts in numbers */
    void (*dots)(const uint64_t *a, int64_t a_stride, int64_t rows, const uint64_t *b, int64_t b_stride,
                 int64_t columns, int64_t words, int32_t *counts, int64_t counts_stride);
    int64_t least_rows; /* with fewer, packing does not pay; 0: there are no panels */
    int64_t panel;      /* columns */
    int64_t expansion;  /* bytes of a prepared word of a */
    /* a panel has words * panel * 8 bytes */
    void (*pack)(const uint64_t *b, int64_t b_stride, int64_t columns, int64_t words, void *panel);
    void (*prepare)(const uint64_t *row, int64_t words, uint8_t *prepared);
    /* the same as dots for one panel, all its columns */
    void (*multiply)(const uint8_t *a, int64_t a_stride, int64_t rows, const void *panel, int64_t words,
                     int32_t *counts, int64_t counts_stride);
    /* the n results of a row, all - 2 * counts */
    void (*finish)(const uint32_t *all, const int32_t *counts, int64_t n, int32_t *y);
} qnn_bits;

/* The body of every finish: compilers make vectors of it, and of few words the results cost as much as the counting.
   Modulo 2^32, which is exact for what fits int32. */
#define QNN_FINISH_BITS(all, counts, n, y)                                                                     \
    for (int64_t c = 0; c < (n); c++)                                                                          \
    (y)[c] = (int32_t)((all)[c] - 2 * (uint32_t)(counts)[c])

const qnn_bits *qnn_bits_avx2(void);   /* NULL where the compiler has no AVX2, */
const qnn_bits *qnn_bits_avx512(void); /* or no AVX512-VNNI; needs VPOPCNTDQ, too */

/* Signs of n values (type: QNN_PACK_*) into words, the last one filled with zeros; returns not 0 if a value is NaN. */
int64_t qnn_pack_row(const void *x, int type, int64_t n, uint64_t *words);
int64_t qnn_pack_row_avx2(const void *x, int type, int64_t n, uint64_t *words);

static inline int64_t qnn_words(int64_t k) { return (k + 63) / 64; }
/* Ones at the real positions of the last word of k bits (k >= 1). */
static inline uint64_t qnn_last_mask(int64_t k) { return k % 64 ? ((uint64_t)1 << k % 64) - 1 : ~(uint64_t)0; }

static inline int qnn_ones(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (int)(v * 0x0101010101010101u >> 56);
}

#endif
