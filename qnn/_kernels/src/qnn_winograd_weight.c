/* The weights' gradient of 3 x 3 convolutions by Winograd's F(3x3, 2x2): for each of 16 points a product of the
   transformed input and the transformed gradients over all tiles, and one transform of their sums at the end.

   Pairs run along neighbouring tiles of a row, whose number is rounded up to an even one by a tile of zeros. */
#include "qnn_conv_plan.h"
#include "qnn_parallel.h"
#include "qnn_winograd.h"

enum { BLOCK_TILES = 64, WIDE_ROW = 128, TAPS = 9 };

typedef struct {
    const qnn_isa *isa;
    const qnn_conv_shape *shape;
    const int8_t *x, *g;
    int64_t channels, filters;            /* padded */
    int64_t tile_rows, tile_columns;      /* of an image; columns are even */
    int64_t rows, columns, column_blocks; /* tiles of a block */
    int64_t data_stride, point_stride;    /* from pair to pair of the data, from point to point of the gradients */
    char *scratch;                        /* one part per worker: sums at 0, then these */
    int64_t scratch_bytes, total_at, data_at, grads_at, x_at, g_at, pointers_at, since_at;
} job;

typedef struct {
    int32_t *sums;  /* [points][channels of the shape][filters] */
    int64_t *total; /* [taps][channels of the shape][filters] */
    int16_t *data;  /* [pairs of tiles][points][channels][2] */
    int16_t *grads; /* [points][panels][pairs of tiles][16][2] */
    int8_t *x, *g;  /* the four rows of input and two of gradients of one row of tiles */
    const int16_t **pointers;
    int64_t *since; /* tiles in sums that were not drained yet */
} memory;

static memory memory_of(const job *j, int worker)
{
    char *s = j->scratch + worker * j->scratch_bytes;
    return (memory){(int32_t *)(void *)s,
                    (int64_t *)(void *)(s + j->total_at),
                    (int16_t *)(void *)(s + j->data_at),
                    (int16_t *)(void *)(s + j->grads_at),
                    (int8_t *)(s + j->x_at),
                    (int8_t *)(s + j->g_at),
                    (const int16_t **)(void *)(s + j->pointers_at),
                    (int64_t *)(void *)(s + j->since_at)};
}

/* A3 applied to four sums. */
static inline void three(const int64_t m[4], int64_t out[3])
{
    out[0] = m[0] + m[1] + m[2];
    out[1] = m[1] - m[2];
    out[2] = m[1] + m[2] - m[3];
}

/* Adds the sums of one channel and filter, which lie `step` apart, to its taps. Every drained part is a whole result
   of its own tiles, so the division by 4 is exact here already. */
static inline void drain_one(const int32_t *sums, int64_t step, int64_t *total)
{
    int64_t half[4][3], m[4], tap[3];
    for (int y = 0; y < 4; y++) {
        for (int x = 0; x < 4; x++)
            m[x] = sums[(4 * y + x) * step];
        three(m, half[y]);
    }
    for (int x = 0; x < 3; x++) {
        for (int y = 0; y < 4; y++)
            m[y] = half[y][x];
        three(m, tap);
        for (int y = 0; y < 3; y++)
            total[(3 * y + x) * step] += QNN_ASR(tap[y], 2);
    }
}

static void drain(const job *j, const memory *m)
{
    int64_t size = j->shape->channels * j->filters;
    if (*m->since == 0)
        return;
    for (int64_t i = 0; i < size; i++)
        drain_one(m->sums + i, size, m->total + i);
    *m->since = 0;
}

/* Transforms one row of `tiles` tiles from column x0 on into the pairs from `pair` on. */
static void transform_row(const job *j, const memory *m, int64_t tile_row, int64_t x0, int64_t tiles, int64_t pairs,
                          int64_t pair)
{
    const qnn_conv_shape *s = j->shape;
    int64_t image = tile_row / j->tile_rows, y = 2 * (tile_row % j->tile_rows);
    int64_t x_row = (2 * tiles + 2) * j->channels, g_row = 2 * tiles * j->filters;
    for (int64_t i = 0; i < 4; i++)
        qnn_wino_copy_row(j->x + image * s->h * s->w * s->channels, s->h, s->w, s->channels, y + i - s->pad_y,
                          2 * x0 - s->pad_x, 2 * tiles + 2, j->channels, m->x + i * x_row);
    for (int64_t i = 0; i < 2; i++)
        qnn_wino_copy_row(j->g + image * s->oh * s->ow * s->filters, s->oh, s->ow, s->filters, y + i, 2 * x0,
                          2 * tiles, j->filters, m->g + i * g_row);
    j->isa->winograd->data_pairs(m->x, x_row, j->channels, tiles / 2, j->data_stride, m->data + pair * j->data_stride);
    j->isa->winograd->grad_pairs(m->g, g_row, j->filters, tiles / 2, j->point_stride, pairs * 2 * QNN_PANEL,
                                 m->grads + pair * 2 * QNN_PANEL);
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const memory m = memory_of(j, worker);
    int64_t row0 = begin / j->column_blocks * j->rows;
    int64_t row1 = qnn_min(row0 + j->rows, j->shape->images * j->tile_rows);
    int64_t x0 = begin % j->column_blocks * j->columns, tiles = qnn_min(j->columns, j->tile_columns - x0);
    int64_t pairs = (row1 - row0) * tiles / 2;
    (void)end;
    if (*m.since + 2 * pairs > QNN_WINO_TILES)
        drain(j, &m);
    for (int64_t row = row0; row < row1; row++)
        transform_row(j, &m, row, x0, tiles, pairs, (row - row0) * tiles / 2);
    for (int64_t c = 0; c < j->shape->channels; c++)
        m.pointers[c] = m.data + 2 * c;
    for (int64_t point = 0; point < QNN_WINO_POINTS; point++)
        for (int64_t panel = 0; panel < j->filters / QNN_PANEL; panel++) {
            const qnn_segment segment = {point * j->channels * 2, pairs};
            j->isa->panel(m.pointers, j->shape->channels, j->data_stride, &segment, 1,
                          m.grads + point * j->point_stride + panel * pairs * 2 * QNN_PANEL,
                          m.sums + point * j->shape->channels * j->filters + panel * QNN_PANEL, j->filters,
                          *m.since > 0);
        }
    *m.since += 2 * pairs;
}

