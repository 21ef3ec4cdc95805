/* Products of +-1 vectors as counts of differing bits, k - 2 * ones(a xor b) over the true length (BIN-3, BIN-4), and
 * of uint8 by +-1 over bit planes (BIN-5): blocks of rows of a against panels of rows of b. */
#include "qnn_xnor.h"

#include "qnn_arena.h"
#include "qnn_blocks.h"

enum {
    ITEMS = 32,       /* rows of the result in a block, */
    PLANE_ITEMS = 4,  /* and where each of them is eight rows of bits */
    COLUMNS = 64,     /* of the result that are counted together */
    SMALL = 1 << 20   /* bits that are not worth a second thread */
};

typedef struct {
    const qnn_bits *bits;
    const qnn_window *window; /* of a convolution, or NULL */
    const uint64_t *a, *b;
    const uint8_t *x;                     /* instead of a: rows of bit planes are made of it */
    int64_t items, columns;               /* rows of the result and of b */
    int64_t k, words, pixel_words;        /* true bits and words of a row; words of a pixel */
    uint64_t fill;                        /* of padded pixels */
    int64_t grain, rows;                  /* items of a block, and rows of bits */
    int64_t row_blocks, column_blocks;
    char *panels;                         /* all of b, or NULL: counted straight from b */
    char *scratch;                        /* per worker: rows, prepared rows, counts */
    int64_t scratch_bytes, prepared_at, counts_at;
    int32_t *y;
} job;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The words under a window, bits past the channels cleared. */
static void gather(const job *j, int64_t pixel, uint64_t *row)
{
    const qnn_window *w = j->window;
    int64_t image = pixel / (w->oh * w->ow), oy = pixel / w->ow % w->oh, ox = pixel % w->ow, n = j->pixel_words;
    for (int64_t ky = 0; ky < w->kh; ky++)
        for (int64_t kx = 0; kx < w->kw; kx++, row += n) {
            int64_t y = oy * w->stride_y - w->pad_y + ky, x = ox * w->stride_x - w->pad_x + kx;
            int inside = y >= 0 && y < w->h && x >= 0 && x < w->w;
            for (int64_t i = 0; i < n; i++)
                row[i] = inside ? j->a[((image * w->h + y) * w->w + x) * n + i] : j->fill;
            row[n - 1] &= qnn_last_mask(w->channels);
        }
}

/* Byte p of the result has the bits p of eight bytes: three rounds that swap ever larger blocks across the diagonal. */
static inline uint64_t turn_8x8(uint64_t v)
{
    uint64_t t = (v ^ v >> 7) & 0x00AA00AA00AA00AAu;
    v ^= t ^ t << 7;
    t = (v ^ v >> 14) & 0x0000CCCC0000CCCCu;
    v ^= t ^ t << 14;
    t = (v ^ v >> 28) & 0x00000000F0F0F0F0u;
    return v ^ t ^ t << 28;
}

/* The eight bit planes of a row, one behind the other; bits past k are 0. */
static void split_planes(const job *j, const uint8_t *x, uint64_t *planes)
{
    memset(planes, 0, (size_t)(8 * j->words) * sizeof *planes);
    for (int64_t i = 0; i < j->k; i += 8) {
        uint64_t eight = 0;
        for (int64_t e = 0; e < 8 && i + e < j->k; e++)
            eight |= (uint64_t)x[i + e] << 8 * e;
        eight = turn_8x8(eight);
        for (int64_t p = 0; p < 8; p++)
            planes[p * j->words + i / 64] |= (eight >> 8 * p & 255) << i % 64;
    }
}

/* The rows of bits of items first .. first+count-1; those of planes end with one of zeros, which counts the ones of b.
   Returns their number. */
static int64_t make_rows(const job *j, int64_t first, int64_t count, uint64_t *rows)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t *row = rows + i * (j->x ? 8 : 1) * j->words;
        if (j->x)
            split_planes(j, j->x + (first + i) * j->k, row);
        else if (j->window)
            gather(j, first + i, row);
        else {
            memcpy(row, j->a + (first + i) * j->words, (size_t)j->words * sizeof *row);
            row[j->words - 1] &= qnn_last_mask(j->k);
        }
    }
    if (!j->x)
        return count;
    memset(rows + 8 * count * j->words, 0, (size_t)j->words * sizeof *rows);
    return 8 * count + 1;
}

