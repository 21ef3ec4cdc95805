/* Weight gradient on bytes: for every tap the product of two matrices whose inner index is the output position.
 *
 * Per block of positions the input becomes planes, one per channel and remainder modulo the stride, so that a tap is
 * nothing but an offset into a plane. With stride 1 the padding at the end of a row is that at the start of the next one,
 * and likewise between images. The gradients become panels, and what is summed over is either one run over all of a plane,
 * where the panels have its row pitch and zeros for its padding, or a run per row without the padding: whichever is
 * shorter after each run is padded as the instructions want it. Sums are integers of each thread, added at the end,
 * drained to int64 before they could leave int32. */
#include "qnn_conv_plan.h"
#include "qnn_parallel.h"
#include "qnn_s8.h"

enum {
    POSITIONS = 1024,      /* of a block: sums are loaded and stored once for so many products */
    SCRATCH = 1 << 19,     /* bytes that a block's planes and panels should stay below */
    LARGEST = 1 << 24,     /* what one output row may need; more goes another way */
    LONGEST = 1 << 15,     /* and so do images (padded, dilated) with longer sides */
    FEWEST = 4             /* blocks per thread */
};

/* Tap t reads, for output i, element i + ahead[t] of the plane number[t], whose elements are a stride apart. */
typedef struct {
    int64_t planes, furthest;                /* number of planes; largest `ahead` */
    int64_t *ahead, *number, *remainder;     /* per tap, per tap, per plane */
} axis_taps;

typedef struct {
    const qnn_isa *isa;
    const qnn_conv_shape *s;
    const int8_t *x, *g;
    int wide;
    axis_taps ty, tx;
    int64_t pitch, image_rows;            /* elements from row to row of a plane; rows from image to image */
    int64_t images, rows, row_blocks;     /* of a block: whole images (rows = oh), or rows of one */
    int64_t row_run;                      /* positions of a run per row, or 0: one run */
    int64_t length, plane;                /* positions of a block, padded; bytes of one channel's plane */
    int64_t channel_tiles, panels, taps, sums_rows, sums_stride, safe_k;
    char *scratch;                        /* one part per worker: sums at 0, then these */
    int64_t scratch_bytes, total_at, planes_at, panels_at, starts_at, pointers_at, segments_at, tiles_at, zeros_at,
        since_at;
} job;

/* One worker's memory. */
typedef struct {
    int32_t *sums;  /* [taps][channel tiles][16][sums_stride] */
    int64_t *total; /* the same, [..][filters], only when wide */
    int8_t *planes; /* [planes][channel tiles * 16][plane] */
    int8_t *panels; /* [panels][length / 4][64] */
    int32_t *starts;
    const int8_t **pointers;
    qnn_s8_segment *segments;
    qnn_s8_tile *tiles;
    int8_t *zeros;
    int64_t *since; /* positions in sums that were not drained yet */
} memory;

static memory memory_of(const job *j, int worker)
{
    char *s = j->scratch + worker * j->scratch_bytes;
    return (memory){(int32_t *)(void *)s,
                    (int64_t *)(void *)(s + j->total_at),
                    (int8_t *)(s + j->planes_at),
                    (int8_t *)(s + j->panels_at),
                    (int32_t *)(void *)(s + j->starts_at),
                    (const int8_t **)(void *)(s + j->pointers_at),
                    (qnn_s8_segment *)(void *)(s + j->segments_at),
                    (qnn_s8_tile *)(void *)(s + j->tiles_at),
                    (int8_t *)(s + j->zeros_at),
                    (int64_t *)(void *)(s + j->since_at)};
}

static int make_taps(axis_taps *t, int64_t taps, int64_t stride, int64_t dilation)
{
    t->ahead = qnn_allocate(3 * taps * (int64_t)sizeof *t->ahead);
    if (!t->ahead)
        return -1;
    t->number = t->ahead + taps;
    t->remainder = t->number + taps;
    for (int64_t k = 0; k < taps; k++) {
        int64_t remainder = k * dilation % stride, n = 0;
        while (n < t->planes && t->remainder[n] != remainder)
            n++;
        if (n == t->planes)
            t->remainder[t->planes++] = remainder;
        t->number[k] = n;
        t->ahead[k] = k * dilation / stride;
    }
    t->furthest = t->ahead[taps - 1];
    return 0;
}