/* Adds up the workers and writes [filters][taps][channels]. */
static void finish(const job *j, int workers, int wide, void *out)
{
    const qnn_conv_shape *s = j->shape;
    int64_t rows = TAPS * s->channels;
    for (int64_t o = 0; o < s->filters; o++)
        for (int64_t r = 0; r < rows; r++) {
            int64_t sum = 0;
            for (int w = 0; w < workers; w++)
                sum += memory_of(j, w).total[r * j->filters + o];
            if (wide)
                ((int64_t *)out)[o * rows + r] = sum;
            else
                ((int32_t *)out)[o * rows + r] = (int32_t)sum;
        }
}

static void lay_out(job *j, int threads)
{
    const qnn_conv_shape *s = j->shape;
    int64_t all_rows = s->images * j->tile_rows;
    j->columns = j->tile_columns > WIDE_ROW ? WIDE_ROW / 2 : j->tile_columns;
    j->column_blocks = (j->tile_columns + j->columns - 1) / j->columns;
    j->rows = qnn_max(1, qnn_min(all_rows, BLOCK_TILES / j->columns));
    while (j->rows > 1 && threads > 1 && (all_rows + j->rows - 1) / j->rows * j->column_blocks < 4 * (int64_t)threads)
        j->rows = (j->rows + 1) / 2;
    /* The distances are no multiples of large powers of two, which would fall on the same lines of the caches. */
    int64_t pairs = j->rows * j->columns / 2, size = s->channels * j->filters;
    j->data_stride = QNN_WINO_POINTS * j->channels * 2 + 32;
    j->point_stride = j->filters / QNN_PANEL * pairs * 2 * QNN_PANEL + 32;
    j->total_at = qnn_lines(QNN_WINO_POINTS * size * 4);
    j->data_at = j->total_at + qnn_lines(TAPS * size * 8);
    j->grads_at = j->data_at + qnn_lines(pairs * j->data_stride * 2);
    j->x_at = j->grads_at + qnn_lines(QNN_WINO_POINTS * j->point_stride * 2);
    j->g_at = j->x_at + qnn_lines(4 * (2 * j->columns + 2) * j->channels);
    j->pointers_at = j->g_at + qnn_lines(2 * 2 * j->columns * j->filters);
    j->since_at = j->pointers_at + qnn_lines(s->channels * (int64_t)sizeof(void *));
    j->scratch_bytes = j->since_at + qnn_lines(8);
}

int qnn_winograd_weight_grad(const qnn_isa *isa, const qnn_conv_shape *s, const void *x, const void *g, int wide,
                             void *out, int threads)
{
    job j = {.isa = isa, .shape = s, .x = x, .g = g};
    j.channels = qnn_wino_padded(s->channels);
    j.filters = qnn_wino_padded(s->filters);
    j.tile_rows = (s->oh + 1) / 2;
    j.tile_columns = (s->ow + 3) / 4 * 2;
    lay_out(&j, threads);
    int64_t blocks = (s->images * j.tile_rows + j.rows - 1) / j.rows * j.column_blocks;
    int workers = qnn_workers(blocks, threads);
    j.scratch = qnn_allocate(workers * j.scratch_bytes);
    if (!j.scratch)
        return -1;
    for (int w = 0; w < workers; w++) {
        const memory m = memory_of(&j, w);
        memset(m.total, 0, (size_t)(j.data_at - j.total_at));
        memset(m.x, 0, (size_t)(j.pointers_at - j.x_at)); /* the padding of the channels stays zero */
        *m.since = 0;
    }
    qnn_parallel(blocks, threads, do_block, &j);
    for (int w = 0; w < workers; w++) {
        const memory m = memory_of(&j, w);
        drain(&j, &m);
    }
    finish(&j, workers, wide, out);
    qnn_release(j.scratch);
    return 0;
}