/* counts[r][0 .. COLUMNS-1] of columns first .. first+n-1. */
static void count_ones(const job *j, const uint64_t *rows, const uint8_t *prepared, int64_t count, int64_t first,
                       int64_t n, int32_t *counts)
{
    const qnn_bits *bits = j->bits;
    if (!j->panels) {
        bits->dots(rows, j->words, count, j->b + first * j->words, j->words, n, j->words, counts, COLUMNS);
        return;
    }
    for (int64_t c = 0; c < n; c += bits->panel)
        bits->multiply(prepared, j->words * bits->expansion, count, j->panels + (first + c) * j->words * 8,
                       j->words, counts + c, COLUMNS);
}

/* Rows of the result from the counts, modulo 2^32, which is exact for what fits int32. Set pad bits of b differ from
   the cleared ones of a, and do not count. */
static void finish(const job *j, int64_t item, int64_t count, int64_t first, int64_t n, const int32_t *counts)
{
    uint32_t all[COLUMNS];
    for (int64_t c = 0; c < n && !j->x; c++) {
        const uint64_t *last = j->b + (first + c + 1) * j->words - 1;
        all[c] = (uint32_t)j->k;
        if (!j->window && j->k % 64)
            all[c] += 2 * (uint32_t)qnn_ones(*last & ~qnn_last_mask(j->k));
    }
    for (int64_t i = 0; i < count; i++) {
        int32_t *y = j->y + (item + i) * j->columns + first;
        if (!j->x)
            j->bits->finish(all, counts + i * COLUMNS, n, y);
        for (int64_t c = 0; c < n && j->x; c++) { /* 2 * ones(p and w) - ones(p) = ones(w) - ones(p xor w) */
            uint32_t sum = 255 * (uint32_t)counts[8 * count * COLUMNS + c];
            for (int64_t p = 0; p < 8; p++)
                sum -= (uint32_t)counts[(8 * i + p) * COLUMNS + c] << p;
            y[c] = (int32_t)sum;
        }
    }
}

/* The lines that the results will fill are fetched while their bits are counted: of few words the counting is too short
   for the stores behind it to hide their way to memory. A hint; compilers without it do nothing. */
static void fetch_results(const job *j, int64_t item, int64_t count, int64_t first, int64_t n)
{
#if defined(__GNUC__)
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < n; c += 16)
            __builtin_prefetch(j->y + (item + i) * j->columns + first + c, 1);
#else
    (void)j, (void)item, (void)count, (void)first, (void)n;
#endif
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    char *scratch = j->scratch + worker * j->scratch_bytes;
    uint64_t *rows = (uint64_t *)(void *)scratch;
    uint8_t *prepared = (uint8_t *)scratch + j->prepared_at;
    int32_t *counts = (int32_t *)(void *)(scratch + j->counts_at);
    int64_t item = begin % j->row_blocks * j->grain, items = smaller(j->grain, j->items - item);
    int64_t groups = (j->columns + COLUMNS - 1) / COLUMNS, block = begin / j->row_blocks;
    int64_t from = block * groups / j->column_blocks, to = (block + 1) * groups / j->column_blocks;
    int64_t count = make_rows(j, item, items, rows);
    (void)end;
    for (int64_t r = 0; j->panels && r < count; r++)
        j->bits->prepare(rows + r * j->words, j->words, prepared + r * j->words * j->bits->expansion);
    for (int64_t g = from; g < to; g++) {
        int64_t n = smaller(COLUMNS, j->columns - g * COLUMNS);
        fetch_results(j, item, items, g * COLUMNS, n);
        count_ones(j, rows, prepared, count, g * COLUMNS, n, counts);
        finish(j, item, items, g * COLUMNS, n, counts);
    }
}

static void pack_panel(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t first = begin * j->bits->panel;
    (void)end;
    (void)worker;
    j->bits->pack(j->b + first * j->words, j->words, smaller(j->bits->panel, j->columns - first), j->words,
                  j->panels + first * j->words * 8);
}

static void dots_c(const uint64_t *a, int64_t a_stride, int64_t rows, const uint64_t *b, int64_t b_stride,
                   int64_t columns, int64_t words, int32_t *counts, int64_t counts_stride)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            int64_t count = 0;
            for (int64_t i = 0; i < words; i++)
                count += qnn_ones(a[r * a_stride + i] ^ b[c * b_stride + i]);
            counts[r * counts_stride + c] = (int32_t)count;
        }
}

