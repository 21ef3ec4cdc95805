/* Exact integer products of blocks: what matrix products and convolutions share.
 *
 * Everything is brought to one form. The left operand is a list of rows of int16; along a row the products come in
 * segments of neighbouring pairs. The right operand is packed in panels of 16 columns as pairs: panel[k / 2][16][2].
 * One function multiplies a list of rows with one panel into int32 sums that cannot overflow; longer sums are
 * drained into int64 in time. int16 times int16 is split: the right operand's upper and lower byte become columns of
 * their own, so a panel then holds 8 real columns (upper bytes in columns 0..7, lower bytes, unsigned, in 8..15).
 * Clause MAC-1. */
#ifndef QNN_GEMM_H
#define QNN_GEMM_H

#include <stdint.h>

#include "qnn_arena.h"
#include "qnn_elem.h"

enum { QNN_PANEL = 16, QNN_TILE_ROWS = 6, QNN_DOT_ROWS = 2, QNN_DOT_COLUMNS = 4 };

/* `pairs` products of two neighbours, the first pair at rows[r] + offset, each next one `step` (of the call)
   further. */
typedef struct {
    int64_t offset, pairs;
} qnn_segment;

/* sums[r][j] (+)= products of row r and column j over all segments. The caller bounds the sums (qnn_safe_k). */
typedef void qnn_panel_fn(const int16_t *const *rows, int64_t count, int64_t step, const qnn_segment *segments,
                          int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride,
                          int accumulate);
/* Packs columns 0 .. columns-1 (at most one panel) of `length` rows; row k lies at rows[k]. Absent ones become 0. */
typedef void qnn_pack_rows_fn(const void *const *rows, int bytes, int64_t length, int64_t columns, int split,
                              int16_t *panel);
/* The same where column j is contiguous at source + j * stride (in elements). */
typedef void qnn_pack_columns_fn(const void *source, int bytes, int64_t stride, int64_t length, int64_t columns,
                                 int split, int16_t *panel);
/* n power-of-two codes of 4 bits (clause POW-1), the first in the lower half of a byte, to integer weights. */
typedef void qnn_decode4_fn(const uint8_t *packed, int64_t n, int8_t *weights);
/* sums[r][c] (rows of QNN_DOT_COLUMNS) = row r of a (1 .. rows of them) times QNN_DOT_COLUMNS columns of 4-bit codes,
   each weight QNN_CODE_BIAS too large: what is decoded then is an unsigned byte. Each block of a holds first the terms
   of even, then those of odd codes; 2^14 * block * blocks fits int32. */
enum { QNN_CODE_BIAS = 64 };
typedef struct {
    int64_t block; /* codes of a step */
    int64_t rows;  /* at most */
    int64_t most_rows; /* of A; from here on decoding all codes first pays */
    void (*dots)(const int8_t *a, int64_t a_stride, int64_t m, const uint8_t *const *columns, int64_t blocks,
                 int32_t *sums);
} qnn_codes;
/* n integers of `bytes` bytes (1 or 2) to int16. */
typedef void qnn_widen_fn(const void *source, int bytes, int64_t n, int16_t *out);
/* out[i] = the pair (first[i], second[i]). */
typedef void qnn_interleave_fn(const int16_t *first, const int16_t *second, int64_t n, int16_t *out);
/* sums[r][c] (rows of QNN_DOT_COLUMNS) = row r of a times row c of b, 1 .. QNN_DOT_ROWS and 1 .. QNN_DOT_COLUMNS of
   them; k products fit int32. */
typedef void qnn_dots_fn(const int16_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride, int64_t n,
                         int64_t k, int32_t *sums);
/* The same for m rows of bytes with 128 added (xored), whose a_stride is a multiple of 64; sums has m rows. */
enum { QNN_DOT_BYTES = 64, QNN_DOT_LEAST_K = 512 /* adding up lanes takes its time */ };
typedef void qnn_dots_s8_fn(const int8_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride, int64_t n,
                            int64_t k, int32_t *sums);
