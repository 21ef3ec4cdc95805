/* Counts of differing bits with AVX2. Straight from rows: a table of 16 counts per half byte. From panels: a half byte
 * of a row picks the table of its differences to all half bytes, which one shuffle then looks up for 32 columns; that
 * takes half the instructions per bit. */
#include <string.h>

#include "qnn_cpu.h"
#include "qnn_s8.h"
#include "qnn_xnor.h"

#if QNN_X86
#include <immintrin.h>

enum {
    STEPS = 31,   /* additions of at most 8 to a byte */
    SUMS = 256,   /* so many times 8 * STEPS fit 16 bits */
    ROWS = 4,
    WIDTH = 64    /* columns of a panel */
};

QNN_AVX2_INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* Ones of each byte. */
QNN_AVX2_INLINE __m256i ones(__m256i v)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                           2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

/* Ones of a xor b in four parts of 64 bits. */
QNN_AVX2_INLINE __m256i differing(const uint64_t *a, const uint64_t *b, int64_t n)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum = zero;
    int64_t i = 0;
    while (n - i >= 4) {
        int64_t end = n - i < 4 * STEPS ? n : i + 4 * STEPS;
        __m256i bytes = zero;
        for (; end - i >= 4; i += 4)
            bytes = _mm256_add_epi8(bytes, ones(_mm256_xor_si256(load256(a + i), load256(b + i))));
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, zero));
    }
    if (i < n) { /* only the words that are there; the others read as 0 */
        const __m256i there = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n - i), _mm256_setr_epi64x(0, 1, 2, 3));
        __m256i x = _mm256_maskload_epi64((const long long *)(const void *)(a + i), there);
        __m256i y = _mm256_maskload_epi64((const long long *)(const void *)(b + i), there);
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(ones(_mm256_xor_si256(x, y)), zero));
    }
    return sum;
}

/* The lower halves of the four lanes of each, added up. */
QNN_AVX2_INLINE __m128i four_sums(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256 ab = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
    __m256 cd = _mm256_shuffle_ps(_mm256_castsi256_ps(c), _mm256_castsi256_ps(d), 0x88);
    __m256i pairs = _mm256_hadd_epi32(_mm256_castps_si256(ab), _mm256_castps_si256(cd));
    return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

QNN_AVX2 static void dots_avx2(const uint64_t *a, int64_t a_stride, int64_t rows, const uint64_t *b, int64_t b_stride,
                               int64_t columns, int64_t words, int32_t *counts, int64_t counts_stride)
{
    for (int64_t c = 0; c < columns; c += 4, b += 4 * b_stride)
        for (int64_t r = 0; r < rows; r++) {
            const uint64_t *row = a + r * a_stride;
            int32_t *to = counts + r * counts_stride + c, last[4];
            int64_t n = columns - c;
            __m256i first = differing(row, b, words), second = first, third = first, fourth = first;
            if (n > 1)
                second = differing(row, b + b_stride, words);
            if (n > 2)
                third = differing(row, b + 2 * b_stride, words);
            if (n > 3)
                fourth = differing(row, b + 3 * b_stride, words);
            _mm_storeu_si128((__m128i *)(void *)(n > 3 ? to : last), four_sums(first, second, third, fourth));
            if (n < 4)
                memcpy(to, last, (size_t)n * sizeof *to);
        }
}

/* panel[byte][column]; the columns of the next panel are fetched meanwhile. */
static void pack(const uint64_t *b, int64_t b_stride, int64_t columns, int64_t words, void *panel)
{
    for (int64_t i = 0; i < columns * b_stride; i += 8)
        _mm_prefetch((const char *)(b + columns * b_stride + i), _MM_HINT_T1);
    if (columns < WIDTH)
        memset(panel, 0, (size_t)(words * 8 * WIDTH));
    qnn_transpose_avx2((const int8_t *)b, b_stride * 8, columns, words * 8, panel, WIDTH);
}

/* Where the tables of the two half bytes of each byte begin. */
static void prepare(const uint64_t *row, int64_t words, uint8_t *prepared)
{
    const uint8_t *bytes = (const uint8_t *)row;
    for (int64_t i = 0; i < 8 * words; i++) {
        prepared[2 * i] = (uint8_t)(bytes[i] << 4);
        prepared[2 * i + 1] = bytes[i] & 0xF0;
    }
}

/* Ones of u xor v at [u][v]. */
static const uint8_t TABLES[256] __attribute__((aligned(64))) = {
    0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 1, 0, 2, 1, 2, 1, 3, 2, 2, 1, 3, 2, 3, 2, 4, 3,
    1, 2, 0, 1, 2, 3, 1, 2, 2, 3, 1, 2, 3, 4, 2, 3, 2, 1, 1, 0, 3, 2, 2, 1, 3, 2, 2, 1, 4, 3, 3, 2,
    1, 2, 2, 3, 0, 1, 1, 2, 2, 3, 3, 4, 1, 2, 2, 3, 2, 1, 3, 2, 1, 0, 2, 1, 3, 2, 4, 3, 2, 1, 3, 2,
    2, 3, 1, 2, 1, 2, 0, 1, 3, 4, 2, 3, 2, 3, 1, 2, 3, 2, 2, 1, 2, 1, 1, 0, 4, 3, 3, 2, 3, 2, 2, 1,
    1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 2, 1, 3, 2, 3, 2, 4, 3, 1, 0, 2, 1, 2, 1, 3, 2,
    2, 3, 1, 2, 3, 4, 2, 3, 1, 2, 0, 1, 2, 3, 1, 2, 3, 2, 2, 1, 4, 3, 3, 2, 2, 1, 1, 0, 3, 2, 2, 1,
    2, 3, 3, 4, 1, 2, 2, 3, 1, 2, 2, 3, 0, 1, 1, 2, 3, 2, 4, 3, 2, 1, 3, 2, 2, 1, 3, 2, 1, 0, 2, 1,
    3, 4, 2, 3, 2, 3, 1, 2, 2, 3, 1, 2, 1, 2, 0, 1, 4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0,
};

/* Adds the 32 bytes to 32 sums. */
QNN_AVX2_INLINE void widen(__m256i bytes, uint16_t *sums)
{
    __m256i *to = (__m256i *)(void *)sums;
    _mm256_storeu_si256(to, _mm256_add_epi16(load256(to), _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes))));
    __m256i upper = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1));
    _mm256_storeu_si256(to + 1, _mm256_add_epi16(load256(to + 1), upper));
}

