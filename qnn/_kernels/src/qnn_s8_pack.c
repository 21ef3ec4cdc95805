/* Copies of bytes into the layouts of int8 products, two lanes of 128 bits at a time: two blocks of 16 by 16 bytes are
 * transposed together, two quads of rows interleaved together. With the registers of AVX-512 the sixteen rows and what
 * becomes of them need no memory. */
#include <string.h>

#include "qnn_cpu.h"
#include "qnn_s8.h"

#if QNN_X86
#include <immintrin.h>

#if QNN_HAS_VNNI && !QNN_EMULATED
#define WIDE QNN_AVX512
#else
#define WIDE QNN_AVX2
#endif

QNN_AVX2_INLINE __m128i load128(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
QNN_AVX2_INLINE void store128(void *p, __m128i v) { _mm_storeu_si128((__m128i *)p, v); }

/* Sixteen bytes at each; and where the lanes go. */
QNN_AVX2_INLINE __m256i load_two(const void *first, const void *second)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(first)), load128(second), 1);
}

QNN_AVX2_INLINE void store_two(void *first, void *second, __m256i v)
{
    store128(first, _mm256_castsi256_si128(v));
    store128(second, _mm256_extracti128_si256(v, 1));
}

QNN_AVX2_INLINE uint64_t load_up_to_8(const int8_t *p, int64_t n)
{
    uint64_t low = 0, high = 0;
    if (n < 4)
        for (int64_t i = 0; i < n; i++)
            low |= (uint64_t)(uint8_t)p[i] << 8 * i;
    else {
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        low |= high << 8 * (n - 4);
    }
    return low;
}

/* n bytes, at most 16, and zeros: none that is not there is read. */
QNN_AVX2_INLINE __m128i load_up_to_16(const int8_t *p, int64_t n)
{
    uint64_t low, high;
    if (n == 16)
        return load128(p);
    if (n < 8)
        return _mm_set_epi64x(0, (int64_t)load_up_to_8(p, n));
    memcpy(&low, p, 8);
    memcpy(&high, p + n - 8, 8);
    return _mm_set_epi64x((int64_t)(n == 8 ? 0 : high >> 8 * (16 - n)), (int64_t)low);
}

/* Four rows of up to 16 bytes to a row of 16 quads. */
QNN_AVX2_INLINE void pack_quad(const int8_t *const *rows, int64_t first, int64_t columns, int8_t *panel)
{
    __m128i a = load_up_to_16(rows[0] + first, columns), b = load_up_to_16(rows[1] + first, columns);
    __m128i c = load_up_to_16(rows[2] + first, columns), d = load_up_to_16(rows[3] + first, columns);
    __m128i low0 = _mm_unpacklo_epi8(a, b), high0 = _mm_unpackhi_epi8(a, b);
    __m128i low1 = _mm_unpacklo_epi8(c, d), high1 = _mm_unpackhi_epi8(c, d);
    store128(panel, _mm_unpacklo_epi16(low0, low1));
    store128(panel + 16, _mm_unpackhi_epi16(low0, low1));
    store128(panel + 32, _mm_unpacklo_epi16(high0, high1));
    store128(panel + 48, _mm_unpackhi_epi16(high0, high1));
}

/* Rows of 16 bytes to two rows of 16 quads: the four of the lower lanes, and the four of the upper ones. */
QNN_AVX2_INLINE void pack_two_quads(__m256i a, __m256i b, __m256i c, __m256i d, int8_t *panel)
{
    __m256i low0 = _mm256_unpacklo_epi8(a, b), high0 = _mm256_unpackhi_epi8(a, b);
    __m256i low1 = _mm256_unpacklo_epi8(c, d), high1 = _mm256_unpackhi_epi8(c, d);
    store_two(panel, panel + 64, _mm256_unpacklo_epi16(low0, low1));
    store_two(panel + 16, panel + 80, _mm256_unpackhi_epi16(low0, low1));
    store_two(panel + 32, panel + 96, _mm256_unpacklo_epi16(high0, high1));
    store_two(panel + 48, panel + 112, _mm256_unpackhi_epi16(high0, high1));
}

