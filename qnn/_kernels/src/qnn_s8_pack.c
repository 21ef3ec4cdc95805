/* Copies of bytes into the layouts of int8 products. On x86-64 with SSE2, which every such machine has: these steps run
   as fast as the caches deliver. */
#include "qnn_s8.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

static inline __m128i load128(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline void store128(void *p, __m128i v) { _mm_storeu_si128((__m128i *)p, v); }

static inline uint64_t load_up_to_8(const int8_t *p, int64_t n)
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
static inline __m128i load_up_to_16(const int8_t *p, int64_t n)
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
static inline void pack_quad(const int8_t *const *rows, int64_t first, int64_t columns, int8_t *panel)
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

/* 16 bytes of four columns to four quads of each: a transpose of 32-bit units. */
static inline void pack_four_columns(const int8_t *source, int64_t stride, int8_t *panel)
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

/* Up to 16 rows by 16 bytes: four rounds that each interleave register i with register i + 8. */
static inline void transpose_16(const int8_t *source, int64_t stride, int64_t rows, __m128i flip, int8_t *out,
                                int64_t out_stride)
{
    __m128i a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = i < rows ? _mm_xor_si128(load128(source + i * stride), flip) : flip;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        for (int i = 0; i < 16; i++)
            a[i] = b[i];
    }
    for (int i = 0; i < 16; i++, out += out_stride)
        if (rows == 16)
            store128(out, a[i]);
        else if (rows == 8)
            _mm_storel_epi64((__m128i *)(void *)out, a[i]);
        else {
            int8_t row[16];
            store128(row, a[i]);
            memcpy(out, row, (size_t)rows);
        }
}
#endif

static void pack_quad_plain(const int8_t *const *rows, int64_t first, int64_t length, int64_t columns, int8_t *panel)
{
    memset(panel, 0, QNN_S8_STEP);
    for (int64_t i = 0; i < length && i < QNN_S8_QUAD; i++)
        for (int64_t j = 0; j < columns; j++)
            panel[QNN_S8_QUAD * j + i] = rows[i][first + j];
}

void qnn_s8_pack_rows(const int8_t *const *rows, int64_t first, int64_t length, int64_t columns, int64_t quads,
                      int8_t *panel)
{
    for (int64_t q = 0; q < quads; q++, panel += QNN_S8_STEP) {
        int64_t k = q * QNN_S8_QUAD;
#if defined(__SSE2__)
        if (k + QNN_S8_QUAD <= length) {
            if (columns == QNN_PANEL)
                pack_quad(rows + k, first, QNN_PANEL, panel);
            else
                pack_quad(rows + k, first, columns, panel);
            continue;
        }
#endif
        if (k < length)
            pack_quad_plain(rows + k, first, length - k, columns, panel);
        else
            memset(panel, 0, QNN_S8_STEP);
    }
}

void qnn_s8_pack_columns(const int8_t *source, int64_t stride, int64_t length, int64_t columns, int64_t quads,
                         int8_t *panel)
{
    int64_t k = 0, fours = 0;
#if defined(__SSE2__)
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

void qnn_s8_transpose(const int8_t *source, int64_t stride, int64_t rows, int64_t columns, int flip, int8_t *out,
                      int64_t out_stride)
{
    int8_t mask = flip ? -128 : 0;
    int64_t whole = 0;
    if (columns == 1 && stride == 1) { /* one channel */
        for (int64_t i = 0; i < rows; i++)
            out[i] = (int8_t)(source[i] ^ mask);
        return;
    }
#if defined(__SSE2__)
    const __m128i masks = _mm_set1_epi8(mask);
    whole = columns / 16 * 16;
    for (int64_t i = 0; i < rows; i += 16)
        for (int64_t j = 0; j < whole; j += 16) {
            const int8_t *from = source + i * stride + j;
            int8_t *to = out + j * out_stride + i;
            if (rows - i >= 16)
                transpose_16(from, stride, 16, masks, to, out_stride);
            else if (rows - i == 8)
                transpose_16(from, stride, 8, masks, to, out_stride);
            else
                transpose_16(from, stride, rows - i, masks, to, out_stride);
        }
#endif
    for (int64_t j = whole; j < columns; j++)
        for (int64_t i = 0; i < rows; i++)
            out[j * out_stride + i] = (int8_t)(source[i * stride + j] ^ mask);
}