/* total + v. Compilers take the second line for a change of the value: they would add up two steps first, and then find
   no register for everything. */
QNN_AVX2_INLINE __m256i add_in_place(__m256i total, __m256i v)
{
    total = _mm256_add_epi8(total, v);
    __asm__("" : "+x"(total));
    return total;
}

/* rows is a constant at every call, so the counts live in registers: at most STEPS bytes of each row. */
QNN_AVX2_INLINE void part(const int rows, const uint8_t *const *a, const uint8_t *panel, int64_t bytes,
                          uint16_t sums[ROWS][WIDTH])
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i total[ROWS][2];
    for (int r = 0; r < rows; r++)
        total[r][0] = total[r][1] = _mm256_setzero_si256();
    for (int64_t i = 0; i < bytes; i++)
        for (int half = 0; half < 2; half++) {
            __m256i left = load256(panel + WIDTH * i), right = load256(panel + WIDTH * i + 32);
            left = _mm256_and_si256(half ? _mm256_srli_epi16(left, 4) : left, mask);
            right = _mm256_and_si256(half ? _mm256_srli_epi16(right, 4) : right, mask);
            for (int r = 0; r < rows; r++) {
                const void *at = TABLES + a[r][2 * i + half];
                __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)at));
                total[r][0] = add_in_place(total[r][0], _mm256_shuffle_epi8(table, left));
                total[r][1] = add_in_place(total[r][1], _mm256_shuffle_epi8(table, right));
            }
        }
    for (int r = 0; r < rows; r++) {
        widen(total[r][0], sums[r]);
        widen(total[r][1], sums[r] + 32);
    }
}

QNN_AVX2 static void add_part(int64_t rows, const uint8_t *const *a, const uint8_t *panel, int64_t bytes,
                              uint16_t sums[ROWS][WIDTH])
{
    switch (rows) {
    case 1:
        part(1, a, panel, bytes, sums);
        break;
    case 2:
        part(2, a, panel, bytes, sums);
        break;
    case 3:
        part(3, a, panel, bytes, sums);
        break;
    default:
        part(ROWS, a, panel, bytes, sums);
        break;
    }
}

/* A few rows at a time. */
QNN_AVX2 static void multiply_avx2(const uint8_t *a, int64_t a_stride, int64_t rows, const void *panel, int64_t words,
                                   int32_t *counts, int64_t counts_stride)
{
    for (int64_t r = 0; r < rows; r += ROWS, a += ROWS * a_stride, counts += ROWS * counts_stride) {
        const int64_t m = rows - r < ROWS ? rows - r : ROWS, bytes = 8 * words;
        uint16_t sums[ROWS][WIDTH];
        for (int64_t begin = 0; begin < bytes; begin += SUMS * STEPS) {
            int64_t end = bytes - begin < SUMS * STEPS ? bytes : begin + SUMS * STEPS;
            memset(sums, 0, sizeof sums);
            for (int64_t i = begin; i < end; i += STEPS) {
                const uint8_t *row[ROWS];
                for (int64_t y = 0; y < m; y++)
                    row[y] = a + y * a_stride + 2 * i;
                add_part(m, row, (const uint8_t *)panel + WIDTH * i, end - i < STEPS ? end - i : STEPS, sums);
            }
            for (int64_t y = 0; y < m; y++)
                for (int64_t c = 0; c < WIDTH; c++)
                    counts[y * counts_stride + c] = (begin ? counts[y * counts_stride + c] : 0) + sums[y][c];
        }
    }
}

QNN_AVX2 static void finish_avx2(const uint32_t *all, const int32_t *counts, int64_t n, int32_t *y)
{
    QNN_FINISH_BITS(all, counts, n, y);
}

const qnn_bits *qnn_bits_avx2(void)
{
    static const qnn_bits bits = {dots_avx2, 6, WIDTH, 16, pack, prepare, multiply_avx2, finish_avx2};
    return &bits;
}

#else

const qnn_bits *qnn_bits_avx2(void) { return 0; }

#endif
