/* What `qnn bench` measures against: peak rates, memory traffic, and loops that shift against loops that multiply. No
   result of the package is made here. */
#ifndef QNN_BENCH_H
#define QNN_BENCH_H

#include <stdint.h>

/* A loop that keeps its operands in registers (plain C: in the first-level cache) and does what the inner loop of one
   kernel path does, without loads, stores and packing: no kernel of that path can be faster. */
typedef struct {
    const char *name;                      /* operation and path, as "mac avx2" */
    const char *mix;                       /* the instructions */
    int64_t units;                         /* multiply-accumulates (or bits) of one iteration */
    int64_t value;                         /* what one iteration adds to the sum that comes out */
    int (*available)(void);
    uint64_t (*run)(int64_t iterations);   /* sum of all accumulators; they wrap at 32 bits, so tests use few */
} qnn_probe;

int qnn_probe_count(void);
const qnn_probe *qnn_probe_at(int index);

/* The wider instruction sets stand in a file of their own; each entry says whether this processor has it. */
extern const qnn_probe qnn_probes_wide[];
int qnn_probes_wide_count(void);

/* Every thread runs the probe; returns the sum of the sums. */
uint64_t qnn_probe_run(int index, int64_t iterations, int threads);

/* Memory: `words` 64-bit words, `repeats` times over; each thread has its own part. */
uint64_t qnn_bench_read(const uint64_t *data, int64_t words, int64_t repeats, int avx2, int threads);
void qnn_bench_write(uint64_t *data, int64_t words, int64_t repeats, uint64_t value, int avx2, int threads);
/* The traffic of a requantisation without its arithmetic: the low byte of each 32-bit word. */
void qnn_bench_read4_write1(const uint32_t *data, int64_t n, uint8_t *out, int64_t repeats, int avx2, int threads);

/* y = x * w for w = 0 or +-2^shift, [m, k] times [k, n], in every form that the loops take; panels are 16 columns of all
   rows one behind the other, [n / 16, k, 16], as SIMD reads them. */
typedef struct {
    int64_t m, n, k;              /* m a multiple of 4, n of 16, k of 2 */
    const int8_t *x;              /* [m, k] */
    const int16_t *wide_x;        /* [m, k] */
    const int8_t *weights;        /* [k, n] */
    const uint8_t *shift;         /* [k, n] 0 .. 6 */
    const int8_t *keep;           /* [k, n] 0 for a weight of 0, else -1 */
    const int8_t *negate;         /* [k, n] -1 for a negative weight, else 0 */
    const int16_t *pair_panels;   /* [n / 16, k / 2, 16, 2] weights, for vpmaddwd */
    const int8_t *weight_panels;  /* [n / 16, k, 16] */
    const uint8_t *shift_panels;  /* 32 for a weight of 0: vpsllvd then shifts everything out */
    const int8_t *negate_panels;
    int32_t *y;                   /* [m, n] */
} qnn_product;

enum {
    QNN_LOOP_MULTIPLY_SCALAR,
    QNN_LOOP_SHIFT_SCALAR,
    QNN_LOOP_MULTIPLY_COMPILED,
    QNN_LOOP_SHIFT_COMPILED,
    QNN_LOOP_MULTIPLY_PAIRS,
    QNN_LOOP_MULTIPLY_LANES,
    QNN_LOOP_SHIFT_LANES,
    QNN_LOOPS
};

/* y = x * weights^T, [m, k] times [n, k], on one thread. */
void qnn_bench_float_product(const float *x, const float *weights, int64_t m, int64_t n, int64_t k, float *y);

int qnn_loop_available(int loop);
void qnn_loop_run(int loop, const qnn_product *product, int threads);

#endif
