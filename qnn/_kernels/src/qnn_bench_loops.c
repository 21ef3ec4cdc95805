/* Shifting against multiplying: the same product by loops that multiply and by loops that shift, in plain C and in
   SIMD. Everything that can be decoded beforehand is, so the loops differ in their arithmetic and in little else. */
#include "qnn_bench.h"

#include <string.h>

#include "qnn_cpu.h"
#include "qnn_parallel.h"

enum { ROWS = 4, COLUMNS = 16 }; /* of a SIMD tile */

#if defined(__clang__)
#define SCALAR
#define SCALAR_LOOP _Pragma("clang loop vectorize(disable) interleave(disable)")
#elif defined(__GNUC__)
#define SCALAR __attribute__((optimize("no-tree-vectorize")))
#define SCALAR_LOOP
#else
#define SCALAR
#define SCALAR_LOOP
#endif

/* The sign and the zero are branch-free; C leaves left shifts of negative numbers undefined, hence the unsigned one. */
#define MULTIPLIED ((int32_t)x * weights[n])
#define SHIFTED ((((int32_t)((uint32_t)x << shift[n]) ^ negate[n]) - negate[n]) & keep[n])

#define PLAIN_LOOP(name, attribute, hint, term)                                                \
    attribute static void name(const qnn_product *p, int64_t first, int64_t last)             \
    {                                                                                         \
        for (int64_t m = first; m < last; m++) {                                              \
            int32_t *restrict y = p->y + m * p->n;                                            \
            memset(y, 0, (size_t)p->n * sizeof *y);                                           \
            for (int64_t k = 0; k < p->k; k++) {                                              \
                const int32_t x = p->x[m * p->k + k];                                         \
                const int8_t *restrict weights = p->weights + k * p->n;                       \
                const uint8_t *restrict shift = p->shift + k * p->n;                          \
                const int8_t *restrict keep = p->keep + k * p->n;                             \
                const int8_t *restrict negate = p->negate + k * p->n;                         \
                (void)weights, (void)shift, (void)keep, (void)negate;                         \
                hint for (int64_t n = 0; n < p->n; n++) y[n] += term;                         \
            }                                                                                 \
        }                                                                                     \
    }

PLAIN_LOOP(multiply_scalar, SCALAR, SCALAR_LOOP, MULTIPLIED)
PLAIN_LOOP(shift_scalar, SCALAR, SCALAR_LOOP, SHIFTED)

#if QNN_X86
#include <immintrin.h>

PLAIN_LOOP(multiply_compiled, QNN_AVX2, , MULTIPLIED)
PLAIN_LOOP(shift_compiled, QNN_AVX2, , SHIFTED)

QNN_AVX2_INLINE void store_tile(const qnn_product *p, int64_t m, int64_t n, __m256i sums[ROWS][2])
{
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < 2; h++)
            _mm256_storeu_si256((__m256i *)(void *)(p->y + (m + r) * p->n + n + 8 * h), sums[r][h]);
}

/* Two products a lane: int16 pairs by vpmaddwd, as the int8 kernel does it. */
QNN_AVX2 static void multiply_pairs(const qnn_product *p, int64_t first, int64_t last)
{
    for (int64_t m = first; m < last; m += ROWS)
        for (int64_t n = 0; n < p->n; n += COLUMNS) {
            __m256i sums[ROWS][2] = {{{0}}};
            const int16_t *w = p->pair_panels + n * p->k, *x = p->wide_x + m * p->k;
            for (int64_t k = 0; k < p->k; k += 2, w += 2 * COLUMNS) {
                __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)w);
                __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(w + COLUMNS));
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; r++) {
                    int32_t pair;
                    memcpy(&pair, x + r * p->k + k, sizeof pair);
                    __m256i both = _mm256_set1_epi32(pair);
                    sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(both, low));
                    sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(both, high));
                }
            }
            store_tile(p, m, n, sums);
        }
}

QNN_AVX2_INLINE __m256i signed_bytes(const int8_t *p)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

