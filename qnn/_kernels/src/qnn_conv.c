/* Convolution forward and its input gradient: blocks of output rows, read from a small padded int16 copy of their
   input. */
#include "qnn_gemm.h"

#include <string.h>

#include "qnn_conv_plan.h"
#include "qnn_parallel.h"
#include "qnn_s8.h"
#include "qnn_winograd.h"

enum {
    PIXELS = 256,      /* outputs of a block: enough to use a panel often, few enough for the caches */
    WIDE_ROW = 512,    /* longer output rows are cut */
    SCRATCH = 1 << 18, /* bytes that a block's buffers should stay below */
    SLACK = 32         /* the last pair of an odd run reads one element further, times zero */
};

typedef struct {
    const qnn_conv_plan *plan;
    const qnn_output *output;
    const char *input;
    int bytes;
    int64_t rows, columns, column_blocks; /* of a block; rows run over all images */
    int64_t buffer_width, sums_stride;
    char *scratch; /* one part per worker: the buffer at 0, then these */
    int64_t scratch_bytes, sums_at, dense_at, pointers_at, map_at, segments_at;
    qnn_counts *counts;
} job;

/* The part of a block that lies in one image: output rows first .. end-1 and the copy of the input rows that they
   read. */
typedef struct {
    int64_t image, first, end, lowest_row;
    int64_t block_row; /* of the first row, within the block */
    int16_t *buffer;
} part;

/* Input rows (or columns) that outputs first .. end-1 of an axis read: how many from the lowest on. */
static int64_t reach(const qnn_axis *axis, int64_t first, int64_t end, int64_t *lowest)
{
    int64_t from = first / axis->out_step * axis->in_step;
    *lowest = from + axis->lowest;
    return (end - 1) / axis->out_step * axis->in_step - from + axis->span + 1;
}

static void zero(int16_t *to, int64_t positions, int64_t channels)
{
    if (positions > 0)
        memset(to, 0, (size_t)(positions * channels) * sizeof *to);
}

/* Copies input rows with zeros around them. */
static void fill_buffer(const job *j, const part *at, int64_t rows, int64_t lowest_column)
{
    const qnn_conv_plan *plan = j->plan;
    int64_t channels = plan->groups * plan->in_group, width = j->buffer_width;
    int64_t left = qnn_min(width, qnn_max(0, -lowest_column));
    int64_t inside = qnn_max(0, qnn_min(plan->in_w, lowest_column + width) - qnn_max(0, lowest_column));
    for (int64_t r = 0; r < rows; r++) {
        int64_t y = at->lowest_row + r;
        int16_t *to = at->buffer + r * width * channels;
        if (y < 0 || y >= plan->in_h || inside == 0) {
            zero(to, width, channels);
            continue;
        }
        int64_t from = ((at->image * plan->in_h + y) * plan->in_w + qnn_max(0, lowest_column)) * channels;
        zero(to, left, channels);
        plan->isa->widen(j->input + from * j->bytes, j->bytes, inside * channels, to + left * channels);
        zero(to + (left + inside) * channels, width - left - inside, channels);
    }
}

/* The outputs of one phase in one part: where each reads, and which output of the block it is. Returns their number. */
static int64_t list_rows(const job *j, const qnn_conv_phase *phase, const part *at, int64_t x0, int64_t x1,
                         const int16_t **rows, int32_t *map)
{
    const qnn_axis *ay = &j->plan->y, *ax = &j->plan->x;
    int64_t channels = j->plan->groups * j->plan->in_group, count = 0;
    int64_t i0 = at->first / ay->out_step, j0 = x0 / ax->out_step;
    for (int64_t i = i0; i < phase->y->count; i++) {
        int64_t y = phase->y->start + i * ay->out_step;
        if (y < at->first)
            continue;
        if (y >= at->end)
            break;
        const int16_t *row = at->buffer + (i - i0) * ay->in_step * j->buffer_width * channels;
        int64_t block_row = (at->block_row + y - at->first) * (x1 - x0);
        for (int64_t k = j0; k < phase->x->count; k++) {
            int64_t x = phase->x->start + k * ax->out_step;
            if (x < x0)
                continue;
            if (x >= x1)
                break;
            rows[count] = row + (k - j0) * ax->in_step * channels;
            map[count++] = (int32_t)(block_row + x - x0);
        }
    }
    return count;
}

