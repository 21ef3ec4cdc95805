/* Convolution forward and its input gradient on bytes: blocks of output rows, read from a small padded copy of their
   input. Sixteen neighbouring outputs are a tile whose rows are pixels of the copy; where image rows are short, tiles
   run on over the padding between rows, and what they give there is dropped. */
#include "qnn_conv_s8.h"

#include "qnn_parallel.h"

enum {
    PIXELS = 256,     /* outputs of a block: enough to use a panel often, few enough for the caches */
    WIDE_ROW = 512,   /* longer output rows are cut */
    SCRATCH = 1 << 19, /* bytes that a block's buffers should stay below */
    FURTHEST = 1 << 20, /* pixels from tap to tap; what reads further goes another way */
    SHORT_RUN = 16      /* bytes: a run of fewer takes a whole step of a tile all the same */
};

typedef struct {
    const qnn_s8_plan *plan;
    const qnn_output *output;
    const int8_t *input;
    int64_t images, rows; /* rows of a block; they run over all images */
    int64_t sums_stride, most_tiles, most_parts;
    char *scratch; /* one part per worker: the buffer at 0, then these */
    int64_t scratch_bytes, sums_at, dense_at, tiles_at, pieces_at;
    qnn_counts *counts;
} job;

/* The part of a block that lies in one image: output rows first .. end-1 and the copy of the input rows they read. */
typedef struct {
    int64_t image, first, end, lowest_row;
    int64_t block_row; /* of the first row, within the block */
    int8_t *buffer;
} part;

/* The outputs of one phase in one part: sums of row i and column k lie at row sums_row + i * pitch + k. */
typedef struct {
    int64_t sums_row, pitch, rows, columns, block_row, row_step, column, column_step;
} piece;

/* Input rows (or columns) that outputs first .. end-1 of an axis read: how many from the lowest on. */
static int64_t reach(const qnn_axis *axis, int64_t first, int64_t end, int64_t *lowest)
{
    int64_t from = first / axis->out_step * axis->in_step;
    *lowest = from + axis->lowest;
    return (end - 1) / axis->out_step * axis->in_step - from + axis->span + 1;
}

/* Copies input rows with zeros around them. */
static void fill_buffer(const job *j, const part *at, int64_t rows, int64_t lowest_column)
{
    const qnn_s8_plan *plan = j->plan;
    int64_t channels = plan->in_channels, width = plan->buffer_width;
    int64_t left = qnn_min(width, qnn_max(0, -lowest_column));
    int64_t inside = qnn_max(0, qnn_min(plan->in_w, lowest_column + width) - qnn_max(0, lowest_column));
    int zero = plan->isa->s8->flip;
    for (int64_t r = 0; r < rows; r++) {
        int64_t y = at->lowest_row + r;
        int8_t *to = at->buffer + r * width * channels;
        if (y < 0 || y >= plan->in_h || inside == 0) {
            memset(to, zero, (size_t)(width * channels));
            continue;
        }
        int64_t from = ((at->image * plan->in_h + y) * plan->in_w + qnn_max(0, lowest_column)) * channels;
        memset(to, zero, (size_t)(left * channels));
        plan->isa->s8->copy(j->input + from, inside * channels, to + left * channels);
        memset(to + (left + inside) * channels, zero, (size_t)((width - left - inside) * channels));
    }
}

/* The outputs start + i * step of an axis within low .. high-1: i from *first on. Returns how many. */
static int64_t outputs_within(const qnn_axis_phase *phase, int64_t step, int64_t low, int64_t high, int64_t *first)
{
    *first = low > phase->start ? (low - phase->start + step - 1) / step : 0;
    int64_t end = high > phase->start ? (high - phase->start + step - 1) / step : 0;
    return qnn_max(0, qnn_min(end, phase->count) - *first);
}