void qnn_dots_s8_vnni(const int8_t *a, int64_t a_stride, int64_t m, const int8_t *b, int64_t b_stride, int64_t n,
                      int64_t k, int32_t *sums);
typedef void qnn_requantize_rows_s32_fn(const int32_t *, const int64_t *, int64_t, int64_t, int64_t,
                                        const qnn_target *, void *, qnn_counts *);
typedef void qnn_requantize_rows_s64_fn(const int64_t *, const int64_t *, int64_t, int64_t, int64_t,
                                        const qnn_target *, void *, qnn_counts *);

/* Steps for int8 by int8 in bytes (qnn_s8.h). */
typedef struct qnn_s8 qnn_s8;

/* One implementation of all steps; every one gives the same integers. */
typedef struct qnn_isa {
    qnn_panel_fn *panel;
    qnn_pack_rows_fn *pack_rows;
    qnn_pack_columns_fn *pack_columns;
    qnn_widen_fn *widen;
    qnn_interleave_fn *interleave;
    qnn_requantize_rows_s32_fn *requantize_s32;
    qnn_requantize_rows_s64_fn *requantize_s64;
    qnn_dots_fn *dots;       /* NULL: few rows are multiplied as many are */
    qnn_dots_s8_fn *dots_s8; /* NULL: few rows go through `dots` */
    qnn_decode4_fn *decode4;
    const qnn_codes *codes; /* NULL: codes are decoded first */
    const struct qnn_winograd *winograd; /* transforms of 3 x 3 convolutions (qnn_winograd.h), or NULL: not offered */
    qnn_how how;      /* for the steps of qnn_elem.h, within a block */
    const qnn_s8 *s8; /* NULL: int8 goes through the pairs above too */
    const struct qnn_isa *short_runs; /* takes convolutions whose runs fill little of a tile; NULL: this one does */
} qnn_isa;

const qnn_isa *qnn_isa_c(void);
const qnn_isa *qnn_isa_amx(void);  /* these two as below, for AMX and AVX512-VNNI */
const qnn_isa *qnn_isa_vnni(void);
extern const qnn_codes qnn_codes_avx2;
void qnn_decode4_avx2(const uint8_t *packed, int64_t n, int8_t *weights);
void qnn_decode4_vnni(const uint8_t *packed, int64_t n, int8_t *weights);
const qnn_codes *qnn_codes_vnni(void);
const qnn_isa *qnn_isa_avx2(void); /* NULL where the compiler has no AVX2; the caller asks the processor (qnn_cpu.h) */

/* Where exact sums go: wide = int64 sums. target NULL: written as int32 (or int64 if wide), else requantised. */
typedef struct {
    int wide;
    void *data;
    const qnn_target *target;
    const int64_t *bias; /* NULL or one per column; only with a target */
    int64_t columns;     /* N: the tensor is [rows, columns] */
    const int8_t *table; /* NULL or [columns][256], which the requantised bytes then go through */
    int vbmi;            /* with AVX512-VBMI (qnn_cpu_has_vbmi) */
    int64_t *totals;     /* NULL, or per worker: sums and sums of squares of each column's integers (qnn_conv_sums.c) */
    int64_t totals_stride;
} qnn_output;

/* How the right operand is packed and how long a sum of int32 may get. */
typedef struct {
    int split;           /* int16 x int16 */
    int64_t panel_width; /* real columns of a panel: 16, or 8 when split */
    int64_t safe_k;      /* even; sums of so many products fit int32 */
} qnn_layout;

qnn_layout qnn_make_layout(int left_bytes, int right_bytes);
static inline int64_t qnn_panels(const qnn_layout *layout, int64_t columns)
{
    return (columns + layout->panel_width - 1) / layout->panel_width;
}

/* Moves sums [count][panels of `columns`] to dst, which has `wide` elements and rows of dst_stride: element (r, j)
   goes to dst[(map ? map[r] : r) * dst_stride + j]. add: added to what is there. */
void qnn_drain(const qnn_layout *layout, const int32_t *sums, int64_t sums_stride, int64_t count, int64_t columns,
               const int32_t *map, int wide, int add, void *dst, int64_t dst_stride);

