/* Products of int8 by int8 in bytes: what avx512vnni and amx share.
 *
 * The unit is a quad: four products of neighbouring bytes, summed in one int32. The left operand is a list of tiles of
 * up to 16 rows, row r of a tile `row_stride` bytes after row r - 1; along a row the bytes come in segments. The right
 * operand is packed in panels of 16 columns, panel[quad][16][4]: 64 bytes are one step of a vector, 16 of them one AMX
 * tile. The rows can be any bytes of memory, pixels of a convolution's input for instance, so nothing is copied per
 * tap; what a padded run reads too much is multiplied by zero weights.
 *
 * Vectors multiply uint8 by int8: `flip` (0x80) turns the bytes of the left operand into value + 128, and the sums
 * start at -128 * (sum of the column), so that the first k of K products leave a sum within 2^14 * K: no intermediate
 * sum leaves int32 while 2^14 * K fits. Clause MAC-1. */
#ifndef QNN_S8_H
#define QNN_S8_H

#include <string.h>

#include "qnn_gemm.h"

enum {
    QNN_S8_TILE = 16,
    QNN_S8_QUAD = 4,
    QNN_S8_STEP = 64, /* bytes of 16 quads, or of one quad of a panel */
    QNN_S8_MOST_ROWS = 256 /* of a block of a product */
};

/* Scratch memory is used as it comes: no result depends on what it held, which the emulation shows. */
static inline void qnn_s8_spoil(void *memory, int64_t bytes)
{
#if defined(QNN_EMULATE)
    memset(memory, 0x5B, (size_t)bytes);
#else
    (void)memory;
    (void)bytes;
#endif
}

/* Rows beyond `rows` may be read and written all the same, up to 16: there is memory for them. */
typedef struct {
    const int8_t *first;
    int64_t rows;
} qnn_s8_tile;

/* The bytes at a row + offset; the panel continues from segment to segment. */
typedef struct {
    int64_t offset, quads;
} qnn_s8_segment;

/* Memory that the caller reads after a multiplication: a hint to fetch it meanwhile. */
typedef struct {
    const int8_t *first;
    int64_t bytes;
} qnn_s8_ahead;

/* sums[16 * t + r][16 * p + j] = or += the product of row r of tile t and column j of panel p. */
typedef struct {
    const qnn_s8_tile *tile;
    int64_t tiles, row_stride;
    const qnn_s8_segment *segment;
    int64_t segments;
    const int8_t *panel;
    int64_t panels, panel_stride; /* in bytes */
    const int32_t *start;         /* [panels][16], from qnn_s8.start, or NULL without it */
    int32_t *sums;
    int64_t sums_stride;
    int accumulate;
    int fetch_ahead; /* the rows come from further than the nearest caches, each tile after the one before */
    qnn_s8_ahead ahead[2];
} qnn_s8_block;

struct qnn_s8 {
    int flip;             /* what the bytes of the left operand are xored with */
    int64_t quads;        /* runs are padded to a multiple of so many quads */
    int64_t rows;         /* what a tile costs is proportional to its rows, rounded up to so many */
    int64_t block_rows;   /* of a block of a product: more use a panel more often, fewer leave the caches room */
    void (*copy)(const int8_t *source, int64_t n, int8_t *out); /* out[i] = source[i] ^ flip */
    void (*begin)(void);  /* before and after the multiplications of one thread's block */
    void (*end)(void);
    void (*start)(const int8_t *panel, int64_t quads, int32_t start[16]); /* NULL: sums start at 0 */
    void (*multiply)(const qnn_s8_block *block);
};

const qnn_s8 *qnn_s8_vnni(void); /* NULL where the compiler lacks the instructions */
const qnn_s8 *qnn_s8_amx(void);
/* Asks the operating system once for the right to use tiles: 1 granted, 0 refused. */
int qnn_amx_permission(void);

static inline int64_t qnn_s8_padded(const qnn_s8 *s8, int64_t bytes)
{
    int64_t unit = s8->quads * QNN_S8_QUAD;
    return (bytes + unit - 1) / unit * unit;
}

/* Length of a row so that 16 of them lie in different sets of the first-level cache: an odd number of lines. */
static inline int64_t qnn_s8_row_length(int64_t bytes) { return ((bytes + 63) / 64 | 1) * 64; }

/* Packs columns 0 .. columns-1 (<= 16) of `length` rows, row k at rows[k] + first, into `quads` quads; zeros beyond. */
void qnn_s8_pack_rows(const int8_t *const *rows, int64_t first, int64_t length, int64_t columns, int64_t quads,
                      int8_t *panel);
/* The same of 16 columns whose row k lies at source + k * stride, and there are rows for all quads. */
void qnn_s8_pack_dense(const int8_t *source, int64_t stride, int64_t quads, int8_t *panel);
/* The same where column j is contiguous at source + j * stride. */
void qnn_s8_pack_columns(const int8_t *source, int64_t stride, int64_t length, int64_t columns, int64_t quads,
                         int8_t *panel);
/* out[j * out_stride + i] = source[i * stride + j] ^ flip for i < rows, j < columns. */
void qnn_s8_transpose(const int8_t *source, int64_t stride, int64_t rows, int64_t columns, int flip, int8_t *out,
                      int64_t out_stride);
/* The same without flip, for code that has no more than AVX2. */
void qnn_transpose_avx2(const int8_t *source, int64_t stride, int64_t rows, int64_t columns, int8_t *out,
                        int64_t out_stride);

/* Drivers, with the arguments of qnn_gemm and so on. Each returns 1 when the case is not for it: operands other than
   int8, sums of int64 (but for weights), groups, or buffers that would get too large. */
int qnn_gemm_s8(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                qnn_counts *counts);
int qnn_conv2d_s8(const qnn_isa *isa, const qnn_conv_shape *shape, const void *input, const void *weights, int gradient,
                  const qnn_output *output, int threads, qnn_counts *counts);
int qnn_conv2d_weight_grad_s8(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, const void *g, int wide,
                              void *out, int threads);

#endif