/* Adds the tiles of one phase in one part, row by row or over all rows in one go, whichever is less work. */
static int64_t add_tiles(const job *j, const qnn_s8_phase *phase, const part *at, int64_t x0, int64_t x1,
                         qnn_s8_tile *tiles, int64_t count, piece *to)
{
    const qnn_axis *ay = &j->plan->y, *ax = &j->plan->x;
    const int64_t unit = j->plan->isa->s8->rows, channels = j->plan->in_channels, pixel = ax->in_step * channels;
    int64_t i, k, rows = outputs_within(phase->y, ay->out_step, at->first, at->end, &i);
    int64_t columns = outputs_within(phase->x, ax->out_step, x0, x1, &k), down = ay->in_step * j->plan->buffer_width;
    const int8_t *first = at->buffer + (i - at->first / ay->out_step) * down * channels +
                          (k - x0 / ax->out_step) * pixel;
    *to = (piece){count * QNN_S8_TILE, 0, rows, columns, at->block_row + phase->y->start + i * ay->out_step - at->first,
                  ay->out_step, phase->x->start + k * ax->out_step - x0, ax->out_step};
    if (rows == 0 || columns == 0)
        return count;
    int64_t along = (rows - 1) * (down / ax->in_step) + columns;
    int together = down % ax->in_step == 0 &&
                   (along + unit - 1) / unit < rows * ((columns + unit - 1) / unit);
    if (together) {
        to->pitch = down / ax->in_step;
        for (int64_t q = 0; q < along; q += QNN_S8_TILE)
            tiles[count++] = (qnn_s8_tile){first + q * pixel, qnn_min(QNN_S8_TILE, along - q)};
        return count;
    }
    to->pitch = (columns + QNN_S8_TILE - 1) / QNN_S8_TILE * QNN_S8_TILE;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t q = 0; q < columns; q += QNN_S8_TILE)
            tiles[count++] = (qnn_s8_tile){first + r * down * channels + q * pixel, qnn_min(QNN_S8_TILE, columns - q)};
    return count;
}

/* Sends the sums of a piece to the output as they lie; only with one phase and whole panels. */
static void emit_piece(const job *j, const piece *p, const int32_t *sums, int64_t row0, int64_t x0, qnn_counts *counts)
{
    const qnn_s8_plan *plan = j->plan;
    int64_t width = plan->out_channels, whole = p->pitch == p->columns && p->columns == plan->out_w;
    int64_t step = whole ? p->rows : 1;
    for (int64_t r = 0; r < p->rows; r += step)
        qnn_emit(plan->isa, j->output, sums + (p->sums_row + r * p->pitch) * width,
                 (row0 + p->block_row + r) * plan->out_w + x0 + p->column, step * p->columns, 0, width, counts);
}

/* Copies the sums of a piece to their places in the block's dense sums. */
static void drain_piece(const job *j, const piece *p, const int32_t *sums, int64_t columns, int32_t *dense)
{
    int64_t width = j->plan->out_channels;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t k = 0; k < p->columns; k++)
            memcpy(dense + ((p->block_row + r * p->row_step) * columns + p->column + k * p->column_step) * width,
                   sums + (p->sums_row + r * p->pitch + k) * j->sums_stride, (size_t)width * sizeof *dense);
}

static void emit_block(const job *j, const int32_t *dense, int64_t row, int64_t rows, int64_t x0, int64_t columns,
                       qnn_counts *counts)
{
    const qnn_s8_plan *plan = j->plan;
    int64_t step = columns == plan->out_w ? rows : 1;
    for (int64_t r = 0; r < rows; r += step)
        qnn_emit(plan->isa, j->output, dense + r * columns * plan->out_channels, (row + r) * plan->out_w + x0,
                 step * columns, 0, plan->out_channels, counts);
}

/* The input rows that the next block reads first, as many as it has outputs for: behind those of this block. */
static qnn_s8_ahead next_input(const job *j, const part *last, int64_t high, int64_t rows)
{
    const qnn_s8_plan *plan = j->plan;
    int64_t row = last->image * plan->in_h + qnn_min(plan->in_h, qnn_max(0, last->lowest_row + high));
    int64_t row_bytes = plan->in_w * plan->in_channels, end = j->images * plan->in_h;
    int64_t count = rows * plan->y.in_step / plan->y.out_step;
    return (qnn_s8_ahead){j->input + row * row_bytes, qnn_min(count, end - row) * row_bytes};
}

