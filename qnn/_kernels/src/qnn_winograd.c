/* 3 x 3 convolutions forward and their input gradients by Winograd's F(2x2, 3x3): blocks of rows of tiles. */
#include "qnn_winograd.h"

#include "qnn_conv_plan.h"
#include "qnn_parallel.h"

enum {
    BLOCK_TILES = 48,     /* of a block, whose results are requantised together */
    WIDE_ROW = 128,       /* longer rows of tiles are cut */
    HOT_BYTES = 24 << 10, /* of transformed tiles and their sums, which should stay in the first-level cache */
    /* Below these the direct way is faster, as measured. */
    LEAST_IN = 12,
    LEAST_OUT = 8,
    LEAST_TILES = 32,
    LEAST_GRAD_TILES = 192
};

typedef struct {
    const qnn_isa *isa;
    const qnn_output *output;
    const int8_t *input, *weights;
    int64_t images, in_h, in_w, in_c, out_h, out_w, out_c, pad_y, pad_x;
    int64_t in_padded, panels, out_padded;
    int64_t tile_rows, tile_columns;            /* of an image */
    int64_t rows, columns, column_blocks, step; /* tiles of a block, and how many of them go through at a time */
    int16_t *packed;                            /* [panels][points][pairs][16][2] */
    char *scratch;                              /* one part per worker: four rows of input at 0, then these */
    int64_t scratch_bytes, data_at, sums_at, dense_at;
    qnn_counts *counts;
    int gradient;
} job;

/* One worker's memory, and the block it works on. */
typedef struct {
    int8_t *input;  /* [4][2 columns + 2][in_padded] */
    int16_t *data;  /* [step][points][in_padded], apart by qnn_wino_tile */
    int32_t *sums;  /* [step][points][16], apart by QNN_WINO_SUMS */
    int32_t *dense; /* [2 rows][2 columns][out_padded] */
    int64_t row0, row1, x0, x1; /* rows of tiles over all images, columns of tiles */
} block;

/* Fills in the four rows of input of one row of tiles. */
static void fill_input(const job *j, const block *b, int64_t tile_row)
{
    int64_t image = tile_row / j->tile_rows, y = 2 * (tile_row % j->tile_rows) - j->pad_y;
    int64_t width = 2 * (b->x1 - b->x0) + 2;
    for (int64_t i = 0; i < 4; i++)
        qnn_wino_copy_row(j->input + image * j->in_h * j->in_w * j->in_c, j->in_h, j->in_w, j->in_c, y + i,
                          2 * b->x0 - j->pad_x, width, j->in_padded, b->input + i * width * j->in_padded);
}

/* Tiles first .. end-1 of the block, counted row by row, transformed into b->data. */
static void transform(const job *j, const block *b, int64_t first, int64_t end)
{
    int64_t columns = b->x1 - b->x0, row = (2 * columns + 2) * j->in_padded, run;
    int16_t *to = b->data;
    for (int64_t t = first; t < end; t += run, to += run * qnn_wino_tile(j->in_padded)) {
        int64_t column = t % columns;
        run = qnn_min(end - t, columns - column);
        if (column == 0)
            fill_input(j, b, b->row0 + t / columns);
        j->isa->winograd->data(b->input + 2 * column * j->in_padded, row, j->in_padded, run, to);
    }
}

/* The products of these tiles for one panel, transformed back into the block's dense results. */
static void multiply(const job *j, const block *b, int64_t panel, int64_t first, int64_t end)
{
    int64_t pairs = (j->in_c + 1) / 2, columns = b->x1 - b->x0, row = 2 * columns * j->out_padded, run;
    const int16_t *packed = j->packed + panel * QNN_WINO_POINTS * pairs * 2 * QNN_PANEL;
    j->isa->winograd->products(b->data, j->in_padded, pairs, packed, end - first, b->sums);
    const int32_t *sums = b->sums;
    for (int64_t t = first; t < end; t += run, sums += run * QNN_WINO_SUMS) {
        int64_t column = t % columns;
        run = qnn_min(end - t, columns - column);
        j->isa->winograd->result(sums, run, row, j->out_padded,
                                 b->dense + t / columns * 2 * row + 2 * column * j->out_padded + panel * QNN_PANEL);
    }
}

