/* Weight gradient: sums over batch and positions, block by block, in integers of each thread that are added at the
 * end.
 *
 * Pairs run along the width. Of a block of output rows the gradients are packed as panels (pairs of neighbours of
 * one row, odd rows end with a zero), and the input is copied with every element beside the one a stride further on,
 * so that a pair of products is one aligned look-up for any tap. The left operand's rows are (tap, input channel). */
#include "qnn_gemm.h"

#include <string.h>

#include "qnn_conv_plan.h"
#include "qnn_parallel.h"
#include "qnn_s8.h"
#include "qnn_winograd.h"

enum { POSITIONS = 256, WIDE_ROW = 512, SCRATCH = 1 << 16, SLACK = 32 };

typedef struct {
    const qnn_isa *isa;
    const qnn_conv_shape *shape;
    const char *x, *g;
    int x_bytes, g_bytes, wide;
    qnn_layout layout;
    int64_t in_group, out_group, panels, taps, sums_rows, sums_stride;
    int64_t rows, columns, column_blocks, pairs; /* of a block; pairs of one of its rows */
    int64_t buffer_width, buffer_row;            /* positions, and int16 per row, of the copied input */
    int64_t sums_bytes, total_bytes;
    char *scratch; /* one part per worker: int32 sums at 0, then these */
    int64_t scratch_bytes, total_at, buffer_at, line_at, packed_at, pointers_at, segments_at, since_at;
} job;

/* One worker's memory. */
typedef struct {
    int32_t *sums;  /* [groups][taps * in_group][sums_stride] */
    int64_t *total; /* [groups][taps * in_group][out_group], only when wide */
    int16_t *buffer, *line, *packed;
    const void **pointers;
    qnn_segment *segments;
    int64_t *since; /* positions in sums that were not drained yet */
} memory;

static memory memory_of(const job *j, int worker)
{
    char *s = j->scratch + worker * j->scratch_bytes;
    return (memory){(int32_t *)(void *)s,
                    (int64_t *)(void *)(s + j->total_at),
                    (int16_t *)(void *)(s + j->buffer_at),
                    (int16_t *)(void *)(s + j->line_at),
                    (int16_t *)(void *)(s + j->packed_at),
                    (const void **)(void *)(s + j->pointers_at),
                    (qnn_segment *)(void *)(s + j->segments_at),
                    (int64_t *)(void *)(s + j->since_at)};
}

static void drain(const job *j, const memory *m)
{
    for (int64_t group = 0; group < j->shape->groups; group++)
        qnn_drain(&j->layout, m->sums + group * j->sums_rows * j->sums_stride, j->sums_stride, j->sums_rows,
                  j->out_group, 0, 1, 1, m->total + group * j->sums_rows * j->out_group, j->out_group);
    memset(m->sums, 0, (size_t)j->sums_bytes);
    *m->since = 0;
}

/* Input row y of an image from `lowest` on, each element beside the one `stride_x` positions further; zeros outside. */
static void copy_input_row(const job *j, const memory *m, int64_t image, int64_t y, int64_t lowest, int16_t *to)
{
    const qnn_conv_shape *s = j->shape;
    int64_t width = j->buffer_width + s->stride_x, left = qnn_min(width, qnn_max(0, -lowest));
    int64_t inside = qnn_max(0, qnn_min(s->w, lowest + width) - qnn_max(0, lowest));
    if (y < 0 || y >= s->h || inside == 0) {
        memset(to, 0, (size_t)j->buffer_row * sizeof *to);
        return;
    }
    int64_t from = ((image * s->h + y) * s->w + qnn_max(0, lowest)) * s->channels;
    memset(m->line, 0, (size_t)(left * s->channels) * sizeof *m->line);
    j->isa->widen(j->x + from * j->x_bytes, j->x_bytes, inside * s->channels, m->line + left * s->channels);
    memset(m->line + (left + inside) * s->channels, 0,
           (size_t)((width - left - inside) * s->channels) * sizeof *m->line);
    j->isa->interleave(m->line, m->line + s->stride_x * s->channels, j->buffer_width * s->channels, to);
}

/* Packs the gradients of one output row, columns x0 .. x1-1, for every group and panel. */
static void pack_output_row(const job *j, const memory *m, int64_t row, int64_t index, int64_t x0, int64_t x1)
{
    const qnn_conv_shape *s = j->shape;
    for (int64_t p = 0; p < s->groups * j->panels; p++) {
        int64_t column = p % j->panels * j->layout.panel_width;
        int64_t first = p / j->panels * j->out_group + column;
        for (int64_t k = 0; k < x1 - x0; k++)
            m->pointers[k] = j->g + ((row * s->ow + x0 + k) * s->filters + first) * j->g_bytes;
        j->isa->pack_rows(m->pointers, j->g_bytes, x1 - x0, qnn_min(j->layout.panel_width, j->out_group - column),
                          j->layout.split, m->packed + (p * j->rows + index) * j->pairs * 2 * QNN_PANEL);
    }
}

