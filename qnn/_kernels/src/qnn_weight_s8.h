/* What the two files of the weights' gradient on bytes share: qnn_weight_s8.c drives it, qnn_weight_s8_block.c brings a
 * block of positions into the form of a product.
 *
 * Per block of positions the input becomes planes, one per channel and remainder modulo the stride, so that a tap is
 * nothing but an offset into a plane. With stride 1 the padding at the end of a row is that at the start of the next
 * one, and likewise between images. The gradients become panels, and what is summed over is either one run over all of
 * a plane, where the panels have its row pitch and zeros for its padding, or a run per row without the padding: what is
 * shorter after each run is padded as the instructions want it. A few channels fill little of a tile, so their planes are
 * copied once more for every tap, and a tile has rows of several taps. Sums are integers of each thread, added at the end,
 * drained to int64 before they could leave int32. */
#ifndef QNN_WEIGHT_S8_H
#define QNN_WEIGHT_S8_H

#include "qnn_conv_plan.h"
#include "qnn_s8.h"

/* Tap t reads, for output i, element i + ahead[t] of the plane number[t], whose elements are a stride apart. */
typedef struct {
    int64_t planes, furthest;                /* number of planes; largest `ahead` */
    int64_t *ahead, *number, *remainder;     /* per tap, per tap, per plane */
} qnn_weight_taps;

typedef struct {
    const qnn_isa *isa;
    const qnn_conv_shape *s;
    const int8_t *x, *g;
    int wide;
    qnn_weight_taps ty, tx;
    int64_t pitch, image_rows;            /* elements from row to row of a plane; rows from image to image */
    int64_t images, rows, row_blocks;     /* of a block: whole images (rows = oh), or rows of one */
    int64_t row_run;                      /* positions of a run per row, or 0: one run */
    int64_t length, plane;                /* positions of a block, padded; bytes of one channel's plane */
    int64_t channel_tiles, panels, taps, sums_rows, sums_stride, safe_k;
    int64_t tap_rows;                     /* rows of sums from tap to tap */
    int64_t gathered_row;                 /* bytes of a plane's copy for a tap, or 0: taps read the planes */
    char *scratch;                        /* one part per worker: sums at 0, then these */
    int64_t scratch_bytes, total_at, planes_at, gathered_at, panels_at, starts_at, grads_at, segments_at, tiles_at,
        since_at;
} qnn_weight_job;

/* One worker's memory. */
typedef struct {
    int32_t *sums;  /* [taps][tap_rows][sums_stride] */
    int64_t *total; /* the same, [..][filters], only when wide */
    int8_t *planes; /* [planes][channel tiles * 16][plane] */
    int8_t *gathered; /* [taps][channels][gathered_row] */
    int8_t *panels; /* [panels][length / 4][64] */
    int32_t *starts;
    int8_t *grads;  /* [length][sums_stride]: of every position, with zeros where runs are padded */
    qnn_s8_segment *segments;
    qnn_s8_tile *tiles;
    int64_t *since; /* positions in sums that were not drained yet */
} qnn_weight_memory;

/* Positions of all runs of `images` images with `rows` rows each. */
static inline int64_t qnn_weight_positions(const qnn_weight_job *j, int64_t images, int64_t rows)
{
    if (j->row_run)
        return images * rows * j->row_run;
    return qnn_s8_padded(j->isa->s8, ((images - 1) * j->image_rows + rows) * j->pitch);
}

/* The plane that a tap reads, and from which element on. */
static inline int64_t qnn_weight_plane(const qnn_weight_job *j, int64_t tap, int64_t *offset)
{
    int64_t ky = tap / j->s->kw, kx = tap % j->s->kw;
    *offset = j->ty.ahead[ky] * j->pitch + j->tx.ahead[kx];
    return j->ty.number[ky] * j->tx.planes + j->tx.number[kx];
}

/* Planes, panels and runs of `images` images, output rows first .. first+rows-1 of each, `length` positions in all.
   Returns the number of runs. */
int64_t qnn_weight_prepare(const qnn_weight_job *j, const qnn_weight_memory *m, int64_t image0, int64_t images,
                           int64_t first, int64_t rows, int64_t length);

#endif
