/* The steps of an integer product with AVX2: exact pairs of int16 products by pmaddwd, 6 rows by 16 columns at a
   time. */
#include <string.h>

#include "qnn_cpu.h"
#include "qnn_gemm.h"
#include "qnn_gemm_pack.h"
#include "qnn_winograd.h"

#if QNN_X86
#include <immintrin.h>

QNN_AVX2_INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
QNN_AVX2_INLINE void store256(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

/* `count` is a constant at every call, so the sums live in registers. */
QNN_AVX2_INLINE void tile(const int count, const int16_t *const *rows, int64_t step, const qnn_segment *segments,
                          int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride,
                          int accumulate)
{
    __m256i total[QNN_TILE_ROWS][2];
    for (int r = 0; r < count; r++)
        total[r][0] = total[r][1] = _mm256_setzero_si256();
    for (int64_t s = 0; s < segment_count; s++) {
        int64_t at = segments[s].offset;
        const int16_t *end = panel + segments[s].pairs * 2 * QNN_PANEL;
        for (; panel < end; panel += 2 * QNN_PANEL, at += step) {
            __m256i low = load256(panel), high = load256(panel + QNN_PANEL);
            for (int r = 0; r < count; r++) {
                int32_t pair;
                memcpy(&pair, rows[r] + at, sizeof pair);
                __m256i both = _mm256_set1_epi32(pair);
                total[r][0] = _mm256_add_epi32(total[r][0], _mm256_madd_epi16(both, low));
                total[r][1] = _mm256_add_epi32(total[r][1], _mm256_madd_epi16(both, high));
            }
        }
    }
    for (int r = 0; r < count; r++, sums += sums_stride) {
        if (accumulate) {
            total[r][0] = _mm256_add_epi32(total[r][0], load256(sums));
            total[r][1] = _mm256_add_epi32(total[r][1], load256(sums + 8));
        }
        store256(sums, total[r][0]);
        store256(sums + 8, total[r][1]);
    }
}

#define TILE(n)                                                                                    \
    case n:                                                                                        \
        tile(n, rows, step, segments, segment_count, panel, sums, sums_stride, accumulate);        \
        break

QNN_AVX2 static void panel_avx2(const int16_t *const *rows, int64_t count, int64_t step, const qnn_segment *segments,
                                int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride,
                                int accumulate)
{
    for (; count >= QNN_TILE_ROWS; count -= QNN_TILE_ROWS, rows += QNN_TILE_ROWS, sums += QNN_TILE_ROWS * sums_stride)
        tile(QNN_TILE_ROWS, rows, step, segments, segment_count, panel, sums, sums_stride, accumulate);
    switch (count) {
        TILE(1);
        TILE(2);
        TILE(3);
        TILE(4);
        TILE(5);
    default:
        break;
    }
}

/* The sums of eight lanes of four vectors. */
QNN_AVX2_INLINE __m128i four_sums(const __m256i v[4])
{
    __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

/* m is a constant at every call; n is always QNN_DOT_COLUMNS. */
QNN_AVX2_INLINE void dots_of(const int m, const int16_t *a, int64_t a_stride, const int8_t *b, int64_t b_stride,
                             int64_t k, int32_t *sums)
{
    __m256i total[QNN_DOT_ROWS][QNN_DOT_COLUMNS];
    int64_t i = 0;
    for (int r = 0; r < m; r++)
        for (int c = 0; c < QNN_DOT_COLUMNS; c++)
            total[r][c] = _mm256_setzero_si256();
    for (; i + 16 <= k; i += 16) {
        __m256i column[QNN_DOT_COLUMNS];
        for (int c = 0; c < QNN_DOT_COLUMNS; c++)
            column[c] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(b + c * b_stride + i)));
        if (i % 64 == 0) /* the columns after these; a prefetch may point anywhere */
            for (int c = 0; c < QNN_DOT_COLUMNS; c++)
                _mm_prefetch((const char *)b + (QNN_DOT_COLUMNS + c) * b_stride + i, _MM_HINT_T0);
        for (int r = 0; r < m; r++) {
            __m256i row = load256(a + r * a_stride + i);
            for (int c = 0; c < QNN_DOT_COLUMNS; c++)
                total[r][c] = _mm256_add_epi32(total[r][c], _mm256_madd_epi16(row, column[c]));
        }
    }
    for (int r = 0; r < m; r++) {
        _mm_storeu_si128((__m128i *)(void *)(sums + r * QNN_DOT_COLUMNS), four_sums(total[r]));
        for (int64_t rest = i; rest < k; rest++)
            for (int c = 0; c < QNN_DOT_COLUMNS; c++)
                sums[r * QNN_DOT_COLUMNS + c] += a[r * a_stride + rest] * b[c * b_stride + rest];
    }
}

QNN_AVX2 static void dots_avx2(const int16_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride,
                               int64_t n, int64_t k, int32_t *sums)
{
    if (n < QNN_DOT_COLUMNS) {
        qnn_dots_plain(a, a_stride, m, b, b_stride, n, k, sums);
        return;
    }
    if (m == 1)
        dots_of(1, a, a_stride, b, b_stride, k, sums);
    else
        dots_of(QNN_DOT_ROWS, a, a_stride, b, b_stride, k, sums);
}

