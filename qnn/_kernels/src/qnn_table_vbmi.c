/* Bytes through a table of 256 entries per channel with the byte permutations of AVX512-VBMI: 64 rows of 16 channels are
   transposed, so that a register holds 64 codes of one channel, looked up there, and transposed back. */
#include "qnn_table.h"

#if QNN_HAS_LANES512
#include "qnn_intrinsics512.h"

/* One step of a transposition: registers 2i and 2i + 1 from i and i + 8, interleaved. */
#define INTERLEAVE(width)                                                 \
    do {                                                                  \
        __m512i mixed[16];                                                \
        for (int i = 0; i < 8; i++) {                                     \
            mixed[2 * i] = _mm512_unpacklo_epi##width(v[i], v[i + 8]);    \
            mixed[2 * i + 1] = _mm512_unpackhi_epi##width(v[i], v[i + 8]); \
        }                                                                 \
        for (int i = 0; i < 16; i++)                                      \
            v[i] = mixed[i];                                              \
    } while (0)

/* In each of the four lanes: byte j of register i and byte i of register j change places. */
QNN_AVX512_VBMI_INLINE void transpose(__m512i v[16])
{
    INTERLEAVE(8);
    INTERLEAVE(8);
    INTERLEAVE(8);
    INTERLEAVE(8);
}

QNN_AVX512_VBMI_INLINE __m512i look_up(__m512i codes, const int8_t *table)
{
    const __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(table), codes, _mm512_loadu_si512(table + 64));
    const __m512i high =
        _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 128), codes, _mm512_loadu_si512(table + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high);
}

/* 64 rows of 16 channels, rows `cols` bytes apart. */
QNN_AVX512_VBMI_INLINE void look_up_square(const uint8_t *codes, const int8_t *table, int64_t cols, int8_t *out)
{
    __m512i v[16];
    for (int i = 0; i < 16; i++) {
        const uint8_t *row = codes + 4 * i * cols;
        v[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)row));
        v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x00F0, _mm_loadu_si128((const __m128i *)(const void *)(row + cols)));
        v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x0F00, _mm_loadu_si128((const __m128i *)(const void *)(row + 2 * cols)));
        v[i] = _mm512_mask_broadcast_i32x4(v[i], 0xF000, _mm_loadu_si128((const __m128i *)(const void *)(row + 3 * cols)));
    }
    transpose(v);
    for (int i = 0; i < 16; i++)
        v[i] = look_up(v[i], table + 256 * i);
    transpose(v);
    for (int i = 0; i < 16; i++) {
        int8_t *row = out + 4 * i * cols;
        _mm_storeu_si128((__m128i *)(void *)row, _mm512_castsi512_si128(v[i]));
        _mm_storeu_si128((__m128i *)(void *)(row + cols), _mm512_extracti32x4_epi32(v[i], 1));
        _mm_storeu_si128((__m128i *)(void *)(row + 2 * cols), _mm512_extracti32x4_epi32(v[i], 2));
        _mm_storeu_si128((__m128i *)(void *)(row + 3 * cols), _mm512_extracti32x4_epi32(v[i], 3));
    }
}

QNN_AVX512_VBMI int64_t qnn_look_up_squares_vbmi(const uint8_t *codes, const int8_t *table, int64_t rows, int64_t cols, int8_t *out)
{
    int64_t done = rows / QNN_SQUARE_ROWS * QNN_SQUARE_ROWS;
    for (int64_t row = 0; row < done; row += QNN_SQUARE_ROWS)
        for (int64_t c = 0; c < cols; c += QNN_SQUARE_CHANNELS)
            look_up_square(codes + row * cols + c, table + c * 256, cols, out + row * cols + c);
    return done;
}

#else /* never asked for */

int64_t qnn_look_up_squares_vbmi(const uint8_t *codes, const int8_t *table, int64_t rows, int64_t cols, int8_t *out)
{
    (void)codes, (void)table, (void)rows, (void)cols, (void)out;
    return 0;
}

#endif
