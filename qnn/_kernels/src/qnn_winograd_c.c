/* Winograd's transforms in portable C11. */
#include "qnn_gemm_pack.h"
#include "qnn_winograd.h"

/* B applied to four numbers that lie `step` apart in d. */
#define DATA(d, step, i0, i1, i2, i3)                \
    int i0 = (d)[0] - (d)[2 * (step)], i1 = (d)[step] + (d)[2 * (step)], i2 = (d)[2 * (step)] - (d)[step], \
        i3 = (d)[step] - (d)[3 * (step)]

/* The points of one tile and lane. */
QNN_INLINE void data_points(const int8_t *source, int64_t row, int64_t channels, int16_t point[QNN_WINO_POINTS])
{
    int half[4][4];
    for (int x = 0; x < 4; x++) {
        DATA(source + x * channels, row, a, b, c, d);
        half[0][x] = a, half[1][x] = b, half[2][x] = c, half[3][x] = d;
    }
    for (int y = 0; y < 4; y++) {
        DATA(half[y], 1, a, b, c, d);
        point[4 * y] = (int16_t)a, point[4 * y + 1] = (int16_t)b;
        point[4 * y + 2] = (int16_t)c, point[4 * y + 3] = (int16_t)d;
    }
}

static void data_c(const int8_t *source, int64_t row, int64_t channels, int64_t tiles, int16_t *out)
{
    for (int64_t t = 0; t < tiles; t++, source += 2 * channels, out += qnn_wino_tile(channels))
        for (int64_t c = 0; c < channels; c++) {
            int16_t point[QNN_WINO_POINTS];
            data_points(source + c, row, channels, point);
            for (int p = 0; p < QNN_WINO_POINTS; p++)
                out[p * channels + c] = point[p];
        }
}

static void data_pairs_c(const int8_t *source, int64_t row, int64_t channels, int64_t pairs, int64_t stride,
                         int16_t *out)
{
    for (int64_t t = 0; t < 2 * pairs; t++, source += 2 * channels)
        for (int64_t c = 0; c < channels; c++) {
            int16_t point[QNN_WINO_POINTS], *to = out + t / 2 * stride + 2 * c + t % 2;
            data_points(source + c, row, channels, point);
            for (int p = 0; p < QNN_WINO_POINTS; p++)
                to[p * channels * 2] = point[p];
        }
}

/* G2 applied to two numbers. */
QNN_INLINE void grad_points(int first, int second, int out[4])
{
    out[0] = 2 * first;
    out[1] = first + second;
    out[2] = first - second;
    out[3] = 2 * second;
}

static void grad_pairs_c(const int8_t *source, int64_t row, int64_t channels, int64_t pairs, int64_t point_stride,
                         int64_t panel_stride, int16_t *out)
{
    for (int64_t t = 0; t < 2 * pairs; t++, source += 2 * channels)
        for (int64_t c = 0; c < channels; c++) {
            int16_t *to = out + c / QNN_PANEL * panel_stride + t / 2 * 2 * QNN_PANEL + c % QNN_PANEL * 2 + t % 2;
            int half[2][4], point[4];
            for (int x = 0; x < 2; x++)
                grad_points(source[x * channels + c], source[row + x * channels + c], half[x]);
            for (int y = 0; y < 4; y++) {
                grad_points(half[0][y], half[1][y], point);
                for (int x = 0; x < 4; x++)
                    to[(4 * y + x) * point_stride] = (int16_t)point[x];
            }
        }
}

/* G applied to three numbers. */
QNN_INLINE void weight_points(int first, int second, int third, int out[4])
{
    out[0] = 2 * first;
    out[1] = first + second + third;
    out[2] = first - second + third;
    out[3] = 2 * third;
}

static void weights_c(const int8_t *const taps[9], int16_t *out)
{
    for (int c = 0; c < QNN_WINO_LANES; c++) {
        int half[3][4], point[4];
        for (int y = 0; y < 3; y++)
            weight_points(taps[3 * y][c], taps[3 * y + 1][c], taps[3 * y + 2][c], half[y]);
        for (int x = 0; x < 4; x++) {
            weight_points(half[0][x], half[1][x], half[2][x], point);
            for (int y = 0; y < 4; y++)
                out[(4 * y + x) * QNN_WINO_LANES + c] = (int16_t)point[y];
        }
    }
}

/* Two tiles at a time, in the form that compilers multiply 16-bit vectors in (see panel_rows in qnn_gemm_tile_c.c). */
static void products_c(const int16_t *data, int64_t channels, int64_t pairs, const int16_t *packed, int64_t tiles,
                       int32_t *sums)
{
    const qnn_isa *isa = qnn_isa_c();
    for (int64_t t = 0; t < tiles; t += 2, data += 2 * qnn_wino_tile(channels)) {
        const int16_t *rows[2] = {data, data + qnn_wino_tile(channels)};
        for (int64_t point = 0; point < QNN_WINO_POINTS; point++) {
            const qnn_segment segment = {point * channels, pairs};
            isa->panel(rows, t + 1 < tiles ? 2 : 1, 2, &segment, 1, packed + point * pairs * 2 * QNN_PANEL,
                       sums + t * QNN_WINO_SUMS + point * QNN_PANEL, QNN_WINO_SUMS, 0);
        }
    }
}

/* A quarter of sums that are multiples of 4 modulo 2^32, as signed numbers. */
QNN_INLINE int32_t quarter(uint32_t sum) { return QNN_ASR((int32_t)sum, 2); }

static void result_c(const int32_t *sums, int64_t tiles, int64_t row, int64_t pixel, int32_t *out)
{
    for (int64_t t = 0; t < tiles; t++, sums += QNN_WINO_SUMS, out += 2 * pixel)
        for (int c = 0; c < QNN_PANEL; c++) {
            uint32_t half[2][4];
            for (int x = 0; x < 4; x++) {
                const int32_t *m = sums + x * QNN_PANEL + c;
                uint32_t m1 = (uint32_t)m[4 * QNN_PANEL], m2 = (uint32_t)m[8 * QNN_PANEL];
                half[0][x] = (uint32_t)m[0] + m1 + m2;
                half[1][x] = m1 - m2 - (uint32_t)m[12 * QNN_PANEL];
            }
            for (int y = 0; y < 2; y++) {
                out[y * row + c] = quarter(half[y][0] + half[y][1] + half[y][2]);
                out[y * row + pixel + c] = quarter(half[y][1] - half[y][2] - half[y][3]);
            }
        }
}

const struct qnn_winograd qnn_winograd_c = {data_c, weights_c, products_c, result_c, data_pairs_c, grad_pairs_c};
