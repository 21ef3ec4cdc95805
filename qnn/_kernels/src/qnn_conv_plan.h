/* A convolution as a plan: for every output position the same few runs of the input, times packed weights.
 *
 * Forward, output i of an axis reads inputs i * stride + tap * dilation - pad. The input gradient is the same thing
 * seen from the other side: positions with the same remainder modulo the stride form a phase, and in a phase output
 * i reads gradients i + (remainder + pad - tap * dilation) / stride for those taps where that is whole. So one
 * driver does both, and a strided gradient multiplies no zeros. */
#ifndef QNN_CONV_PLAN_H
#define QNN_CONV_PLAN_H

#include "qnn_gemm.h"

/* The outputs start, start + out_step, ... (count of them) of one axis: output i reads inputs i * in_step +
   offset[t]. */
typedef struct {
    int64_t start, count, taps;
    int64_t *offset, *index; /* per tap, offsets ascending; index is the tap's place in the weights */
} qnn_axis_phase;

typedef struct {
    int64_t phases, out_step, in_step;
    int64_t lowest, span; /* smallest offset in use, and largest minus smallest */
    qnn_axis_phase *phase;
} qnn_axis;

/* Segments first .. first+count-1, whose panels start `pair` pairs into the phase's panel. */
typedef struct {
    int64_t first, count, pair;
    int drain; /* the sums have to be drained after this one; the next one starts afresh */
} qnn_chunk;

/* All outputs with one remainder on both axes. */
typedef struct {
    const qnn_axis_phase *y, *x;
    int64_t segments, chunks, pairs; /* pairs of one panel */
    qnn_segment *segment;            /* offsets relative to the input of the lowest taps */
    qnn_chunk *chunk;
    int16_t *packed; /* [groups][panels][pairs][16][2] */
} qnn_conv_phase;

typedef struct {
    const qnn_isa *isa;
    qnn_layout layout;
    int wide;
    int64_t groups, in_group, out_group; /* channels read and written per group */
    int64_t in_h, in_w, out_h, out_w, images;
    int64_t panels; /* of one group */
    int64_t most_segments;
    qnn_axis y, x;
    int64_t phases;
    qnn_conv_phase *phase;
} qnn_conv_plan;

/* Axis of a forward convolution or of an input gradient. Return 0, or -1 without memory (release all the same). */
int qnn_axis_forward(qnn_axis *axis, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation);
int qnn_axis_gradient(qnn_axis *axis, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation);
void qnn_axis_release(qnn_axis *axis);

/* Fills in phases and segments for rows of the input buffer that hold `buffer_width` positions of all channels. */
int qnn_plan_phases(qnn_conv_plan *plan, int64_t buffer_width);
/* Packs the weights [filters][kh][kw][channels / groups] of every phase. gradient: the reduction runs over filters. */
int qnn_plan_pack(qnn_conv_plan *plan, const qnn_conv_shape *shape, const void *weights, int bytes, int gradient,
                  int threads);
void qnn_plan_release(qnn_conv_plan *plan);

static inline int64_t qnn_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t qnn_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t qnn_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