static void multiply(const job *j, const qnn_s8_phase *phase, const qnn_s8_tile *tiles, int64_t count,
                     qnn_s8_ahead ahead, int32_t *sums)
{
    const qnn_s8_plan *plan = j->plan;
    qnn_s8_block block = {.tile = tiles, .tiles = count, .row_stride = plan->x.in_step * plan->in_channels,
                          .segment = phase->segment, .segments = phase->segments, .panel = phase->packed,
                          .panels = plan->panels, .panel_stride = phase->quads * QNN_S8_STEP, .start = phase->starts,
                          .sums = sums, .sums_stride = j->sums_stride, .ahead = {ahead}};
    plan->isa->s8->multiply(&block);
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const qnn_s8_plan *plan = j->plan;
    char *scratch = j->scratch + worker * j->scratch_bytes;
    int32_t *sums = (int32_t *)(void *)(scratch + j->sums_at), *dense = (int32_t *)(void *)(scratch + j->dense_at);
    qnn_s8_tile *tiles = (qnn_s8_tile *)(void *)(scratch + j->tiles_at);
    piece *pieces = (piece *)(void *)(scratch + j->pieces_at);
    int64_t row0 = begin / plan->column_blocks * j->rows, row1 = qnn_min(row0 + j->rows, j->images * plan->out_h);
    int64_t x0 = begin % plan->column_blocks * plan->columns, x1 = qnn_min(x0 + plan->columns, plan->out_w), lowest_column, high;
    int direct = plan->phases == 1 && plan->out_channels == j->sums_stride;
    (void)end;
    reach(&plan->x, x0, x1, &lowest_column);
    plan->isa->s8->begin();
    for (int64_t p = 0; p < plan->phases; p++) {
        int8_t *buffer = (int8_t *)scratch;
        int64_t count = 0, parts = 0;
        qnn_s8_ahead ahead = {0};
        for (int64_t row = row0; row < row1; parts++) {
            part at = {row / plan->out_h, row % plan->out_h, 0, 0, row - row0, buffer};
            at.end = qnn_min(plan->out_h, at.first + row1 - row);
            high = reach(&plan->y, at.first, at.end, &at.lowest_row);
            if (p == 0)
                fill_buffer(j, &at, high, lowest_column);
            count = add_tiles(j, &plan->phase[p], &at, x0, x1, tiles, count, &pieces[parts]);
            buffer += high * plan->buffer_width * plan->in_channels;
            if (p == 0 && plan->column_blocks == 1)
                ahead = next_input(j, &at, high, row1 - row0);
            row += at.end - at.first;
        }
        if (count)
            multiply(j, &plan->phase[p], tiles, count, ahead, sums);
        for (int64_t i = 0; i < parts; i++)
            if (direct)
                emit_piece(j, &pieces[i], sums, row0, x0, &j->counts[worker]);
            else
                drain_piece(j, &pieces[i], sums, x1 - x0, dense);
    }
    plan->isa->s8->end();
    if (!direct)
        emit_block(j, dense, row0, row1 - row0, x0, x1 - x0, &j->counts[worker]);
    qnn_add_emitted(plan->isa, j->output, plan->out_w, row0, row1 - row0, x0, x1 - x0, worker);
}

/* The places of everything in a worker's scratch, for blocks of j->rows rows. */
static void place(job *j)
{
    const qnn_s8_plan *plan = j->plan;
    const qnn_axis *y = &plan->y;
    int64_t pixels = j->rows * plan->columns;
    j->most_parts = qnn_min(j->rows, (j->rows - 1) / plan->out_h + 2);
    j->most_tiles = j->rows * ((plan->columns + QNN_S8_TILE - 1) / QNN_S8_TILE);
    /* A part of r rows reads at most (r / out_step + 1) * in_step + span + 1 rows of its image; a tile's last rows may
       be pixels behind the last one that is needed, and a run ends with a padding. */
    int64_t buffer_rows = j->rows / y->out_step * y->in_step + j->most_parts * (y->in_step + y->span + 1);
    int64_t slack = QNN_S8_TILE * plan->x.in_step * plan->in_channels + QNN_S8_STEP;
    j->sums_at = qnn_lines(buffer_rows * plan->buffer_width * plan->in_channels + slack);
    j->dense_at = j->sums_at + qnn_lines(j->most_tiles * QNN_S8_TILE * j->sums_stride * 4);
    j->tiles_at = j->dense_at + qnn_lines(pixels * plan->out_channels * 4);
    j->pieces_at = j->tiles_at + qnn_lines(j->most_tiles * (int64_t)sizeof(qnn_s8_tile));
    j->scratch_bytes = j->pieces_at + qnn_lines(j->most_parts * (int64_t)sizeof(piece));
}

/* Cuts long output rows, and says how far a block of columns reaches. */
static void cut_columns(qnn_s8_plan *plan)
{
    int64_t low;
    plan->columns = plan->out_w > WIDE_ROW ? WIDE_ROW / 2 : plan->out_w;
    plan->column_blocks = (plan->out_w + plan->columns - 1) / plan->columns;
    /* The longest reach of a block of columns: one may start just before a step of a phase. */
    plan->buffer_width = plan->column_blocks == 1
                             ? reach(&plan->x, 0, plan->out_w, &low)
                             : (plan->columns / plan->x.out_step + 1) * plan->x.in_step + plan->x.span + 1;
}