/* 16 bytes of four columns to four quads of each: a transpose of 32-bit units. */
QNN_AVX2_INLINE void pack_four_columns(const int8_t *source, int64_t stride, int8_t *panel)
{
    __m128i a = load128(source), b = load128(source + stride);
    __m128i c = load128(source + 2 * stride), d = load128(source + 3 * stride);
    __m128i low0 = _mm_unpacklo_epi32(a, b), high0 = _mm_unpackhi_epi32(a, b);
    __m128i low1 = _mm_unpacklo_epi32(c, d), high1 = _mm_unpackhi_epi32(c, d);
    store128(panel, _mm_unpacklo_epi64(low0, low1));
    store128(panel + 64, _mm_unpackhi_epi64(low0, low1));
    store128(panel + 128, _mm_unpacklo_epi64(high0, high1));
    store128(panel + 192, _mm_unpackhi_epi64(high0, high1));
}

/* The first `n` of 16 bytes. */
QNN_AVX2_INLINE void store_part(int8_t *out, __m128i v, int64_t n)
{
    int8_t bytes[16];
    if (n == 16)
        store128(out, v);
    else if (n == 8)
        _mm_storel_epi64((__m128i *)(void *)out, v);
    else {
        store128(bytes, v);
        memcpy(out, bytes, (size_t)n);
    }
}

/* Two blocks of up to 16 rows by 16 bytes: four rounds that each interleave register i with register i + 8. */
QNN_AVX2_INLINE void transpose_two(const int8_t *const source[2], int64_t stride, const int64_t rows, __m256i flip,
                                   int8_t *const out[2], int64_t out_stride)
{
    __m256i a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = i < rows ? _mm256_xor_si256(load_two(source[0] + i * stride, source[1] + i * stride), flip) : flip;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
        }
        for (int i = 0; i < 16; i++)
            a[i] = b[i];
    }
    for (int i = 0; i < 16; i++) {
        store_part(out[0] + i * out_stride, _mm256_castsi256_si128(a[i]), rows);
        store_part(out[1] + i * out_stride, _mm256_extracti128_si256(a[i], 1), rows);
    }
}

/* Columns 0 .. columns-1, whole sixteens of them; a block without a neighbour is its own. */
QNN_AVX2_INLINE void transpose_sixteens(const int8_t *source, int64_t stride, int64_t rows, int64_t columns, int flip,
                                        int8_t *out, int64_t out_stride)
{
    const __m256i flips = _mm256_set1_epi8(flip ? -128 : 0);
    for (int64_t i = 0, down; i < rows; i += down) {
        down = rows - i >= 32 ? 32 : rows - i >= 16 ? 16 : rows - i;
        for (int64_t j = 0, along; j < columns; j += along) {
            const int8_t *from = source + i * stride + j;
            int8_t *to = out + j * out_stride + i;
            along = down < 32 && columns - j >= 32 ? 32 : 16;
            const int64_t next_in = down == 32 ? 16 * stride : along - 16;
            const int64_t next_out = down == 32 ? 16 : (along - 16) * out_stride;
            const int8_t *const sources[2] = {from, from + next_in};
            int8_t *const outs[2] = {to, to + next_out};
            if (down >= 16)
                transpose_two(sources, stride, 16, flips, outs, out_stride);
            else if (down == 8)
                transpose_two(sources, stride, 8, flips, outs, out_stride);
            else
                transpose_two(sources, stride, down, flips, outs, out_stride);
        }
    }
}
#else
#define WIDE
#endif

static void pack_quad_plain(const int8_t *const *rows, int64_t first, int64_t length, int64_t columns, int8_t *panel)
{
    memset(panel, 0, QNN_S8_STEP);
    for (int64_t i = 0; i < length && i < QNN_S8_QUAD; i++)
        for (int64_t j = 0; j < columns; j++)
            panel[QNN_S8_QUAD * j + i] = rows[i][first + j];
}