/* A pair row of 16 columns from two rows of 16 int8. */
QNN_AVX2_INLINE void pack_pair_s8(__m128i first, __m128i second, int16_t *panel)
{
    store256(panel, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)));
    store256(panel + QNN_PANEL, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second)));
}

QNN_AVX2 static void pack_rows_avx2(const void *const *rows, int bytes, int64_t length, int64_t columns, int split,
                                    int16_t *panel)
{
    if (bytes == 2)
        qnn_pack_rows_plain(rows, 2, length, columns, split, panel);
    else if (columns < QNN_PANEL)
        qnn_pack_rows_plain(rows, 1, length, columns, 0, panel);
    else
        for (int64_t k = 0; k < length; k += 2, panel += 2 * QNN_PANEL) {
            __m128i first = _mm_loadu_si128((const __m128i *)rows[k]);
            pack_pair_s8(first, k + 1 < length ? _mm_loadu_si128((const __m128i *)rows[k + 1]) : _mm_setzero_si128(),
                         panel);
        }
}

/* Eight columns of eight pairs of int8 (16 bytes each) become eight pair rows of eight columns: a transpose of
   16-bit units. */
QNN_AVX2_INLINE void transpose_pairs(const int8_t *source, int64_t stride, int16_t *panel)
{
    __m128i a[8], b[8];
    for (int j = 0; j < 8; j++)
        a[j] = _mm_loadu_si128((const __m128i *)(source + j * stride));
    for (int j = 0; j < 4; j++) {
        b[j] = _mm_unpacklo_epi16(a[2 * j], a[2 * j + 1]);
        b[j + 4] = _mm_unpackhi_epi16(a[2 * j], a[2 * j + 1]);
    }
    for (int half = 0; half < 2; half++) {
        __m128i *q = b + 4 * half;
        __m128i low01 = _mm_unpacklo_epi32(q[0], q[1]), low23 = _mm_unpacklo_epi32(q[2], q[3]);
        __m128i high01 = _mm_unpackhi_epi32(q[0], q[1]), high23 = _mm_unpackhi_epi32(q[2], q[3]);
        int16_t *out = panel + half * 4 * 2 * QNN_PANEL;
        store256(out, _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(low01, low23)));
        store256(out + 2 * QNN_PANEL, _mm256_cvtepi8_epi16(_mm_unpackhi_epi64(low01, low23)));
        store256(out + 4 * QNN_PANEL, _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(high01, high23)));
        store256(out + 6 * QNN_PANEL, _mm256_cvtepi8_epi16(_mm_unpackhi_epi64(high01, high23)));
    }
}

QNN_AVX2 static void pack_columns_avx2(const void *source, int bytes, int64_t stride, int64_t length, int64_t columns,
                                       int split, int16_t *panel)
{
    int64_t k = 0;
    if (bytes == 2) {
        qnn_pack_columns_plain(source, 2, stride, length, columns, split, panel);
        return;
    }
    const int8_t *bytes_source = source;
    if (columns == QNN_PANEL)
        for (; k + 16 <= length; k += 16, panel += 16 * QNN_PANEL) {
            transpose_pairs(bytes_source + k, stride, panel);
            transpose_pairs(bytes_source + k + 8 * stride, stride, panel + QNN_PANEL);
        }
    if (k < length)
        qnn_pack_columns_plain(bytes_source + k, 1, stride, length - k, columns, 0, panel);
}

QNN_AVX2 static void widen_avx2(const void *source, int bytes, int64_t n, int16_t *out)
{
    if (bytes == 2) {
        memcpy(out, source, (size_t)n * sizeof *out);
        return;
    }
    const int8_t *s = source;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        store256(out + i, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(s + i))));
    for (; i < n; i++)
        out[i] = s[i];
}

QNN_AVX2 static void interleave_avx2(const int16_t *first, const int16_t *second, int64_t n, int16_t *out)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i a = load256(first + i), b = load256(second + i);
        __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
        store256(out + 2 * i, _mm256_permute2x128_si256(low, high, 0x20));
        store256(out + 2 * i + 16, _mm256_permute2x128_si256(low, high, 0x31));
    }
    qnn_interleave_plain(first + i, second + i, n - i, out + 2 * i);
}

const qnn_isa *qnn_isa_avx2(void)
{
    static const qnn_isa isa = {
        .panel = panel_avx2,
        .pack_rows = pack_rows_avx2,
        .pack_columns = pack_columns_avx2,
        .widen = widen_avx2,
        .interleave = interleave_avx2,
        .requantize_s32 = qnn_requantize_rows_s32_avx2,
        .requantize_s64 = qnn_requantize_rows_s64_avx2,
        .dots = dots_avx2,
        .decode4 = qnn_decode4_avx2,
        .codes = &qnn_codes_avx2,
        .winograd = &qnn_winograd_avx2,
        .how = {.avx2 = 1, .threads = 1},
    };
    return &isa;
}

#else

const qnn_isa *qnn_isa_avx2(void) { return 0; }

#endif
