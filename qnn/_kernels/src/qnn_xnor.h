/* Popcounts of rows of words: the one inner loop of everything binary. */
#ifndef QNN_XNOR_H
#define QNN_XNOR_H

#include <stdint.h>

/* Number of ones of a xor b, and of a and b, over n words. */
int64_t qnn_popcount_xor(const uint64_t *a, const uint64_t *b, int64_t n);
int64_t qnn_popcount_and(const uint64_t *a, const uint64_t *b, int64_t n);
int64_t qnn_popcount_xor_avx2(const uint64_t *a, const uint64_t *b, int64_t n);
int64_t qnn_popcount_and_avx2(const uint64_t *a, const uint64_t *b, int64_t n);

/* Signs of n values (type: QNN_PACK_*) into words, the last one filled with zeros; returns not 0 if a value is NaN. */
int64_t qnn_pack_row(const void *x, int type, int64_t n, uint64_t *words);
int64_t qnn_pack_row_avx2(const void *x, int type, int64_t n, uint64_t *words);

static inline int64_t qnn_words(int64_t k) { return (k + 63) / 64; }
/* Ones at the real positions of the last word of k bits (k >= 1). */
static inline uint64_t qnn_last_mask(int64_t k) { return k % 64 ? ((uint64_t)1 << k % 64) - 1 : ~(uint64_t)0; }

#endif