static void drain(const job *j, const memory *m)
{
    qnn_layout layout = qnn_make_layout(1, 1);
    qnn_drain(&layout, m->sums, j->sums_stride, j->sums_rows, j->s->filters, 0, 1, 1, m->total, j->s->filters);
    memset(m->sums, 0, (size_t)(j->sums_rows * j->sums_stride) * sizeof *m->sums);
    *m->since = 0;
}

/* Output rows first .. first+rows-1 of an image to rows base .. of the plane with these remainders. */
static void fill_plane(const job *j, int64_t image, int64_t first, int64_t rows, int64_t base, int64_t remainder_y,
                       int64_t remainder_x, int8_t *plane)
{
    const qnn_conv_shape *s = j->s;
    /* Element t of a row is input t * stride + remainder - pad. */
    int64_t before = s->pad_x - remainder_x, behind = s->w - 1 + before;
    int64_t t0 = before > 0 ? (before + s->stride_x - 1) / s->stride_x : 0;
    int64_t t1 = behind < 0 ? 0 : qnn_min(s->ow + j->tx.furthest, behind / s->stride_x + 1);
    for (int64_t u = 0; t0 < t1 && u < rows + j->ty.furthest; u++) {
        int64_t y = (first + u) * s->stride_y + remainder_y - s->pad_y;
        if (y < 0 || y >= s->h)
            continue;
        const int8_t *from = j->x + ((image * s->h + y) * s->w + t0 * s->stride_x - before) * s->channels;
        qnn_s8_transpose(from, s->stride_x * s->channels, t1 - t0, s->channels, j->isa->s8->flip,
                         plane + (base + u) * j->pitch + t0, j->plane);
    }
}

/* Positions of all runs of `images` images with `rows` rows each. */
static int64_t positions_of(const job *j, int64_t images, int64_t rows)
{
    if (j->row_run)
        return images * rows * j->row_run;
    return qnn_s8_padded(j->isa->s8, ((images - 1) * j->image_rows + rows) * j->pitch);
}

/* Lists the gradients of all positions, and the runs of a plane that meet them. Returns the number of runs. */
static int64_t list_positions(const job *j, const memory *m, int64_t image0, int64_t images, int64_t first, int64_t rows,
                              int64_t length)
{
    const qnn_conv_shape *s = j->s;
    int64_t row_positions = j->row_run ? j->row_run : j->pitch, count = 0;
    const int8_t **to = m->pointers, **end = to + length;
    for (int64_t i = 0; i < images; i++)
        for (int64_t y = 0; y < (j->row_run ? rows : j->image_rows) && to < end; y++) {
            const int8_t *g = j->g + ((image0 + i) * s->oh + first + y) * s->ow * s->filters;
            int64_t x = 0, most = qnn_min(row_positions, end - to);
            for (; y < rows && x < qnn_min(s->ow, most); x++)
                *to++ = g + x * s->filters;
            for (; x < most; x++)
                *to++ = m->zeros;
            if (j->row_run)
                m->segments[count++] =
                    (qnn_s8_segment){(i * j->image_rows + y) * j->pitch, row_positions / QNN_S8_QUAD};
        }
    while (to < end)
        *to++ = m->zeros;
    if (!j->row_run)
        m->segments[count++] = (qnn_s8_segment){0, length / QNN_S8_QUAD};
    return count;
}

/* Planes and panels of `images` images, output rows first .. first+rows-1 of each. Returns the number of runs. */
static int64_t prepare(const job *j, const memory *m, int64_t image0, int64_t images, int64_t first, int64_t rows,
                       int64_t length)
{
    const qnn_conv_shape *s = j->s;
    int64_t channels = j->channel_tiles * QNN_S8_TILE;
    for (int64_t p = 0; p < j->ty.planes * j->tx.planes; p++) {
        int8_t *plane = m->planes + p * channels * j->plane;
        memset(plane, j->isa->s8->flip, (size_t)(s->channels * j->plane));
        for (int64_t i = 0; i < images; i++)
            fill_plane(j, image0 + i, first, rows, i * j->image_rows, j->ty.remainder[p / j->tx.planes],
                       j->tx.remainder[p % j->tx.planes], plane);
    }
    int64_t runs = list_positions(j, m, image0, images, first, rows, length);
    for (int64_t p = 0; p < j->panels; p++) {
        int8_t *panel = m->panels + p * length * QNN_PANEL;
        qnn_s8_pack_rows(m->pointers, p * QNN_PANEL, length, qnn_min(QNN_PANEL, s->filters - p * QNN_PANEL),
                         length / QNN_S8_QUAD, panel);
        if (j->isa->s8->start)
            j->isa->s8->start(panel, length / QNN_S8_QUAD, m->starts + p * QNN_PANEL);
    }
    return runs;
}