/* Moves the rows and pixels that exist together. Returns the number of rows of results. */
static int64_t compact(const job *j, const block *b, int64_t width)
{
    int64_t stride = 2 * (b->x1 - b->x0) * j->out_padded, rows = 0;
    for (int64_t t = b->row0; t < b->row1; t++)
        for (int64_t i = 0; i < 2 && 2 * (t % j->tile_rows) + i < j->out_h; i++, rows++) {
            const int32_t *from = b->dense + (2 * (t - b->row0) + i) * stride;
            int32_t *to = b->dense + rows * width * j->out_c;
            if (from == to && j->out_c == j->out_padded)
                continue;
            if (j->out_c == j->out_padded)
                memmove(to, from, (size_t)(width * j->out_c) * sizeof *to);
            else
                for (int64_t x = 0; x < width; x++)
                    memmove(to + x * j->out_c, from + x * j->out_padded, (size_t)j->out_c * sizeof *to);
        }
    return rows;
}

static block block_of(const job *j, int64_t index, int worker)
{
    char *s = j->scratch + worker * j->scratch_bytes;
    block b = {.input = (int8_t *)s,
               .data = (int16_t *)(void *)(s + j->data_at),
               .sums = (int32_t *)(void *)(s + j->sums_at),
               .dense = (int32_t *)(void *)(s + j->dense_at)};
    b.row0 = index / j->column_blocks * j->rows;
    b.row1 = qnn_min(b.row0 + j->rows, j->images * j->tile_rows);
    b.x0 = index % j->column_blocks * j->columns;
    b.x1 = qnn_min(b.x0 + j->columns, j->tile_columns);
    return b;
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const block b = block_of(j, begin, worker);
    int64_t tiles = (b.row1 - b.row0) * (b.x1 - b.x0), width = qnn_min(2 * b.x1, j->out_w) - 2 * b.x0;
    (void)end;
    for (int64_t t = 0; t < tiles; t += j->step) {
        transform(j, &b, t, qnn_min(t + j->step, tiles));
        for (int64_t p = 0; p < j->panels; p++)
            multiply(j, &b, p, t, qnn_min(t + j->step, tiles));
    }
    int64_t rows = compact(j, &b, width), run = width == j->out_w ? rows : 1;
    int64_t row = b.row0 / j->tile_rows * j->out_h + 2 * (b.row0 % j->tile_rows);
    for (int64_t r = 0; r < rows; r += run)
        qnn_emit(j->isa, j->output, b.dense + r * width * j->out_c, (row + r) * j->out_w + 2 * b.x0, run * width, 0,
                 j->out_c, &j->counts[worker]);
    qnn_add_emitted(j->isa, j->output, j->out_w, row, rows, 2 * b.x0, width, worker);
}

/* Packs QNN_WINO_LANES columns: one panel. Forward, columns are filters and pairs are channels. */
static void pack_forward(const job *j, int64_t panel, int16_t *to)
{
    int64_t pairs = (j->in_c + 1) / 2, columns = qnn_min(QNN_PANEL, j->out_c - panel * QNN_PANEL);
    int16_t points[QNN_WINO_POINTS][QNN_WINO_LANES];
    int8_t copy[9][QNN_WINO_LANES];
    const int8_t *taps[9];
    for (int64_t o = 0; o < columns; o++)
        for (int64_t c = 0; c < j->in_c; c += QNN_WINO_LANES) {
            int64_t n = qnn_min(QNN_WINO_LANES, j->in_c - c);
            const int8_t *from = j->weights + (panel * QNN_PANEL + o) * 9 * j->in_c + c;
            if (n < QNN_WINO_LANES)
                memset(copy, 0, sizeof copy);
            for (int64_t k = 0; k < 9; k++) {
                taps[k] = n < QNN_WINO_LANES ? copy[k] : from + k * j->in_c;
                if (n < QNN_WINO_LANES)
                    memcpy(copy[k], from + k * j->in_c, (size_t)n);
            }
            j->isa->winograd->weights(taps, points[0]);
            for (int64_t point = 0; point < QNN_WINO_POINTS; point++)
                for (int64_t k = 0; k < (n + 1) / 2; k++)
                    memcpy(to + (point * pairs + c / 2 + k) * 2 * QNN_PANEL + 2 * o, points[point] + 2 * k,
                           2 * sizeof *to);
        }
}

