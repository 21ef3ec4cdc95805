/* Exact sums per channel over all rows: of x, and of x times y (clause BN-1). */
#include <stdlib.h>

#include "qnn_blocks.h"
#include "qnn_channel.h"

#if QNN_X86
#include <immintrin.h>
#endif

typedef struct {
    const void *x, *y;
    int x_bytes, y_bytes;
    int64_t cols;
    qnn_how how;
    int64_t *totals; /* per worker: cols sums, then cols products */
    int64_t stride;
} job;

static inline int32_t load(const void *x, int bytes, int64_t i)
{
    return bytes == 1 ? ((const int8_t *)x)[i] : ((const int16_t *)x)[i];
}

QNN_BODY void plain_rows_body(const job *j, int64_t begin, int64_t end, int64_t *sum, int64_t *dot)
{
    for (int64_t row = begin; row < end; row++)
        for (int64_t c = 0; c < j->cols; c++) {
            int32_t x = load(j->x, j->x_bytes, row * j->cols + c), y = load(j->y, j->y_bytes, row * j->cols + c);
            sum[c] += x;
            dot[c] += x * y; /* at most 2^30 */
        }
}
QNN_TWICE(plain_rows, (const job *j, int64_t begin, int64_t end, int64_t *sum, int64_t *dot), (j, begin, end, sum, dot))

#if QNN_X86

/* 16 neighbouring columns of `count` pairs of rows, `cols` apart; count is bounded so that int32 holds the sums. Two
   rows are interleaved, so that one multiply-add of int16 pairs sums both. */
QNN_AVX2 static void sixteen_columns(const int8_t *x, const int8_t *y, int64_t cols, int64_t count, int32_t sum[16],
                                     int32_t dot[16])
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, d0 = s0, d1 = s0;
    for (int64_t i = 0; i < count; i++, x += 2 * cols, y += 2 * cols) {
        __m256i xa = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)x));
        __m256i xb = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(x + cols)));
        __m256i ya = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)y));
        __m256i yb = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(y + cols)));
        __m256i x0 = _mm256_unpacklo_epi16(xa, xb), x1 = _mm256_unpackhi_epi16(xa, xb);
        __m256i y0 = _mm256_unpacklo_epi16(ya, yb), y1 = _mm256_unpackhi_epi16(ya, yb);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(x0, ones));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(x1, ones));
        d0 = _mm256_add_epi32(d0, _mm256_madd_epi16(x0, y0));
        d1 = _mm256_add_epi32(d1, _mm256_madd_epi16(x1, y1));
    }
    _mm256_storeu_si256((__m256i *)(void *)sum, _mm256_permute2x128_si256(s0, s1, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(sum + 8), _mm256_permute2x128_si256(s0, s1, 0x31));
    _mm256_storeu_si256((__m256i *)(void *)dot, _mm256_permute2x128_si256(d0, d1, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(dot + 8), _mm256_permute2x128_si256(d0, d1, 0x31));
}

/* Some neighbouring columns of `count` groups of rows, `stride` bytes apart: sums of x, and of x * y. */
typedef void columns_fn(const int8_t *x, const int8_t *y, int64_t stride, int64_t count, int32_t *sum, int32_t *dot);

typedef struct {
    columns_fn *function;
    int columns, rows; /* that it takes at a time */
    int64_t most;      /* groups of rows whose sums fit int32 */
} panel;

/* int8 rows begin .. end-1: `fold` rows side by side are one row of fold * cols columns, a whole number of panels. */
static void fast_rows(const job *j, int64_t begin, int64_t end, int64_t *sum, int64_t *dot)
{
    static const panel avx2 = {sixteen_columns, 16, 2, 1 << 15}; /* 2 * 2^15 * 2^14 < 2^31 */
    static const panel avx512 = {qnn_columns_avx512, QNN_COLUMNS512, 4, QNN_MOST_FOURS512};
    const panel *p = j->how.avx512 ? &avx512 : &avx2;
    int64_t fold = 1;
    while (fold * j->cols % p->columns != 0)
        fold *= 2;
    int64_t wide = fold * j->cols, groups = (end - begin) / (p->rows * fold);
    const int8_t *x = (const int8_t *)j->x + begin * j->cols, *y = (const int8_t *)j->y + begin * j->cols;
    for (int64_t first = 0; first < groups; first += p->most) {
        int64_t count = groups - first < p->most ? groups - first : p->most, at = first * p->rows * wide;
        for (int64_t column = 0; column < wide; column += p->columns) {
            int32_t s[QNN_COLUMNS512], d[QNN_COLUMNS512];
            int64_t c = column % j->cols;
            p->function(x + at + column, y + at + column, wide, count, s, d);
            for (int i = 0; i < p->columns; i++) {
                sum[c] += s[i];
                dot[c] += d[i];
                c = c + 1 == j->cols ? 0 : c + 1;
            }
        }
    }
    plain_rows_avx2(j, begin + groups * p->rows * fold, end, sum, dot);
}

#endif

static void add_rows(const job *j, int64_t begin, int64_t end, int64_t *sum, int64_t *dot)
{
#if QNN_X86
    if (j->how.avx2 && j->x_bytes == 1 && j->y_bytes == 1) {
        fast_rows(j, begin, end, sum, dot);
        return;
    }
#endif
    (j->how.avx2 ? plain_rows_avx2 : plain_rows_c)(j, begin, end, sum, dot);
}

static void sum_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *b = context;
    const job *j = b->context;
    int64_t *sum = j->totals + worker * j->stride, *dot = sum + j->cols;
    add_rows(j, qnn_first_item(b, begin), qnn_first_item(b, end), sum, dot);
}

void qnn_add_channel_sums(const void *x, int x_bytes, const void *y, int y_bytes, int64_t rows, int64_t cols,
                          qnn_how how, int64_t *sum, int64_t *dot)
{
    const job j = {x, y, x_bytes, y_bytes, cols, how, 0, 0};
    add_rows(&j, 0, rows, sum, dot);
}

int qnn_channel_sums(const void *x, int x_bytes, const void *y, int y_bytes, int64_t rows, int64_t cols, qnn_how how,
                     int64_t *sum, int64_t *dot)
{
    int64_t grain = qnn_row_grain(cols), blocks_count = (rows + grain - 1) / grain;
    int workers = qnn_workers(blocks_count, how.threads);
    job j = {x, y, x_bytes, y_bytes, cols, how, 0, 2 * cols + 8};
    memset(sum, 0, (size_t)cols * sizeof *sum);
    memset(dot, 0, (size_t)cols * sizeof *dot);
    if (rows < 1 || cols < 1)
        return 0;
    j.totals = calloc((size_t)workers * (size_t)j.stride, sizeof *j.totals);
    if (!j.totals)
        return 1;
    qnn_blocks blocks = {0, &j, rows, grain, 0};
    qnn_parallel(blocks_count, workers, sum_block, &blocks);
    for (int w = 0; w < workers; w++)
        for (int64_t c = 0; c < cols; c++) {
            sum[c] += j.totals[w * j.stride + c];
            dot[c] += j.totals[w * j.stride + cols + c];
        }
    free(j.totals);
    return 0;
}