/* Copies and packs everything that output rows row0 .. row1-1 need; fills in one segment per row. */
static void prepare(const job *j, const memory *m, int64_t row0, int64_t row1, int64_t x0, int64_t x1)
{
    const qnn_conv_shape *s = j->shape;
    int64_t buffer_row = 0, pairs = (x1 - x0 + 1) / 2;
    for (int64_t row = row0; row < row1;) {
        int64_t image = row / s->oh, first = row % s->oh, end = qnn_min(s->oh, first + row1 - row);
        int64_t lowest = first * s->stride_y - s->pad_y;
        int64_t high = (end - 1 - first) * s->stride_y + (s->kh - 1) * s->dilation_y + 1;
        for (int64_t r = 0; r < high; r++)
            copy_input_row(j, m, image, lowest + r, x0 * s->stride_x - s->pad_x,
                           m->buffer + (buffer_row + r) * j->buffer_row);
        for (int64_t y = first; y < end; y++, row++) {
            m->segments[row - row0] = (qnn_segment){(buffer_row + (y - first) * s->stride_y) * j->buffer_row, pairs};
            pack_output_row(j, m, row, row - row0, x0, x1);
        }
        buffer_row += high;
    }
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const qnn_conv_shape *s = j->shape;
    memory m = memory_of(j, worker);
    int64_t row0 = begin / j->column_blocks * j->rows, row1 = qnn_min(row0 + j->rows, s->images * s->oh);
    int64_t x0 = begin % j->column_blocks * j->columns, x1 = qnn_min(x0 + j->columns, s->ow);
    int64_t positions = (row1 - row0) * (x1 - x0);
    (void)end;
    if (j->wide && *m.since + positions > j->layout.safe_k)
        drain(j, &m);
    *m.since += positions;
    prepare(j, &m, row0, row1, x0, x1);
    const int16_t **rows = (const int16_t **)(void *)m.pointers;
    for (int64_t group = 0; group < s->groups; group++) {
        for (int64_t t = 0, r = 0; t < j->taps; t++) {
            int64_t at = t / s->kw * s->dilation_y * j->buffer_row + t % s->kw * s->dilation_x * s->channels * 2;
            for (int64_t c = 0; c < j->in_group; c++)
                rows[r++] = m.buffer + at + (group * j->in_group + c) * 2;
        }
        for (int64_t p = 0; p < j->panels; p++) {
            /* Rows of a panel lie j->pairs apart, which a narrower last block of columns does not fill. */
            const int16_t *panel = m.packed + (group * j->panels + p) * j->rows * j->pairs * 2 * QNN_PANEL;
            int32_t *sums = m.sums + group * j->sums_rows * j->sums_stride + p * QNN_PANEL;
            int whole = (x1 - x0 + 1) / 2 == j->pairs;
            for (int64_t i = 0; i < (whole ? 1 : row1 - row0); i++)
                j->isa->panel(rows, j->sums_rows, 4 * s->stride_x * s->channels, m.segments + i,
                              whole ? row1 - row0 : 1, panel + i * j->pairs * 2 * QNN_PANEL, sums, j->sums_stride, 1);
        }
    }
}

/* Adds up the workers and writes [filters][taps][channels of the group]. */
static void finish(const job *j, int workers, void *out)
{
    const qnn_conv_shape *s = j->shape;
    for (int64_t o = 0; o < s->filters; o++) {
        int64_t group = o / j->out_group, column = o % j->out_group;
        int64_t at = column / j->layout.panel_width * QNN_PANEL + column % j->layout.panel_width;
        for (int64_t r = 0; r < j->sums_rows; r++) {
            int64_t sum = 0, row = group * j->sums_rows + r;
            for (int w = 0; w < workers; w++) {
                memory m = memory_of(j, w);
                const int32_t *sums = m.sums + row * j->sums_stride + at;
                if (j->wide)
                    sum += m.total[row * j->out_group + column];
                else
                    sum += j->layout.split ? (int64_t)sums[0] * 256 + sums[8] : sums[0];
            }
            if (j->wide)
                ((int64_t *)out)[o * j->sums_rows + r] = sum;
            else
                ((int32_t *)out)[o * j->sums_rows + r] = (int32_t)sum;
        }
    }
}

