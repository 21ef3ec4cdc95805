/* The last step of every integer kernel: an exact accumulator becomes an n-bit integer, with one rounding and its
   counts. */
#ifndef QNN_EPILOGUE_H
#define QNN_EPILOGUE_H

#include <stdint.h>

/* Right shift of a signed integer, rounding to minus infinity. The one place where the package relies on the compiler
   shifting signed integers arithmetically; a compiler that does not fails to build here. */
#define QNN_ASR(x, s) ((x) >> (s))
_Static_assert(QNN_ASR(-1, 1) == -1 && QNN_ASR((int64_t)-5, 1) == -3, "qnn needs an arithmetic right shift");

/* Numbers of the rounding rules; the same as qnn.numerics.rounding.Rounding. */
enum {
    QNN_NEAREST_EVEN = 0,
    QNN_NEAREST_AWAY = 1,
    QNN_NEAREST_UP = 2,
    QNN_NEAREST_DOWN = 3,
    QNN_NEAREST_TO_ZERO = 4,
    QNN_FLOOR = 5,
    QNN_CEIL = 6,
    QNN_TRUNCATE = 7,
    QNN_STOCHASTIC = 8
};

enum { QNN_NOISE_NONE = 0, QNN_NOISE_PHILOX = 1, QNN_NOISE_LFSR = 2, QNN_NOISE_ARRAY = 3 };

#define QNN_LFSR_PERIOD 65535

/* How an exact value becomes an n-bit integer. Value of an accumulator: (acc + bias) / (divisor * 2^exponent_shift). */
typedef struct {
    int exponent_shift;          /* s = target exponent - accumulator exponent; any sign, |s| < 2^20 */
    int bits;                    /* n, 2..16; results are int8 for n <= 8, else int16 */
    int rounding;                /* QNN_NEAREST_EVEN .. QNN_STOCHASTIC */
    int64_t divisor;             /* >= 1 */
    int noise_kind;              /* QNN_NOISE_*; looked at only when rounding is QNN_STOCHASTIC */
    uint64_t seed;               /* philox */
    uint32_t stream, step;       /* philox */
    uint64_t start;              /* address of the noise word of element 0 (philox, lfsr) */
    int noise_bits;              /* r, 1..16: the top r bits of each word count */
    const uint16_t *noise_array; /* QNN_NOISE_ARRAY: word of element i is noise_array[i]; start is not used */
    const uint16_t *lfsr_table;  /* QNN_NOISE_LFSR: the QNN_LFSR_PERIOD states in order */
    uint32_t lfsr_offset;        /* word i is lfsr_table[(lfsr_offset + i) % QNN_LFSR_PERIOD] */
} qnn_target;

typedef struct {
    int64_t nonzero, overflow, overflow_double, saturated;
} qnn_counts;

static inline void qnn_counts_add(qnn_counts *to, const qnn_counts *from)
{
    to->nonzero += from->nonzero;
    to->overflow += from->overflow;
    to->overflow_double += from->overflow_double;
    to->saturated += from->saturated;
}

static inline int qnn_target_bytes(const qnn_target *t) { return t->bits <= 8 ? 1 : 2; }

/* Requantise n accumulators (one thread). Element i has the index `index + i` in the whole tensor, which addresses its
   noise. bias may be NULL, else bias[i] is added to acc[i] first (no overflow whatever the two are). out is int8_t* for
   bits <= 8, else int16_t*, and starts at this chunk. The counts are ADDED to *counts. acc and out may not overlap. */
void qnn_requantize_s32(const int32_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,
                        void *out, qnn_counts *counts);
void qnn_requantize_s64(const int64_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,
                        void *out, qnn_counts *counts);
/* The same for `rows` rows of `cols` elements that lie one behind the other; bias has cols entries (or is NULL). */
void qnn_requantize_rows_s32(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                             const qnn_target *t, void *out, qnn_counts *counts);
void qnn_requantize_rows_s64(const int64_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                             const qnn_target *t, void *out, qnn_counts *counts);

/* The same bits with AVX2; only for a machine that has it (elsewhere than x86-64 these call the plain ones). */
void qnn_requantize_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,
                             void *out, qnn_counts *counts);
void qnn_requantize_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t n, const qnn_target *t,
                             void *out, qnn_counts *counts);
void qnn_requantize_rows_s32_avx2(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts);
void qnn_requantize_rows_s64_avx2(const int64_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                  const qnn_target *t, void *out, qnn_counts *counts);
/* The same bits with AVX-512; only for a machine that has it. */
void qnn_requantize_rows_s32_avx512(const int32_t *acc, const int64_t *bias, int64_t index, int64_t rows, int64_t cols,
                                    const qnn_target *t, void *out, qnn_counts *counts);

#endif
