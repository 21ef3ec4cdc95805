/* Exact 3 x 3 convolutions with fewer multiplications: Winograd's F(2x2, 3x3), and F(3x3, 2x2) for the weights'
 * gradient, in integers.
 *
 * A tile of 2 x 2 outputs reads 4 x 4 inputs. With d the inputs, w the weights and
 *
 *         1  0 -1  0          2  0  0
 *     B = 0  1  1  0      G = 1  1  1      A = 1  1  1  0
 *         0 -1  1  0          1 -1  1          0  1 -1 -1
 *         0  1  0 -1          0  0  2
 *
 * the outputs are A [(G w G') * (B d B')] A' / 4, where * multiplies element by element: 16 products for 36. G is
 * twice the usual matrix, so all of it is integers, and the division is a shift of an exact multiple of 4. For the
 * weights' gradient the 2 x 2 gradients of a tile take the place of w, with
 *
 *          2  0
 *     G2 = 1  1      A3 = 1  1  1  0
 *          1 -1           0  1 -1  0
 *          0  2           0  1  1 -1
 *
 * Nothing is rounded anywhere, so the sums are those of clauses MAC-4 to MAC-6.
 *
 * Bounds, with |int8| <= 2^7: |B d B'| <= 2 * 2 * 2^7 = 512 and |G w G'| <= 3 * 3 * 2^7 = 1152, both int16. Sums of
 * products over C channels are at most 512 * 1152 * C, which is also what 4 times the result can reach (9 * 2^14 * C *
 * 4): both stay in int32 while C <= 3640. The 9-term sums of A are taken modulo 2^32, since only their value has to
 * fit. |G2 g G2'| <= 2 * 2 * 2^7 = 512, so the sums over the tiles of a weights' gradient stay in int32 for 8191
 * tiles. */
#ifndef QNN_WINOGRAD_H
#define QNN_WINOGRAD_H

#include <string.h>

#include "qnn_gemm.h"

enum {
    QNN_WINO_POINTS = 16, /* products of a tile */
    QNN_WINO_LANES = 16,  /* channels are padded with zeros to a multiple of this */
    QNN_WINO_DATA = 512, QNN_WINO_WEIGHT = 1152, QNN_WINO_GRAD = 512, /* largest transformed values */
    QNN_WINO_CHANNELS = 3640, QNN_WINO_TILES = 8191
};
/* Distances of tiles are no multiples of large powers of two, since rows so far apart share lines of the first-level
   cache. */
enum { QNN_WINO_SUMS = QNN_WINO_POINTS * QNN_PANEL + 16 };
static inline int64_t qnn_wino_tile(int64_t channels) { return QNN_WINO_POINTS * channels + 32; }

_Static_assert((int64_t)QNN_WINO_DATA * QNN_WINO_WEIGHT * QNN_WINO_CHANNELS < INT64_C(1) << 31, "sums fit int32");
_Static_assert((int64_t)QNN_WINO_DATA * QNN_WINO_GRAD * QNN_WINO_TILES < INT64_C(1) << 31, "sums fit int32");

/* The transforms of one instruction set. `channels` is a multiple of QNN_WINO_LANES; tiles lie side by side, tile t at
   pixel 2 t; `row` is the distance of two rows of pixels, in elements. */
struct qnn_winograd {
    /* out[t][point][channel] = B d B' of the 4 x 4 pixels from source on; tiles of `out` are qnn_wino_tile apart, and
       those of sums QNN_WINO_SUMS. */
    void (*data)(const int8_t *source, int64_t row, int64_t channels, int64_t tiles, int16_t *out);
    /* out[point][lane] = G w G' of QNN_WINO_LANES channels; tap k lies at taps[k]. */
    void (*weights)(const int8_t *const taps[9], int16_t *out);
    /* sums[t][point][column] = products of data[t][point][channel] and packed[point][pair][column][2], one panel. */
    void (*products)(const int16_t *data, int64_t channels, int64_t pairs, const int16_t *packed, int64_t tiles,
                     int32_t *sums);
    /* The 2 x 2 pixels of tile t, 16 columns each, from sums[t][point][column]; pixels lie `pixel` elements apart. */
    void (*result)(const int32_t *sums, int64_t tiles, int64_t row, int64_t pixel, int32_t *out);
    /* out[pair * stride + (point, channel, tile of the pair)] = B d B' of pairs of neighbouring tiles. */
    void (*data_pairs)(const int8_t *source, int64_t row, int64_t channels, int64_t pairs, int64_t stride,
                       int16_t *out);
    /* out[point * point_stride + panel * panel_stride + (pair, column, tile)] = G2 g G2' of 2 x 2 pixels. */
    void (*grad_pairs)(const int8_t *source, int64_t row, int64_t channels, int64_t pairs, int64_t point_stride,
                       int64_t panel_stride, int16_t *out);
};

/* A region of a picture with zeros around: pixels x0 .. x0+width-1 of row y of an image [h, w, channels], as rows of
   `padded` channels. What lies in the channels' padding is never written. */
static inline void qnn_wino_copy_row(const int8_t *image, int64_t h, int64_t w, int64_t channels, int64_t y,
                                     int64_t x0, int64_t width, int64_t padded, int8_t *to)
{
    int64_t from = x0 < 0 ? 0 : x0, end = x0 + width < w ? x0 + width : w;
    if (y < 0 || y >= h || from >= end) {
        memset(to, 0, (size_t)(width * padded));
        return;
    }
    const int8_t *source = image + (y * w + from) * channels;
    memset(to, 0, (size_t)((from - x0) * padded));
    int8_t *inside = to + (from - x0) * padded;
    if (channels == padded)
        memcpy(inside, source, (size_t)((end - from) * channels));
    else
        for (int64_t i = 0; i < end - from; i++)
            memcpy(inside + i * padded, source + i * channels, (size_t)channels);
    memset(inside + (end - from) * padded, 0, (size_t)((x0 + width - end) * padded));
}

static inline int64_t qnn_wino_padded(int64_t channels)
{
    return (channels + QNN_WINO_LANES - 1) / QNN_WINO_LANES * QNN_WINO_LANES;
}

extern const struct qnn_winograd qnn_winograd_c;
extern const struct qnn_winograd qnn_winograd_avx2; /* defined where qnn_isa_avx2() is not NULL */

/* Whether the convolution (or its input gradient) is one that these take and that they make faster. */
int qnn_winograd_takes(const qnn_isa *isa, const qnn_conv_shape *shape, int x_bytes, int w_bytes, int gradient);
int qnn_winograd_takes_weight_grad(const qnn_isa *isa, const qnn_conv_shape *shape, int x_bytes, int g_bytes);
/* As qnn_conv2d and, with `gradient`, as qnn_conv2d_input_grad, of int8 and int8. */
int qnn_winograd_conv2d(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, const void *weights,
                        int gradient, const qnn_output *output, int threads, qnn_counts *counts);
int qnn_winograd_weight_grad(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, const void *g, int wide,
                             void *out, int threads);

#endif