/* All chunks and panels of one group of one phase, drained into the block's dense sums unless they are dense
   already. */
static void multiply(const job *j, const qnn_conv_phase *phase, int64_t group, const int16_t *const *rows,
                     const int32_t *map, int64_t count, char *scratch, int direct)
{
    const qnn_conv_plan *plan = j->plan;
    int32_t *sums = (int32_t *)(void *)(scratch + j->sums_at);
    qnn_segment *segments = (qnn_segment *)(void *)(scratch + j->segments_at);
    int64_t width = plan->groups * plan->out_group, bytes = plan->wide ? 8 : 4;
    char *dense = scratch + j->dense_at + group * plan->out_group * bytes;
    int fresh = 1, drained = 0;
    for (int64_t s = 0; s < phase->segments; s++)
        segments[s] = (qnn_segment){phase->segment[s].offset + group * plan->in_group, phase->segment[s].pairs};
    for (int64_t c = 0; c < phase->chunks; c++) {
        const qnn_chunk *chunk = &phase->chunk[c];
        for (int64_t p = 0; p < plan->panels; p++)
            plan->isa->panel(rows, count, 2, segments + chunk->first, chunk->count,
                             phase->packed + ((group * plan->panels + p) * phase->pairs + chunk->pair) * 2 * QNN_PANEL,
                             sums + p * QNN_PANEL, j->sums_stride, !fresh);
        fresh = 0;
        if (chunk->drain && !direct) {
            qnn_drain(&plan->layout, sums, j->sums_stride, count, plan->out_group, map, plan->wide, drained, dense,
                      width);
            drained = 1;
            fresh = 1;
        }
    }
}

