/* A model of AMX's tiles in plain C (built with QNN_EMULATE=1 only, for tests). It ends the process where a processor
   would raise a fault, where a configuration is loaded twice without a release, and fills with rubbish what no promise
   says is zero. */
#ifndef QNN_EMULATE_TILE_H
#define QNN_EMULATE_TILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QNN_EMULATED_RUBBISH = 0x5B };

typedef struct {
    int configured, rows[8], row_bytes[8];
    int8_t data[8][16][64];
} qnn_emulated_tiles;

static _Thread_local qnn_emulated_tiles qnn_tiles; /* every thread has its own, as on the processor */

static inline void qnn_emulated_require(int holds, const char *rule)
{
    if (holds)
        return;
    fprintf(stderr, "qnn: emulated AMX: %s\n", rule);
    abort();
}

static inline void qnn_emulated_configure(const void *memory)
{
    const uint8_t *c = memory;
    qnn_emulated_require(!qnn_tiles.configured, "tiles are configured that were not released");
    qnn_emulated_require(c[0] == 1, "there is palette 1 only");
    for (int i = 1; i < 16; i++)
        qnn_emulated_require(c[i] == 0, "reserved bytes and the start row must be zero");
    for (int t = 0; t < 16; t++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, c + 16 + 2 * t, sizeof row_bytes);
        int rows = c[48 + t];
        qnn_emulated_require(t < 8 || (rows == 0 && row_bytes == 0), "there are eight tiles");
        qnn_emulated_require(rows <= 16 && row_bytes <= 64, "a tile has at most 16 rows of 64 bytes");
        qnn_emulated_require((rows == 0) == (row_bytes == 0), "a tile has rows and columns or neither");
        if (t < 8) {
            qnn_tiles.rows[t] = rows;
            qnn_tiles.row_bytes[t] = row_bytes;
        }
    }
    memset(qnn_tiles.data, QNN_EMULATED_RUBBISH, sizeof qnn_tiles.data);
    qnn_tiles.configured = 1;
}

static inline void qnn_emulated_release(void)
{
    memset(&qnn_tiles, QNN_EMULATED_RUBBISH, sizeof qnn_tiles);
    qnn_tiles.configured = 0;
}

static inline void qnn_emulated_usable(int t)
{
    qnn_emulated_require(qnn_tiles.configured && t >= 0 && t < 8 && qnn_tiles.rows[t] > 0, "a tile is not configured");
}

static inline void qnn_emulated_zero(int t)
{
    qnn_emulated_usable(t);
    memset(qnn_tiles.data[t], 0, sizeof qnn_tiles.data[t]);
}

/* Bytes beyond a tile's rows and columns become zero, as the processor has it. */
static inline void qnn_emulated_load(int t, const void *from, int64_t stride)
{
    qnn_emulated_zero(t);
    for (int r = 0; r < qnn_tiles.rows[t]; r++)
        memcpy(qnn_tiles.data[t][r], (const char *)from + r * stride, (size_t)qnn_tiles.row_bytes[t]);
}

static inline void qnn_emulated_store(int t, void *to, int64_t stride)
{
    qnn_emulated_usable(t);
    for (int r = 0; r < qnn_tiles.rows[t]; r++)
        memcpy((char *)to + r * stride, qnn_tiles.data[t][r], (size_t)qnn_tiles.row_bytes[t]);
}

/* sum[m][n] += the four products of a[m][4 k ..] and b[k][4 n ..], for every k. */
static inline void qnn_emulated_dot(int sum, int a, int b)
{
    qnn_emulated_usable(sum);
    qnn_emulated_usable(a);
    qnn_emulated_usable(b);
    qnn_emulated_require(sum != a && sum != b && a != b, "the three tiles of a product must be different ones");
    qnn_emulated_require(qnn_tiles.rows[sum] == qnn_tiles.rows[a], "a product has the rows of its left tile");
    qnn_emulated_require(qnn_tiles.row_bytes[sum] == qnn_tiles.row_bytes[b], "and the columns of its right tile");
    qnn_emulated_require(qnn_tiles.row_bytes[a] == 4 * qnn_tiles.rows[b], "the inner sizes must be equal");
    for (int m = 0; m < qnn_tiles.rows[sum]; m++)
        for (int n = 0; n < qnn_tiles.row_bytes[sum] / 4; n++) {
            int32_t total;
            memcpy(&total, &qnn_tiles.data[sum][m][4 * n], sizeof total);
            for (int k = 0; k < qnn_tiles.rows[b]; k++) {
                const int8_t *left = &qnn_tiles.data[a][m][4 * k], *right = &qnn_tiles.data[b][k][4 * n];
                total += left[0] * right[0] + left[1] * right[1] + left[2] * right[2] + left[3] * right[3];
            }
            memcpy(&qnn_tiles.data[sum][m][4 * n], &total, sizeof total);
        }
}

#endif
