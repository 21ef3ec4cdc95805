/* Weight gradient on bytes: for every tap the product of two matrices whose inner index is the output position. */
#include "qnn_weight_s8.h"

#include "qnn_parallel.h"

enum {
    POSITIONS = 1024,      /* of a block: sums are loaded and stored once for so many products */
    SCRATCH = 1 << 19,     /* bytes that a block's planes and panels should stay below */
    LARGEST = 1 << 24,     /* what one output row may need; more goes another way */
    LONGEST = 1 << 15,     /* and so do images (padded, dilated) with longer sides */
    FEWEST = 4,            /* blocks per thread */
    FEW_CHANNELS = 4,      /* so few are copied for every tap */
    SMALL = 1 << 15        /* results that are not worth a second thread */
};

typedef qnn_weight_taps axis_taps;
typedef qnn_weight_job job;
typedef qnn_weight_memory memory;

static memory memory_of(const job *j, int worker)
{
    char *s = j->scratch + worker * j->scratch_bytes;
    return (memory){(int32_t *)(void *)s,
                    (int64_t *)(void *)(s + j->total_at),
                    (int8_t *)(s + j->planes_at),
                    (int8_t *)(s + j->gathered_at),
                    (int8_t *)(s + j->panels_at),
                    (int32_t *)(void *)(s + j->starts_at),
                    (int8_t *)(s + j->grads_at),
                    (qnn_s8_segment *)(void *)(s + j->segments_at),
                    (qnn_s8_tile *)(void *)(s + j->tiles_at),
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

/* A tile of channels for every tap: the same planes, seen from another offset; or tiles of what was gathered. */
static void list_tiles(const job *j, const memory *m)
{
    const qnn_conv_shape *s = j->s;
    qnn_s8_tile *tile = m->tiles;
    for (int64_t r = 0; j->gathered_row && r < j->taps * s->channels; r += QNN_S8_TILE)
        *tile++ = (qnn_s8_tile){m->gathered + r * j->gathered_row, qnn_min(QNN_S8_TILE, j->taps * s->channels - r)};
    for (int64_t t = 0; !j->gathered_row && t < j->taps; t++) {
        int64_t offset, plane = qnn_weight_plane(j, t, &offset);
        for (int64_t c = 0; c < j->channel_tiles; c++)
            *tile++ = (qnn_s8_tile){m->planes + (plane * j->channel_tiles + c) * QNN_S8_TILE * j->plane + offset,
                                    qnn_min(QNN_S8_TILE, s->channels - c * QNN_S8_TILE)};
    }
}

/* Of an array [images][height][row_bytes]: what the block after one that ends with this image's `row` begins with. */
static qnn_s8_ahead next_rows(const int8_t *array, int64_t images, int64_t height, int64_t row_bytes, int64_t image,
                              int64_t row, int64_t rows)
{
    int64_t from = image * height + qnn_min(row, height);
    return (qnn_s8_ahead){array + from * row_bytes, qnn_min(rows, images * height - from) * row_bytes};
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
    int64_t length = qnn_weight_positions(j, images, rows);
    int64_t runs = qnn_weight_prepare(j, &m, image, images, first, rows, length);
    list_tiles(j, &m);
    qnn_s8_block block = {.tile = m.tiles, .tiles = j->sums_rows / QNN_S8_TILE,
                          .row_stride = j->gathered_row ? j->gathered_row : j->plane,
                          .segment = m.segments, .segments = runs, .panel = m.panels, .panels = j->panels,
                          .panel_stride = length * QNN_PANEL, .start = m.starts, .sums = m.sums,
                          .sums_stride = j->sums_stride, .accumulate = 1};
    const int64_t last = image + images - 1, y = first + rows, count = images * rows;
    block.ahead[0] = next_rows(j->g, s->images, s->oh, s->ow * s->filters, last, y, count);
    block.ahead[1] = next_rows(j->x, s->images, s->h, s->w * s->channels, last, y * s->stride_y, count * s->stride_y);
    s8->begin();
    s8->multiply(&block);
    s8->end();
}

typedef struct {
    const job *j;
    int workers;
    void *out;
} finishing;

/* The workers' sums of one tap, up to 16 channels by 16 filters, are added up and turned: both sides of the copy then
   touch whole lines. Narrow sums fit int32 in all orders, since their whole does. */
#define FINISH_TILE(type, sums_of, stride)                                                            \
    do {                                                                                              \
        type total[QNN_S8_TILE][QNN_PANEL] = {{0}}, *to = (type *)f->out + (o0 * j->taps + tap) * s->channels + c0; \
        for (int w = 0; w < f->workers; w++) {                                                        \
            memory m = memory_of(j, w);                                                               \
            const type *from = m.sums_of + (tap * j->tap_rows + c0) * (stride) + o0;                  \
            for (int64_t c = 0; c < channels; c++)                                                    \
                for (int64_t o = 0; o < filters; o++)                                                 \
                    total[c][o] += from[c * (stride) + o];                                            \
        }                                                                                             \
        for (int64_t o = 0; o < filters; o++)                                                         \
            for (int64_t c = 0; c < channels; c++)                                                    \
                to[o * j->taps * s->channels + c] = total[c][o];                                      \
    } while (0)

static void finish_tile(const finishing *f, int64_t tap, int64_t c0, int64_t o0)
{
    const job *j = f->j;
    const qnn_conv_shape *s = j->s;
    const int64_t channels = qnn_min(QNN_S8_TILE, s->channels - c0), filters = qnn_min(QNN_PANEL, s->filters - o0);
    if (j->wide)
        FINISH_TILE(int64_t, total, s->filters);
    else
        FINISH_TILE(int32_t, sums, j->sums_stride);
}

static void finish_tap(void *context, int64_t begin, int64_t end, int worker)
{
    const finishing *f = context;
    (void)end;
    (void)worker;
    for (int64_t o = 0; o < f->j->s->filters; o += QNN_PANEL)
        for (int64_t c = 0; c < f->j->s->channels; c += QNN_S8_TILE)
            finish_tile(f, begin, c, o);
}

/* Writes [filters][taps][channels]. */
static void finish(const job *j, int workers, int threads, void *out)
{
    finishing f = {j, workers, out};
    qnn_parallel(j->taps, j->taps * j->s->filters * j->s->channels < SMALL ? 1 : threads, finish_tap, &f);
}

/* The places of everything in a worker's scratch. The last tile reads rows that are no channel's, and all read on to
   the end of a padded length. */
static void place(job *j)
{
    const qnn_conv_shape *s = j->s;
    int64_t all_rows = (j->images - 1) * j->image_rows + j->rows, sums = j->sums_rows * j->sums_stride * 4;
    int64_t row_run = qnn_s8_padded(j->isa->s8, j->s->ow), one_run = qnn_s8_padded(j->isa->s8, all_rows * j->pitch);
    j->row_run = j->images * j->rows * row_run < one_run ? row_run : 0;
    j->length = qnn_weight_positions(j, j->images, j->rows);
    /* The last run of a row may end behind the row. */
    j->plane = qnn_s8_row_length(one_run + row_run + j->ty.furthest * j->pitch + j->tx.furthest);
    int64_t planes = j->ty.planes * j->tx.planes * j->channel_tiles * QNN_S8_TILE * j->plane;
    if (j->gathered_row)
        j->gathered_row = qnn_s8_row_length(one_run + row_run);
    j->total_at = qnn_lines(sums);
    j->planes_at = j->total_at + qnn_lines(j->wide ? j->sums_rows * s->filters * 8 : 0);
    j->gathered_at = j->planes_at + qnn_lines(planes);
    j->panels_at = j->gathered_at + qnn_lines(j->gathered_row * j->sums_rows);
    j->starts_at = j->panels_at + qnn_lines(j->panels * j->length * QNN_PANEL);
    j->grads_at = j->starts_at + qnn_lines(j->panels * QNN_PANEL * 4);
    j->segments_at = j->grads_at + qnn_lines(j->length * j->sums_stride);
    j->tiles_at = j->segments_at + qnn_lines(j->images * j->rows * (int64_t)sizeof(qnn_s8_segment));
    j->since_at = j->tiles_at + qnn_lines(j->taps * j->channel_tiles * (int64_t)sizeof(qnn_s8_tile));
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
        *m.since = 0;
    }
    qnn_parallel(blocks, threads, do_block, j);
    for (int w = 0; j->wide && w < workers; w++) {
        memory m = memory_of(j, w);
        drain(j, &m);
    }
    finish(j, workers, threads, out);
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
    j.gathered_row = s->channels <= FEW_CHANNELS && j.taps > 1; /* the length follows */
    j.tap_rows = j.gathered_row ? s->channels : j.channel_tiles * QNN_S8_TILE;
    j.sums_rows = (j.taps * j.tap_rows + QNN_S8_TILE - 1) / QNN_S8_TILE * QNN_S8_TILE;
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