QNN_AVX2_INLINE __m256i unsigned_bytes(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

/* One product a lane: int32 by vpmulld, lane for lane what the shifting loop does. */
QNN_AVX2 static void multiply_lanes(const qnn_product *p, int64_t first, int64_t last)
{
    for (int64_t m = first; m < last; m += ROWS)
        for (int64_t n = 0; n < p->n; n += COLUMNS) {
            __m256i sums[ROWS][2] = {{{0}}};
            const int8_t *w = p->weight_panels + n * p->k;
            const int16_t *x = p->wide_x + m * p->k;
            for (int64_t k = 0; k < p->k; k++, w += COLUMNS) {
                __m256i low = signed_bytes(w), high = signed_bytes(w + 8);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; r++) {
                    __m256i v = _mm256_set1_epi32(x[r * p->k + k]);
                    sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_mullo_epi32(v, low));
                    sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_mullo_epi32(v, high));
                }
            }
            store_tile(p, m, n, sums);
        }
}

/* -v is (v xor -1) + 1: the loop does the xor, and the ones of a column are added once, at the end. */
QNN_AVX2 static void shift_lanes(const qnn_product *p, int64_t first, int64_t last)
{
    for (int64_t m = first; m < last; m += ROWS)
        for (int64_t n = 0; n < p->n; n += COLUMNS) {
            __m256i sums[ROWS][2] = {{{0}}}, ones[2] = {{0}};
            const uint8_t *w = p->shift_panels + n * p->k;
            const int8_t *s = p->negate_panels + n * p->k;
            const int16_t *x = p->wide_x + m * p->k;
            for (int64_t k = 0; k < p->k; k++, w += COLUMNS, s += COLUMNS) {
                __m256i low = unsigned_bytes(w), high = unsigned_bytes(w + 8);
                __m256i negate_low = signed_bytes(s), negate_high = signed_bytes(s + 8);
                ones[0] = _mm256_sub_epi32(ones[0], negate_low);
                ones[1] = _mm256_sub_epi32(ones[1], negate_high);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; r++) {
                    __m256i v = _mm256_set1_epi32(x[r * p->k + k]);
                    __m256i a = _mm256_xor_si256(_mm256_sllv_epi32(v, low), negate_low);
                    __m256i b = _mm256_xor_si256(_mm256_sllv_epi32(v, high), negate_high);
                    sums[r][0] = _mm256_add_epi32(sums[r][0], a);
                    sums[r][1] = _mm256_add_epi32(sums[r][1], b);
                }
            }
            for (int r = 0; r < ROWS; r++)
                for (int h = 0; h < 2; h++)
                    sums[r][h] = _mm256_add_epi32(sums[r][h], ones[h]);
            store_tile(p, m, n, sums);
        }
}

int qnn_loop_available(int loop) { return loop <= QNN_LOOP_SHIFT_SCALAR || (loop < QNN_LOOPS && qnn_cpu_has_avx2()); }
#else
#define multiply_compiled multiply_scalar
#define shift_compiled shift_scalar
#define multiply_pairs multiply_scalar
#define multiply_lanes multiply_scalar
#define shift_lanes shift_scalar
int qnn_loop_available(int loop) { return loop <= QNN_LOOP_SHIFT_SCALAR; }
#endif

/* The baseline of papers on binary networks: three loops, one float32 sum after another. */
SCALAR void qnn_bench_float_product(const float *x, const float *weights, int64_t m, int64_t n, int64_t k, float *y)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            SCALAR_LOOP for (int64_t t = 0; t < k; t++) sum += x[i * k + t] * weights[j * k + t];
            y[i * n + j] = sum;
        }
}

typedef void loop_fn(const qnn_product *, int64_t, int64_t);

static loop_fn *const loops[QNN_LOOPS] = {
    multiply_scalar, shift_scalar, multiply_compiled, shift_compiled, multiply_pairs, multiply_lanes, shift_lanes,
};

typedef struct {
    loop_fn *loop;
    const qnn_product *product;
} job;

static void loop_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    (void)worker;
    j->loop(j->product, ROWS * begin, ROWS * end);
}

void qnn_loop_run(int loop, const qnn_product *product, int threads)
{
    job j = {loops[loop], product};
    qnn_parallel(product->m / ROWS, threads, loop_block, &j);
}