WIDE void qnn_s8_pack_rows(const int8_t *const *rows, int64_t first, int64_t length, int64_t columns, int64_t quads,
                           int8_t *panel)
{
    int64_t q = 0;
#if QNN_X86
    const int64_t whole = length / QNN_S8_QUAD < quads ? length / QNN_S8_QUAD : quads;
    for (; columns == QNN_PANEL && q + 2 <= whole; q += 2)
        pack_two_quads(load_two(rows[4 * q] + first, rows[4 * q + 4] + first),
                       load_two(rows[4 * q + 1] + first, rows[4 * q + 5] + first),
                       load_two(rows[4 * q + 2] + first, rows[4 * q + 6] + first),
                       load_two(rows[4 * q + 3] + first, rows[4 * q + 7] + first), panel + q * QNN_S8_STEP);
    for (; q < whole; q++)
        pack_quad(rows + q * QNN_S8_QUAD, first, columns, panel + q * QNN_S8_STEP);
#endif
    for (; q < quads; q++)
        if (q * QNN_S8_QUAD < length)
            pack_quad_plain(rows + q * QNN_S8_QUAD, first, length - q * QNN_S8_QUAD, columns, panel + q * QNN_S8_STEP);
        else
            memset(panel + q * QNN_S8_STEP, 0, QNN_S8_STEP);
}

WIDE void qnn_s8_pack_dense(const int8_t *source, int64_t stride, int64_t quads, int8_t *panel)
{
#if QNN_X86
    for (; quads > 1; quads -= 2, source += 8 * stride, panel += 2 * QNN_S8_STEP) {
        const int8_t *next = source + 4 * stride;
        pack_two_quads(load_two(source, next), load_two(source + stride, next + stride),
                       load_two(source + 2 * stride, next + 2 * stride),
                       load_two(source + 3 * stride, next + 3 * stride), panel);
    }
#endif
    for (; quads > 0; quads--, source += 4 * stride, panel += QNN_S8_STEP) {
        const int8_t *const rows[QNN_S8_QUAD] = {source, source + stride, source + 2 * stride, source + 3 * stride};
        qnn_s8_pack_rows(rows, 0, QNN_S8_QUAD, QNN_PANEL, 1, panel);
    }
}

WIDE void qnn_s8_pack_columns(const int8_t *source, int64_t stride, int64_t length, int64_t columns, int64_t quads,
                              int8_t *panel)
{
    int64_t k = 0, fours = 0;
#if QNN_X86
    fours = columns / 4 * 4;
    if (columns < QNN_PANEL)
        memset(panel, 0, (size_t)(length / 16 * 16 * QNN_PANEL));
    for (; k + 16 <= length; k += 16)
        for (int64_t j = 0; j < fours; j += 4)
            pack_four_columns(source + j * stride + k, stride, panel + k * QNN_PANEL + j * QNN_S8_QUAD);
#endif
    memset(panel + k * QNN_PANEL, 0, (size_t)(quads * QNN_S8_STEP - k * QNN_PANEL));
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = j < fours ? k : 0; i < length; i++)
            panel[i / QNN_S8_QUAD * QNN_S8_STEP + j * QNN_S8_QUAD + i % QNN_S8_QUAD] = source[j * stride + i];
}

/* The columns that no sixteen holds, or all of them: out[j][i] for j from `first` on. */
static void transpose_plain(const int8_t *source, int64_t stride, int64_t rows, int64_t first, int64_t columns, int flip,
                            int8_t *out, int64_t out_stride)
{
    for (int64_t j = first; j < columns; j++)
        for (int64_t i = 0; i < rows; i++)
            out[j * out_stride + i] = (int8_t)(source[i * stride + j] ^ (flip ? -128 : 0));
}

WIDE void qnn_s8_transpose(const int8_t *source, int64_t stride, int64_t rows, int64_t columns, int flip, int8_t *out,
                           int64_t out_stride)
{
    int64_t whole = 0;
    if (columns == 1 && stride == 1) { /* one channel */
        for (int64_t i = 0; i < rows; i++)
            out[i] = (int8_t)(source[i] ^ (flip ? -128 : 0));
        return;
    }
#if QNN_X86
    whole = columns / 16 * 16;
    transpose_sixteens(source, stride, rows, whole, flip, out, out_stride);
#endif
    transpose_plain(source, stride, rows, whole, columns, flip, out, out_stride);
}

#if QNN_X86
QNN_AVX2 void qnn_transpose_avx2(const int8_t *source, int64_t stride, int64_t rows, int64_t columns, int8_t *out,
                                 int64_t out_stride)
{
    const int64_t whole = columns / 16 * 16;
    transpose_sixteens(source, stride, rows, whole, 0, out, out_stride);
    transpose_plain(source, stride, rows, whole, columns, 0, out, out_stride);
}
#endif