static void place(job *j)
{
    const qnn_conv_shape *s = j->shape;
    int64_t parts = qnn_min(j->rows, (j->rows - 1) / s->oh + 2);
    int64_t buffer_rows = j->rows * s->stride_y + parts * ((s->kh - 1) * s->dilation_y + 1);
    j->total_at = qnn_lines(j->sums_bytes);
    j->buffer_at = j->total_at + qnn_lines(j->total_bytes);
    j->line_at = j->buffer_at + qnn_lines((buffer_rows * j->buffer_row + SLACK) * 2);
    j->packed_at = j->line_at + qnn_lines((j->buffer_width + s->stride_x) * s->channels * 2);
    j->pointers_at = j->packed_at + qnn_lines(s->groups * j->panels * j->rows * j->pairs * 2 * QNN_PANEL * 2);
    j->segments_at = j->pointers_at + qnn_lines(qnn_max(j->sums_rows, j->columns) * (int64_t)sizeof(void *));
    j->since_at = j->segments_at + qnn_lines(j->rows * (int64_t)sizeof(qnn_segment));
    j->scratch_bytes = j->since_at + qnn_lines(8);
}

static void lay_out(job *j, int threads)
{
    const qnn_conv_shape *s = j->shape;
    int64_t all_rows = s->images * s->oh, safe = j->wide ? j->layout.safe_k : INT64_MAX;
    j->columns = qnn_min(safe, s->ow > WIDE_ROW ? WIDE_ROW / 2 : s->ow);
    j->column_blocks = (s->ow + j->columns - 1) / j->columns;
    j->pairs = (j->columns + 1) / 2;
    j->buffer_width = (2 * j->pairs - 2) * s->stride_x + (s->kw - 1) * s->dilation_x + 1;
    j->buffer_row = j->buffer_width * s->channels * 2;
    j->rows = qnn_max(1, qnn_min(qnn_min(all_rows, safe / j->columns), POSITIONS / j->columns));
    int64_t fixed = qnn_lines(j->sums_bytes) + qnn_lines(j->total_bytes);
    for (place(j); j->rows > 1 && j->scratch_bytes - fixed > SCRATCH; place(j))
        j->rows -= qnn_max(1, j->rows / 4);
    while (j->rows > 1 && threads > 1 && (all_rows + j->rows - 1) / j->rows * j->column_blocks < 4 * (int64_t)threads)
        j->rows = (j->rows + 1) / 2;
    place(j);
}

int qnn_conv2d_weight_grad(const qnn_isa *isa, const qnn_conv_shape *s, const void *x, int x_bytes, const void *g,
                           int g_bytes, int wide, void *out, int threads)
{
    job j = {.isa = isa, .shape = s, .x = x, .g = g, .x_bytes = x_bytes, .g_bytes = g_bytes, .wide = wide};
    j.layout = qnn_make_layout(x_bytes, g_bytes);
    j.in_group = s->channels / s->groups;
    j.out_group = s->filters / s->groups;
    j.taps = s->kh * s->kw;
    j.sums_rows = j.taps * j.in_group;
    if (j.sums_rows * s->filters == 0)
        return 0;
    int bytes = x_bytes == 1 && g_bytes == 1 ? qnn_conv2d_weight_grad_s8(isa, s, x, g, wide, out, threads) : 1;
    if (bytes <= 0)
        return bytes;
    if (qnn_winograd_takes_weight_grad(isa, s, x_bytes, g_bytes))
        return qnn_winograd_weight_grad(isa, s, x, g, wide, out, threads);
    j.panels = qnn_panels(&j.layout, j.out_group);
    j.sums_stride = j.panels * QNN_PANEL;
    j.sums_bytes = s->groups * j.sums_rows * j.sums_stride * 4;
    j.total_bytes = wide ? s->groups * j.sums_rows * j.out_group * 8 : 0;
    lay_out(&j, threads);
    int64_t blocks = (s->images * s->oh + j.rows - 1) / j.rows * j.column_blocks;
    int workers = qnn_workers(blocks, threads);
    j.scratch = qnn_allocate(workers * j.scratch_bytes);
    if (!j.scratch)
        return -1;
    memset(j.scratch, 0, (size_t)(workers * j.scratch_bytes));
    qnn_parallel(blocks, threads, do_block, &j);
    for (int w = 0; wide && w < workers; w++) {
        memory m = memory_of(&j, w);
        drain(&j, &m);
    }
    finish(&j, workers, out);
    qnn_release(j.scratch);
    return 0;
}