/* For the gradient columns are channels and pairs are filters, and the taps run backwards. */
static void pack_gradient(const job *j, int64_t panel, int16_t *to)
{
    int64_t pairs = (j->in_c + 1) / 2, n = qnn_min(QNN_PANEL, j->out_c - panel * QNN_PANEL);
    int16_t points[2][QNN_WINO_POINTS][QNN_WINO_LANES];
    int8_t copy[9][QNN_WINO_LANES];
    const int8_t *taps[9];
    memset(copy, 0, sizeof copy);
    for (int64_t k = 0; k < 9; k++)
        taps[k] = copy[k];
    for (int64_t pair = 0; pair < pairs; pair++) {
        for (int64_t i = 0; i < 2; i++)
            if (2 * pair + i < j->in_c) {
                const int8_t *from = j->weights + (2 * pair + i) * 9 * j->out_c + panel * QNN_PANEL;
                for (int64_t k = 0; k < 9; k++)
                    memcpy(copy[8 - k], from + k * j->out_c, (size_t)n);
                j->isa->winograd->weights(taps, points[i][0]);
            } else {
                memset(points[i], 0, sizeof points[i]);
            }
        for (int64_t point = 0; point < QNN_WINO_POINTS; point++)
            j->isa->interleave(points[0][point], points[1][point], QNN_PANEL,
                               to + (point * pairs + pair) * 2 * QNN_PANEL);
    }
}

static void pack_panel(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t size = QNN_WINO_POINTS * ((j->in_c + 1) / 2) * 2 * QNN_PANEL;
    (void)worker;
    for (int64_t panel = begin; panel < end; panel++) {
        int16_t *to = j->packed + panel * size;
        if (j->out_c - panel * QNN_PANEL < QNN_PANEL)
            memset(to, 0, (size_t)size * sizeof *to);
        if (j->gradient)
            pack_gradient(j, panel, to);
        else
            pack_forward(j, panel, to);
    }
}

static void lay_out(job *j, int threads)
{
    int64_t all_rows = j->images * j->tile_rows, tile_bytes = qnn_wino_tile(j->in_padded) * 2 + QNN_WINO_SUMS * 4;
    j->columns = j->tile_columns > WIDE_ROW ? WIDE_ROW / 2 : j->tile_columns;
    j->column_blocks = (j->tile_columns + j->columns - 1) / j->columns;
    j->rows = qnn_max(1, qnn_min(all_rows, BLOCK_TILES / j->columns));
    while (j->rows > 1 && threads > 1 && (all_rows + j->rows - 1) / j->rows * j->column_blocks < 4 * (int64_t)threads)
        j->rows = (j->rows + 1) / 2;
    int64_t tiles = j->rows * j->columns;
    j->step = qnn_min(tiles, qnn_max(12, HOT_BYTES / tile_bytes / QNN_TILE_ROWS * QNN_TILE_ROWS));
    j->data_at = qnn_lines(4 * (2 * j->columns + 2) * j->in_padded);
    j->sums_at = j->data_at + qnn_lines(j->step * qnn_wino_tile(j->in_padded) * 2);
    j->dense_at = j->sums_at + qnn_lines(j->step * QNN_WINO_SUMS * 4);
    j->scratch_bytes = j->dense_at + qnn_lines(4 * tiles * j->out_padded * 4);
}