static void emit(const job *j, const void *sums, int64_t row, int64_t rows, int64_t x0, int64_t columns,
                 qnn_counts *counts)
{
    const qnn_conv_plan *plan = j->plan;
    int64_t width = plan->groups * plan->out_group, bytes = plan->wide ? 8 : 4;
    if (columns == plan->out_w) {
        qnn_emit(plan->isa, j->output, sums, row * columns, rows * columns, 0, width, counts);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        qnn_emit(plan->isa, j->output, (const char *)sums + r * columns * width * bytes, (row + r) * plan->out_w + x0,
                 columns, 0, width, counts);
}

/* The part of the block row0 .. row1-1 that starts at `row`; its buffer follows that of the part before. */
static part next_part(const job *j, int64_t row, int64_t row0, int64_t row1, int16_t *buffer, int64_t *buffer_rows)
{
    const qnn_conv_plan *plan = j->plan;
    part at = {row / plan->out_h, row % plan->out_h, 0, 0, row - row0, buffer};
    at.end = qnn_min(plan->out_h, at.first + row1 - row);
    *buffer_rows = reach(&plan->y, at.first, at.end, &at.lowest_row);
    return at;
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const qnn_conv_plan *plan = j->plan;
    char *scratch = j->scratch + worker * j->scratch_bytes;
    const int16_t **rows = (const int16_t **)(void *)(scratch + j->pointers_at);
    int32_t *map = (int32_t *)(void *)(scratch + j->map_at);
    int64_t row0 = begin / j->column_blocks * j->rows, row1 = qnn_min(row0 + j->rows, plan->images * plan->out_h);
    int64_t x0 = begin % j->column_blocks * j->columns, x1 = qnn_min(x0 + j->columns, plan->out_w), lowest_column, high;
    int64_t width = plan->groups * plan->out_group, row_elements = j->buffer_width * plan->groups * plan->in_group;
    /* With one phase and whole panels the sums come out in the order of the result, without a copy. */
    int direct = !plan->wide && !plan->layout.split && plan->groups == 1 && plan->phases == 1;
    direct = direct && width == j->sums_stride;
    (void)end;
    reach(&plan->x, x0, x1, &lowest_column);
    for (int64_t p = 0; p < plan->phases; p++) {
        int16_t *buffer = (int16_t *)(void *)scratch;
        int64_t count = 0;
        for (int64_t row = row0; row < row1; buffer += high * row_elements) {
            part at = next_part(j, row, row0, row1, buffer, &high);
            if (p == 0)
                fill_buffer(j, &at, high, lowest_column);
            count += list_rows(j, &plan->phase[p], &at, x0, x1, rows + count, map + count);
            row += at.end - at.first;
        }
        for (int64_t group = 0; count && group < plan->groups; group++)
            multiply(j, &plan->phase[p], group, rows, map, count, scratch, direct);
    }
    emit(j, scratch + (direct ? j->sums_at : j->dense_at), row0, row1 - row0, x0, x1 - x0, &j->counts[worker]);
    qnn_add_emitted(plan->isa, j->output, plan->out_w, row0, row1 - row0, x0, x1 - x0, worker);
}

/* The places of everything in a worker's scratch, for blocks of j->rows rows. */
static void place(job *j)
{
    const qnn_conv_plan *plan = j->plan;
    const qnn_axis *y = &plan->y;
    int64_t channels = plan->groups * plan->in_group, width = plan->groups * plan->out_group;
    /* A part of r rows reads at most (r / out_step + 1) * in_step + span + 1 rows of its image. */
    int64_t parts = qnn_min(j->rows, (j->rows - 1) / plan->out_h + 2), pixels = j->rows * j->columns;
    int64_t buffer_rows = j->rows / y->out_step * y->in_step + parts * (y->in_step + y->span + 1);
    j->sums_at = qnn_lines((buffer_rows * j->buffer_width * channels + SLACK) * 2);
    j->dense_at = j->sums_at + qnn_lines(pixels * j->sums_stride * 4);
    j->pointers_at = j->dense_at + qnn_lines(pixels * width * (plan->wide ? 8 : 4));
    j->map_at = j->pointers_at + qnn_lines(pixels * (int64_t)sizeof(void *));
    j->segments_at = j->map_at + qnn_lines(pixels * 4);
    j->scratch_bytes = j->segments_at + qnn_lines(plan->most_segments * (int64_t)sizeof(qnn_segment));
}

/* Chooses the size of the blocks. */
static void lay_out(job *j, int threads)
{
    const qnn_conv_plan *plan = j->plan;
    int64_t all_rows = plan->images * plan->out_h, low;
    j->columns = plan->out_w > WIDE_ROW ? WIDE_ROW / 2 : plan->out_w;
    j->column_blocks = (plan->out_w + j->columns - 1) / j->columns;
    /* The longest reach of a block of columns: one may start just before a step of a phase. */
    j->buffer_width = j->column_blocks == 1 ? reach(&plan->x, 0, plan->out_w, &low)
                                            : (j->columns / plan->x.out_step + 1) * plan->x.in_step + plan->x.span + 1;
    j->sums_stride = plan->panels * QNN_PANEL;
    j->rows = qnn_min(all_rows, qnn_max(1, PIXELS / j->columns));
    for (place(j); j->rows > 1 && j->scratch_bytes > SCRATCH; place(j))
        j->rows -= qnn_max(1, j->rows / 4);
    while (j->rows > 1 && threads > 1 && (all_rows + j->rows - 1) / j->rows * j->column_blocks < 4 * (int64_t)threads)
        j->rows = (j->rows + 1) / 2;
    place(j);
}

static int run(job *j, int threads, qnn_counts *counts)
{
    const qnn_conv_plan *plan = j->plan;
    int64_t blocks = (plan->images * plan->out_h + j->rows - 1) / j->rows * j->column_blocks;
    int workers = qnn_workers(blocks, threads);
    j->scratch = qnn_allocate(workers * j->scratch_bytes);
    j->counts = qnn_allocate(workers * (int64_t)sizeof *j->counts);
    int done = j->scratch && j->counts;
    if (done) {
        for (int w = 0; w < workers; w++)
            j->counts[w] = (qnn_counts){0, 0, 0, 0};
        /* Slack that is read (times zero) holds a number from the start. */
        memset(j->scratch, 0, (size_t)(workers * j->scratch_bytes));
        qnn_parallel(blocks, threads, do_block, j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j->counts[w]);
    }
    qnn_release(j->scratch);
    qnn_release(j->counts);
    return done ? 0 : -1;
}

static int convolve(qnn_conv_plan *plan, const qnn_conv_shape *shape, const void *input, int bytes,
                    const void *weights, int w_bytes, int gradient, const qnn_output *output, int threads,
                    qnn_counts *counts)
{
    job j = {.plan = plan, .output = output, .input = input, .bytes = bytes};
    plan->panels = qnn_panels(&plan->layout, plan->out_group);
    lay_out(&j, threads); /* the plan needs the width of the buffer, and the scratch the number of segments */
    if (qnn_plan_phases(plan, j.buffer_width) || qnn_plan_pack(plan, shape, weights, w_bytes, gradient, threads))
        return -1;
    lay_out(&j, threads);
    return run(&j, threads, counts);
}

static qnn_conv_plan make_plan(const qnn_isa *isa, const qnn_conv_shape *s, int bytes, int w_bytes,
                               const qnn_output *output)
{
    return (qnn_conv_plan){.isa = isa, .layout = qnn_make_layout(bytes, w_bytes), .wide = output->wide,
                           .groups = s->groups, .images = s->images};
}

int qnn_conv2d(const qnn_isa *isa, const qnn_conv_shape *s, const void *x, int x_bytes, const void *weights,
               int w_bytes, const qnn_output *output, int threads, qnn_counts *counts)
{
    qnn_conv_plan plan = make_plan(isa, s, x_bytes, w_bytes, output);
    plan.in_group = s->channels / s->groups;
    plan.out_group = s->filters / s->groups;
    plan.in_h = s->h, plan.in_w = s->w, plan.out_h = s->oh, plan.out_w = s->ow;
    if (s->images * s->oh * s->ow * s->filters == 0)
        return 0;
    int in_bytes = x_bytes == 1 && w_bytes == 1 ? qnn_conv2d_s8(isa, s, x, weights, 0, output, threads, counts) : 1;
    if (in_bytes <= 0)
        return in_bytes;
    if (!output->wide && qnn_winograd_takes(isa, s, x_bytes, w_bytes, 0))
        return qnn_winograd_conv2d(isa, s, x, weights, 0, output, threads, counts);
    int failed = qnn_axis_forward(&plan.y, s->oh, s->kh, s->stride_y, s->pad_y, s->dilation_y) ||
                 qnn_axis_forward(&plan.x, s->ow, s->kw, s->stride_x, s->pad_x, s->dilation_x) ||
                 convolve(&plan, s, x, x_bytes, weights, w_bytes, 0, output, threads, counts);
    qnn_plan_release(&plan);
    return failed ? -1 : 0;
}

int qnn_conv2d_input_grad(const qnn_isa *isa, const qnn_conv_shape *s, const void *g, int g_bytes, const void *weights,
                          int w_bytes, const qnn_output *output, int threads, qnn_counts *counts)
{
    qnn_conv_plan plan = make_plan(isa, s, g_bytes, w_bytes, output);
    plan.in_group = s->filters / s->groups;
    plan.out_group = s->channels / s->groups;
    plan.in_h = s->oh, plan.in_w = s->ow, plan.out_h = s->h, plan.out_w = s->w;
    if (s->images * s->h * s->w * s->channels == 0)
        return 0;
    int in_bytes = g_bytes == 1 && w_bytes == 1 ? qnn_conv2d_s8(isa, s, g, weights, 1, output, threads, counts) : 1;
    if (in_bytes <= 0)
        return in_bytes;
    if (!output->wide && qnn_winograd_takes(isa, s, g_bytes, w_bytes, 1))
        return qnn_winograd_conv2d(isa, s, g, weights, 1, output, threads, counts);
    int failed = qnn_axis_gradient(&plan.y, s->h, s->kh, s->stride_y, s->pad_y, s->dilation_y) ||
                 qnn_axis_gradient(&plan.x, s->w, s->kw, s->stride_x, s->pad_x, s->dilation_x) ||
                 convolve(&plan, s, g, g_bytes, weights, w_bytes, 1, output, threads, counts);
    qnn_plan_release(&plan);
    return failed ? -1 : 0;
}