static void finish_c(const uint32_t *all, const int32_t *counts, int64_t n, int32_t *y)
{
    QNN_FINISH_BITS(all, counts, n, y);
}

static const qnn_bits *bits_of(qnn_how how)
{
    static const qnn_bits plain = {.dots = dots_c, .finish = finish_c};
    const qnn_bits *found = how.avx512 ? qnn_bits_avx512() : how.avx2 ? qnn_bits_avx2() : 0;
    return found ? found : &plain;
}

/* Runs the job; returns 1 without memory. */
static int run(job *j, qnn_how how)
{
    int64_t groups = (j->columns + COLUMNS - 1) / COLUMNS, planes = j->x ? 8 : 1;
    int threads = how.threads < QNN_WORKERS ? how.threads : QNN_WORKERS;
    if (j->items == 0 || j->columns == 0)
        return 0;
    if (j->items * planes <= SMALL / j->columns / j->words / 64)
        threads = 1;
    j->bits = bits_of(how);
    j->grain = smaller(j->items, j->x ? PLANE_ITEMS : ITEMS);
    j->rows = j->grain * planes + (j->x ? 1 : 0);
    j->row_blocks = (j->items + j->grain - 1) / j->grain;
    j->column_blocks = threads == 1 ? 1 : smaller(groups, (4 * (int64_t)threads + j->row_blocks - 1) / j->row_blocks);
    int64_t blocks = j->row_blocks * j->column_blocks, workers = qnn_workers(blocks, threads);
    int packs = j->bits->least_rows && j->items * planes >= j->bits->least_rows;
    j->prepared_at = j->rows * j->words * 8;
    j->counts_at = j->prepared_at + (packs ? (j->rows * j->words * j->bits->expansion + 63) / 64 * 64 : 0);
    j->scratch_bytes = (j->counts_at + j->rows * COLUMNS * 4 + 63) / 64 * 64;
    j->scratch = qnn_allocate(workers * j->scratch_bytes);
    if (packs)
        j->panels = qnn_allocate(groups * COLUMNS * j->words * 8);
    int done = j->scratch && (j->panels || !packs);
    if (done && packs)
        qnn_parallel((j->columns + j->bits->panel - 1) / j->bits->panel, threads, pack_panel, j);
    if (done)
        qnn_parallel(blocks, (int)workers, do_block, j);
    qnn_release(j->scratch);
    qnn_release(j->panels);
    return !done;
}

int qnn_xnor_gemm(const uint64_t *a, const uint64_t *b, int64_t m, int64_t n, int64_t k, qnn_how how, int32_t *y)
{
    job j = {.a = a, .b = b, .items = m, .columns = n, .k = k, .words = qnn_words(k), .y = y};
    if (k == 0)
        memset(y, 0, (size_t)(m * n) * sizeof *y);
    return k == 0 ? 0 : run(&j, how);
}

int qnn_xnor_conv2d(const qnn_window *window, const uint64_t *x, const uint64_t *w, int pad, qnn_how how, int32_t *y)
{
    int64_t pixel = qnn_words(window->channels), taps = window->kh * window->kw, words = taps * pixel;
    uint64_t *masked = 0;
    if (window->channels % 64) { /* a copy without the pad bits, which every pixel has */
        int64_t all = window->filters * words;
        masked = qnn_allocate((int64_t)((size_t)all * sizeof *masked + 1));
        for (int64_t i = 0; masked && i < all; i++)
            masked[i] = i % pixel == pixel - 1 ? w[i] & qnn_last_mask(window->channels) : w[i];
        if (!masked)
            return 1;
    }
    job j = {.window = window,
             .a = x,
             .b = masked ? masked : w,
             .items = window->images * window->oh * window->ow,
             .columns = window->filters,
             .k = taps * window->channels,
             .words = words,
             .pixel_words = pixel,
             .fill = pad ? ~(uint64_t)0 : 0,
             .y = y};
    int failed = run(&j, how);
    qnn_release(masked);
    return failed;
}

int qnn_bitplane_gemm(const uint8_t *x, const uint64_t *w, int64_t m, int64_t n, int64_t k, qnn_how how, int32_t *y)
{
    job j = {.x = x, .b = w, .items = m, .columns = n, .k = k, .words = qnn_words(k), .y = y};
    return run(&j, how);
}