static int run(job *j, int threads, qnn_counts *counts)
{
    int64_t blocks = (j->images * j->tile_rows + j->rows - 1) / j->rows * j->column_blocks;
    int workers = qnn_workers(blocks, threads);
    j->scratch = qnn_allocate(workers * j->scratch_bytes);
    j->counts = qnn_allocate(workers * (int64_t)sizeof *j->counts);
    j->packed = qnn_allocate(j->panels * QNN_WINO_POINTS * ((j->in_c + 1) / 2) * 2 * QNN_PANEL * 2);
    int done = j->scratch && j->counts && j->packed;
    if (done) {
        for (int w = 0; w < workers; w++) {
            j->counts[w] = (qnn_counts){0, 0, 0, 0};
            if (j->in_c != j->in_padded) /* the padding of the channels is zero for good */
                memset(j->scratch + w * j->scratch_bytes, 0, (size_t)j->data_at);
        }
        qnn_parallel(j->panels, threads, pack_panel, j);
        qnn_parallel(blocks, threads, do_block, j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j->counts[w]);
    }
    qnn_release(j->scratch);
    qnn_release(j->counts);
    qnn_release(j->packed);
    return done ? 0 : -1;
}

/* Whether it is a convolution for the tiles, and they are as many as make up for the transforms of the weights (or of
   their gradient's sums), and are not mostly empty. Measured: from 12 channels on the products saved are more than the
   transforms cost. */
static int fits(const qnn_isa *isa, const qnn_conv_shape *s, int first_bytes, int second_bytes, int64_t h, int64_t w,
                int64_t least_tiles)
{
    int64_t tiles = ((h + 1) / 2) * ((w + 1) / 2);
    return isa->winograd && first_bytes == 1 && second_bytes == 1 && s->groups == 1 && s->kh == 3 && s->kw == 3 &&
           s->stride_y == 1 && s->stride_x == 1 && s->dilation_y == 1 && s->dilation_x == 1 &&
           s->images * tiles >= least_tiles && 20 * tiles <= 9 * h * w;
}

int qnn_winograd_takes(const qnn_isa *isa, const qnn_conv_shape *s, int x_bytes, int w_bytes, int gradient)
{
    int64_t in_c = gradient ? s->filters : s->channels, out_c = gradient ? s->channels : s->filters;
    return in_c >= LEAST_IN && in_c <= QNN_WINO_CHANNELS && out_c >= LEAST_OUT &&
           fits(isa, s, x_bytes, w_bytes, gradient ? s->h : s->oh, gradient ? s->w : s->ow, LEAST_TILES);
}

int qnn_winograd_takes_weight_grad(const qnn_isa *isa, const qnn_conv_shape *s, int x_bytes, int g_bytes)
{
    return s->channels >= LEAST_IN && s->filters >= LEAST_OUT &&
           fits(isa, s, x_bytes, g_bytes, s->oh, s->ow, LEAST_GRAD_TILES);
}

int qnn_winograd_conv2d(const qnn_isa *isa, const qnn_conv_shape *s, const void *x, const void *weights, int gradient,
                        const qnn_output *output, int threads, qnn_counts *counts)
{
    job j = {.isa = isa, .output = output, .input = x, .weights = weights, .images = s->images, .gradient = gradient};
    j.in_h = gradient ? s->oh : s->h, j.in_w = gradient ? s->ow : s->w;
    j.out_h = gradient ? s->h : s->oh, j.out_w = gradient ? s->w : s->ow;
    j.in_c = gradient ? s->filters : s->channels, j.out_c = gradient ? s->channels : s->filters;
    j.pad_y = gradient ? 2 - s->pad_y : s->pad_y, j.pad_x = gradient ? 2 - s->pad_x : s->pad_x;
    j.in_padded = qnn_wino_padded(j.in_c);
    j.panels = (j.out_c + QNN_PANEL - 1) / QNN_PANEL;
    j.out_padded = j.panels * QNN_PANEL;
    j.tile_rows = (j.out_h + 1) / 2;
    j.tile_columns = (j.out_w + 1) / 2;
    lay_out(&j, threads);
    return run(&j, threads, counts);
}