/* A tile of channels for every tap: the same planes, seen from another offset. */
static void list_tiles(const job *j, const memory *m)
{
    const qnn_conv_shape *s = j->s;
    qnn_s8_tile *tile = m->tiles;
    for (int64_t t = 0; t < j->taps; t++) {
        int64_t ky = t / s->kw, kx = t % s->kw, plane = j->ty.number[ky] * j->tx.planes + j->tx.number[kx];
        int64_t offset = j->ty.ahead[ky] * j->pitch + j->tx.ahead[kx];
        for (int64_t c = 0; c < j->channel_tiles; c++)
            *tile++ = (qnn_s8_tile){m->planes + (plane * j->channel_tiles + c) * QNN_S8_TILE * j->plane + offset,
                                    qnn_min(QNN_S8_TILE, s->channels - c * QNN_S8_TILE)};
    }
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const qnn_conv_shape *s = j->s;
    const qnn_s8 *s8 = j->isa->s8;
    memory m = memory_of(j, worker);
    int64_t image = begin / j->row_blocks * j->images, images = qnn_min(j->images, s->images - image);
    int64_t first = begin % j->row_blocks * j->rows, rows = qnn_min(j->rows, s->oh - first);
    int64_t positions = images * rows * s->ow;
    (void)end;
    if (j->wide && *m.since + positions > j->safe_k)
        drain(j, &m);
    *m.since += positions;
    int64_t length = positions_of(j, images, rows), runs = prepare(j, &m, image, images, first, rows, length);
    list_tiles(j, &m);
    qnn_s8_block block = {.tile = m.tiles, .tiles = j->taps * j->channel_tiles, .row_stride = j->plane,
                          .segment = m.segments, .segments = runs, .panel = m.panels, .panels = j->panels,
                          .panel_stride = length * QNN_PANEL, .start = m.starts, .sums = m.sums,
                          .sums_stride = j->sums_stride, .accumulate = 1};
    s8->begin();
    s8->multiply(&block);
    s8->end();
}

/* Adds up the workers and writes [filters][taps][channels]. */
static void finish(const job *j, int workers, void *out)
{
    const qnn_conv_shape *s = j->s;
    int64_t at = 0;
    for (int64_t o = 0; o < s->filters; o++)
        for (int64_t t = 0; t < j->taps; t++)
            for (int64_t c = 0; c < s->channels; c++, at++) {
                int64_t sum = 0, row = t * j->channel_tiles * QNN_S8_TILE + c;
                for (int w = 0; w < workers; w++) {
                    memory m = memory_of(j, w);
                    sum += j->wide ? m.total[row * s->filters + o] : m.sums[row * j->sums_stride + o];
                }
                if (j->wide)
                    ((int64_t *)out)[at] = sum;
                else
                    ((int32_t *)out)[at] = (int32_t)sum;
            }
}

/* The places of everything in a worker's scratch. The last tile reads rows that are no channel's, and all read on to
   the end of a padded length. */
static void place(job *j)
{
    const qnn_conv_shape *s = j->s;
    int64_t all_rows = (j->images - 1) * j->image_rows + j->rows, sums = j->sums_rows * j->sums_stride * 4;
    int64_t row_run = qnn_s8_padded(j->isa->s8, j->s->ow), one_run = qnn_s8_padded(j->isa->s8, all_rows * j->pitch);
    j->row_run = j->images * j->rows * row_run < one_run ? row_run : 0;
    j->length = positions_of(j, j->images, j->rows);
    /* The last run of a row may end behind the row. */
    j->plane = qnn_s8_row_length(one_run + row_run + j->ty.furthest * j->pitch + j->tx.furthest);
    int64_t planes = j->ty.planes * j->tx.planes * j->channel_tiles * QNN_S8_TILE * j->plane;
    j->total_at = qnn_lines(sums);
    j->planes_at = j->total_at + qnn_lines(j->wide ? j->sums_rows * s->filters * 8 : 0);
    j->panels_at = j->planes_at + qnn_lines(planes);
    j->starts_at = j->panels_at + qnn_lines(j->panels * j->length * QNN_PANEL);
    j->pointers_at = j->starts_at + qnn_lines(j->panels * QNN_PANEL * 4);
    j->segments_at = j->pointers_at + qnn_lines(j->length * (int64_t)sizeof(void *));
    j->tiles_at = j->segments_at + qnn_lines(j->images * j->rows * (int64_t)sizeof(qnn_s8_segment));
    j->zeros_at = j->tiles_at + qnn_lines(j->taps * j->channel_tiles * (int64_t)sizeof(qnn_s8_tile));
    j->since_at = j->zeros_at + qnn_lines(s->filters);
    j->scratch_bytes = j->since_at + qnn_lines(8);
}

