/* The plan of a convolution of bytes: like qnn_conv_plan.h (whose axes it takes), with runs of bytes and quads. */
#ifndef QNN_CONV_S8_H
#define QNN_CONV_S8_H

#include "qnn_conv_plan.h"
#include "qnn_s8.h"

/* All outputs with one remainder on both axes. */
typedef struct {
    const qnn_axis_phase *y, *x;
    int64_t segments, quads;  /* quads of one panel */
    qnn_s8_segment *segment;  /* offsets relative to the input of the lowest taps */
    int8_t *packed;           /* [panels][quads][16][4] */
    int32_t *starts;          /* [panels][16] */
} qnn_s8_phase;

typedef struct {
    const qnn_isa *isa;
    int64_t in_channels, out_channels, in_h, in_w, out_h, out_w, panels;
    int64_t columns, column_blocks, buffer_width; /* of a block: output columns, how many blocks, pixels of a row read */
    qnn_axis y, x;
    int64_t phases;
    qnn_s8_phase *phase;
} qnn_s8_plan;

/* Plans a convolution, or its input gradient (the reduction runs over filters), for any number of images and packs the
   weights [filters][kh][kw][channels]. 0, 1 when the case is not for bytes, -1 without memory; to release in any
   case. */
int qnn_s8_plan_make(qnn_s8_plan *plan, const qnn_isa *isa, const qnn_conv_shape *shape, const int8_t *weights,
                     int gradient, int threads);
/* Runs it on `images` images. 0, or -1 without memory. */
int qnn_s8_plan_run(const qnn_s8_plan *plan, int64_t images, const void *input, const qnn_output *output, int threads,
                    qnn_counts *counts);

/* Steps of making one: phases and segments, and the packed weights. 0, or -1 without memory. */
int qnn_s8_plan_phases(qnn_s8_plan *plan);
int qnn_s8_plan_pack(qnn_s8_plan *plan, const qnn_conv_shape *shape, const int8_t *weights, int gradient, int threads);
void qnn_s8_plan_release(qnn_s8_plan *plan);

#endif