/* Sends dense sums [rows][columns of the block] to rows first_row.. and columns first_column.. of the output. */
void qnn_emit(const qnn_isa *isa, const qnn_output *output, const void *sums, int64_t first_row, int64_t rows,
              int64_t first_column, int64_t columns, qnn_counts *counts);

/* C = A B. All matrices are dense in C order: a is [m, k] or, transposed, [k, m]; b is [k, n] or, transposed, [n,
   k]. codes4: b is transposed, its rows are 4-bit codes, (k + 1) / 2 bytes each. */
typedef struct {
    const void *a, *b;
    int a_bytes, b_bytes, trans_a, trans_b, codes4;
    int64_t m, n, k;
} qnn_gemm_problem;

/* Return 0, or -1 when memory is missing (nothing of the result can then be used). Counts are added up over all
   threads. */
int qnn_gemm(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
             qnn_counts *counts);

/* The same for few rows of int8 and a transposed b (qnn_gemm_few.c); returns 1 when it is another problem. */
int qnn_gemm_few_rows(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                      qnn_counts *counts);

/* The same for codes on any number of rows; sums fit int32. Returns 1 where all have to be decoded first. */
int qnn_gemm_codes4(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                    qnn_counts *counts);
/* Products k0 .. k0+length-1 (k0 even) of columns first .. first+count-1 of such a b, column j at out + j * stride. */
void qnn_decode_columns4(const qnn_isa *isa, const qnn_gemm_problem *problem, int64_t first, int64_t count, int64_t k0,
                         int64_t length, int8_t *out, int64_t stride);
/* All codes [rows][k] to int8. */
void qnn_decode_codes4(const qnn_isa *isa, const uint8_t *packed, int64_t rows, int64_t k, int threads, int8_t *weights);

/* Geometry of a convolution: x [images, h, w, channels], weights [filters, kh, kw, channels / groups],
   y [images, oh, ow, filters]. */
typedef struct {
    int64_t images, h, w, channels, filters, kh, kw, oh, ow;
    int64_t stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, groups;
} qnn_conv_shape;

int qnn_conv2d(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes, const void *weights,
               int w_bytes, const qnn_output *output, int threads, qnn_counts *counts);
int qnn_conv2d_input_grad(const qnn_isa *isa, const qnn_conv_shape *shape, const void *g, int g_bytes,
                          const void *weights, int w_bytes, const qnn_output *output, int threads, qnn_counts *counts);
/* The same with a target, and sums [2 * filters]: of each filter's integers, and of their squares. */
int qnn_conv2d_sums(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes, const void *weights,
                    int w_bytes, const qnn_output *output, int threads, qnn_counts *counts, int64_t *sums);
/* For convolutions: adds rows row .. row+rows-1 of images (columns x0 .. x0+columns-1 of `width`), which the worker has
   just emitted, to its totals if the output has any. */
void qnn_add_emitted(const qnn_isa *isa, const qnn_output *output, int64_t width, int64_t row, int64_t rows, int64_t x0,
                     int64_t columns, int worker);
/* A forward convolution made once for any number of images, its weights packed where the path keeps them so; it refers
   to the weights. NULL without memory. */
typedef struct qnn_prepared_conv qnn_prepared_conv;
qnn_prepared_conv *qnn_prepare_conv2d(const qnn_isa *isa, const qnn_conv_shape *shape, int x_bytes, const void *weights,
                                      int w_bytes, int wide, int threads);
int qnn_prepared_conv2d(const qnn_prepared_conv *prepared, int64_t images, const void *x, const qnn_output *output,
                        int threads, qnn_counts *counts);
void qnn_prepared_conv_release(qnn_prepared_conv *prepared);

/* The result is [filters, kh, kw, channels / groups], int32 or, when wide, int64. */
int qnn_conv2d_weight_grad(const qnn_isa *isa, const qnn_conv_shape *shape, const void *x, int x_bytes, const void *g,
                           int g_bytes, int wide, void *out, int threads);

#endif