/* Elements from one row (or image) to the next: padding behind this one can be that before the next one. */
static int64_t advance(int64_t outputs, int64_t furthest, int64_t stride, int64_t pad, int64_t inputs)
{
    int64_t behind = qnn_max(0, outputs + furthest - (inputs + pad));
    return outputs + furthest - (stride == 1 ? qnn_min(behind, qnn_min(pad, furthest)) : 0);
}

/* Chooses the size of the blocks. */
static void lay_out(job *j, int threads)
{
    const qnn_conv_shape *s = j->s;
    j->pitch = advance(s->ow, j->tx.furthest, s->stride_x, s->pad_x, s->w);
    j->image_rows = advance(s->oh, j->ty.furthest, s->stride_y, s->pad_y, s->h);
    j->rows = qnn_max(1, qnn_min(s->oh, POSITIONS / j->pitch));
    j->images = j->rows < s->oh ? 1 : qnn_max(1, qnn_min(s->images, POSITIONS / (j->image_rows * j->pitch)));
    for (place(j); j->images > 1 && j->scratch_bytes - j->planes_at > SCRATCH; place(j))
        j->images -= qnn_max(1, j->images / 4);
    for (; j->rows > 1 && j->scratch_bytes - j->planes_at > SCRATCH; place(j))
        j->rows -= qnn_max(1, j->rows / 4);
    while (j->images > 1 && threads > 1 && (s->images + j->images - 1) / j->images < FEWEST * (int64_t)threads)
        j->images = (j->images + 1) / 2;
    j->row_blocks = (s->oh + j->rows - 1) / j->rows;
    place(j);
}

static int run(job *j, int threads, void *out)
{
    if (j->s->ow + j->tx.furthest > LONGEST || j->s->oh + j->ty.furthest > LONGEST)
        return 1;
    lay_out(j, threads);
    if (j->scratch_bytes - j->planes_at > LARGEST || j->rows * j->s->ow > j->safe_k)
        return 1;
    int64_t blocks = (j->s->images + j->images - 1) / j->images * j->row_blocks;
    int workers = qnn_workers(blocks, threads);
    j->scratch = qnn_allocate(workers * j->scratch_bytes);
    if (!j->scratch)
        return -1;
    qnn_s8_spoil(j->scratch, workers * j->scratch_bytes);
    for (int w = 0; w < workers; w++) {
        memory m = memory_of(j, w);
        memset(m.sums, 0, (size_t)j->planes_at); /* and the totals, which follow */
        memset(m.zeros, 0, (size_t)j->s->filters);
        *m.since = 0;
    }
    qnn_parallel(blocks, threads, do_block, j);
    for (int w = 0; j->wide && w < workers; w++) {
        memory m = memory_of(j, w);
        drain(j, &m);
    }
    finish(j, workers, out);
    qnn_release(j->scratch);
    return 0;
}

int qnn_conv2d_weight_grad_s8(const qnn_isa *isa, const qnn_conv_shape *s, const void *x, const void *g, int wide,
                              void *out, int threads)
{
    job j = {.isa = isa, .s = s, .x = x, .g = g, .wide = wide, .taps = s->kh * s->kw};
    if (!isa->s8 || s->groups != 1 || s->channels == 0 || s->filters == 0 || s->images * s->oh * s->ow == 0)
        return 1;
    j.channel_tiles = (s->channels + QNN_S8_TILE - 1) / QNN_S8_TILE;
    j.panels = (s->filters + QNN_PANEL - 1) / QNN_PANEL;
    j.sums_rows = j.taps * j.channel_tiles * QNN_S8_TILE;
    j.sums_stride = j.panels * QNN_PANEL;
    j.safe_k = qnn_make_layout(1, 1).safe_k;
    int result = make_taps(&j.ty, s->kh, s->stride_y, s->dilation_y) ||
                         make_taps(&j.tx, s->kw, s->stride_x, s->dilation_x)
                     ? -1
                     : run(&j, threads, out);
    qnn_release(j.ty.ahead);
    qnn_release(j.tx.ahead);
    return result;
}