/* Chooses how many rows a block has. */
static void lay_out(job *j, int threads)
{
    const qnn_s8_plan *plan = j->plan;
    int64_t all_rows = j->images * plan->out_h;
    j->sums_stride = plan->panels * QNN_PANEL;
    j->rows = qnn_min(all_rows, qnn_max(1, PIXELS / plan->columns));
    for (place(j); j->rows > 1 && j->scratch_bytes > SCRATCH; place(j))
        j->rows -= qnn_max(1, j->rows / 4);
    while (j->rows > 1 && threads > 1 &&
           (all_rows + j->rows - 1) / j->rows * plan->column_blocks < 4 * (int64_t)threads)
        j->rows = (j->rows + 1) / 2;
    place(j);
}

static int run(job *j, int threads, qnn_counts *counts)
{
    const qnn_s8_plan *plan = j->plan;
    int64_t blocks = (j->images * plan->out_h + j->rows - 1) / j->rows * plan->column_blocks;
    int workers = qnn_workers(blocks, threads);
    j->scratch = qnn_allocate(workers * j->scratch_bytes);
    j->counts = qnn_allocate(workers * (int64_t)sizeof *j->counts);
    int done = j->scratch && j->counts;
    if (done) {
        memset(j->counts, 0, (size_t)workers * sizeof *j->counts);
        qnn_s8_spoil(j->scratch, workers * j->scratch_bytes);
        qnn_parallel(blocks, threads, do_block, j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j->counts[w]);
    }
    qnn_release(j->scratch);
    qnn_release(j->counts);
    return done ? 0 : -1;
}

int qnn_s8_plan_make(qnn_s8_plan *plan, const qnn_isa *isa, const qnn_conv_shape *s, const int8_t *weights,
                     int gradient, int threads)
{
    if (isa->short_runs && s->kw * (gradient ? s->filters : s->channels) < SHORT_RUN)
        isa = isa->short_runs;
    *plan = (qnn_s8_plan){.isa = isa};
    if (!isa->s8 || s->groups != 1 || s->channels == 0 || s->filters == 0)
        return 1;
    plan->in_channels = gradient ? s->filters : s->channels;
    plan->out_channels = gradient ? s->channels : s->filters;
    plan->in_h = gradient ? s->oh : s->h, plan->in_w = gradient ? s->ow : s->w;
    plan->out_h = gradient ? s->h : s->oh, plan->out_w = gradient ? s->w : s->ow;
    plan->panels = (plan->out_channels + QNN_PANEL - 1) / QNN_PANEL;
    if (gradient ? qnn_axis_gradient(&plan->y, s->h, s->kh, s->stride_y, s->pad_y, s->dilation_y) ||
                       qnn_axis_gradient(&plan->x, s->w, s->kw, s->stride_x, s->pad_x, s->dilation_x)
                 : qnn_axis_forward(&plan->y, s->oh, s->kh, s->stride_y, s->pad_y, s->dilation_y) ||
                       qnn_axis_forward(&plan->x, s->ow, s->kw, s->stride_x, s->pad_x, s->dilation_x))
        return -1;
    if (qnn_max(qnn_max(plan->y.span, plan->x.span), qnn_max(plan->y.in_step, plan->x.in_step)) > FURTHEST)
        return 1;
    cut_columns(plan);
    return qnn_s8_plan_phases(plan) || qnn_s8_plan_pack(plan, s, weights, gradient, threads) ? -1 : 0;
}

int qnn_s8_plan_run(const qnn_s8_plan *plan, int64_t images, const void *input, const qnn_output *output, int threads,
                    qnn_counts *counts)
{
    job j = {.plan = plan, .output = output, .input = input, .images = images};
    lay_out(&j, threads);
    return run(&j, threads, counts);
}

int qnn_conv2d_s8(const qnn_isa *isa, const qnn_conv_shape *s, const void *input, const void *weights, int gradient,
                  const qnn_output *output, int threads, qnn_counts *counts)
{
    qnn_s8_plan plan;
    if (output->wide)
        return 1;
    int result = qnn_s8_plan_make(&plan, isa, s, weights, gradient, threads);
    if (result == 0)
        result = qnn_s8_plan_run(&plan, s->images, input, output, threads, counts);
    qnn_s8_plan_release(&plan);
    return result;
}
