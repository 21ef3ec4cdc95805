/* Products of +-1 vectors as popcounts, bit planes, packing: k - 2 * popcount(a xor b) over the true length (BIN-1 to
   BIN-5). */
#include "qnn_xnor.h"

#include "qnn_arena.h"
#include "qnn_blocks.h"

static inline int popcount(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (int)(v * 0x0101010101010101u >> 56);
}

int64_t qnn_popcount_xor(const uint64_t *a, const uint64_t *b, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += popcount(a[i] ^ b[i]);
    return count;
}

int64_t qnn_popcount_and(const uint64_t *a, const uint64_t *b, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += popcount(a[i] & b[i]);
    return count;
}

/* Whether x >= 0, from the bits of a float32: -0 counts as +1, and NaN is reported. */
static inline unsigned float_sign(const float *x, int64_t *nan)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    *nan |= (bits & 0x7FFFFFFFu) > 0x7F800000u;
    return !(bits >> 31) || bits == 0x80000000u;
}

int64_t qnn_pack_row(const void *x, int type, int64_t n, uint64_t *words)
{
    int64_t nan = 0;
    for (int64_t w = 0; w < qnn_words(n); w++) {
        uint64_t word = 0;
        for (int64_t i = 64 * w; i < n && i < 64 * w + 64; i++) {
            unsigned bit = type == QNN_PACK_S8    ? ((const int8_t *)x)[i] >= 0
                           : type == QNN_PACK_S16 ? ((const int16_t *)x)[i] >= 0
                           : type == QNN_PACK_S32 ? ((const int32_t *)x)[i] >= 0
                                                  : float_sign((const float *)x + i, &nan);
            word |= (uint64_t)bit << i % 64;
        }
        words[w] = word;
    }
    return nan;
}

typedef struct {
    const qnn_window *window;
    const uint64_t *a, *b;
    const void *x;
    int type, avx2;
    int64_t rows, k, words, pixel_words; /* rows of b; true bits of a row; words of a row; words of a pixel */
    uint64_t fill;
    uint64_t *scratch; /* per worker */
    int64_t scratch_words;
    int32_t *y;
    uint64_t *packed;
} job;

typedef int64_t popcount_fn(const uint64_t *, const uint64_t *, int64_t);

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

static void xnor_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *blocks = context;
    const job *j = blocks->context;
    popcount_fn *count = j->avx2 ? qnn_popcount_xor_avx2 : qnn_popcount_xor;
    uint64_t *row = j->scratch + worker * j->scratch_words;
    int64_t to = end * blocks->grain < blocks->items ? end * blocks->grain : blocks->items;
    for (int64_t r = begin * blocks->grain; r < to; r++) {
        if (j->window)
            gather(j, r, row);
        else {
            memcpy(row, j->a + r * j->words, (size_t)j->words * sizeof *row);
            row[j->words - 1] &= qnn_last_mask(j->k);
        }
        for (int64_t n = 0; n < j->rows; n++)
            j->y[r * j->rows + n] = (int32_t)(j->k - 2 * count(row, j->b + n * j->words, j->words));
    }
}

/* b with the pad bits of every pixel's (or row's) last word cleared; NULL without memory. */
static uint64_t *masked_copy(const uint64_t *b, int64_t words, int64_t every, uint64_t mask)
{
    uint64_t *copy = qnn_allocate((int64_t)((size_t)words * sizeof *copy + 1));
    if (copy)
        for (int64_t i = 0; i < words; i++)
            copy[i] = i % every == every - 1 ? b[i] & mask : b[i];
    return copy;
}

/* Runs `block` over `items` rows of the result with `words` words of scratch a worker. */
static int run(job *j, int64_t items, int64_t words, qnn_how how, qnn_task *block)
{
    int64_t grain = (1 << 16) / (j->rows * j->words + 1) + 1, count = (items + grain - 1) / grain;
    int threads = how.threads < QNN_WORKERS ? how.threads : QNN_WORKERS, workers = qnn_workers(count, threads);
    j->scratch_words = words + 8;
    j->scratch = qnn_allocate((int64_t)((size_t)workers * (size_t)j->scratch_words * sizeof *j->scratch));
    if (!j->scratch)
        return 1;
    qnn_blocks blocks = {0, j, items, grain, 0};
    qnn_parallel(count, workers, block, &blocks);
    qnn_release(j->scratch);
    return 0;
}

int qnn_xnor_gemm(const uint64_t *a, const uint64_t *b, int64_t m, int64_t n, int64_t k, qnn_how how, int32_t *y)
{
    int64_t words = qnn_words(k);
    if (k == 0) {
        memset(y, 0, (size_t)(m * n) * sizeof *y);
        return 0;
    }
    uint64_t *weights = masked_copy(b, n * words, words, qnn_last_mask(k));
    job j = {.a = a, .b = weights, .avx2 = how.avx2, .rows = n, .k = k, .words = words, .y = y};
    int failed = !weights || run(&j, m, words, how, xnor_block);
    qnn_release(weights);
    return failed;
}

int qnn_xnor_conv2d(const qnn_window *window, const uint64_t *x, const uint64_t *w, int pad, qnn_how how, int32_t *y)
{
    int64_t pixel = qnn_words(window->channels), words = window->kh * window->kw * pixel;
    uint64_t *weights = masked_copy(w, window->filters * words, pixel, qnn_last_mask(window->channels));
    job j = {.window = window,
             .a = x,
             .b = weights,
             .avx2 = how.avx2,
             .rows = window->filters,
             .k = window->kh * window->kw * window->channels,
             .words = words,
             .pixel_words = pixel,
             .fill = pad ? ~(uint64_t)0 : 0,
             .y = y};
    int failed = !weights || run(&j, window->images * window->oh * window->ow, words, how, xnor_block);
    qnn_release(weights);
    return failed;
}

/* y = sum over planes p of 2^p * (2 * popcount(plane and w) - popcount(plane)); at most 255 * k, below 2^31. */
static void bitplane_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *blocks = context;
    const job *j = blocks->context;
    popcount_fn *count = j->avx2 ? qnn_popcount_and_avx2 : qnn_popcount_and;
    uint64_t *planes = j->scratch + worker * j->scratch_words;
    int64_t to = end * blocks->grain < blocks->items ? end * blocks->grain : blocks->items;
    for (int64_t r = begin * blocks->grain; r < to; r++) {
        const uint8_t *x = (const uint8_t *)j->x + r * j->k;
        int64_t total = 0;
        memset(planes, 0, (size_t)(8 * j->words) * sizeof *planes);
        for (int64_t i = 0; i < j->k; i++) {
            total += x[i];
            for (int p = 0; p < 8; p++)
                planes[p * j->words + i / 64] |= (uint64_t)(x[i] >> p & 1) << i % 64;
        }
        for (int64_t n = 0; n < j->rows; n++) {
            int64_t both = 0;
            for (int p = 0; p < 8; p++)
                both += count(planes + p * j->words, j->b + n * j->words, j->words) << p;
            j->y[r * j->rows + n] = (int32_t)(2 * both - total);
        }
    }
}

int qnn_bitplane_gemm(const uint8_t *x, const uint64_t *w, int64_t m, int64_t n, int64_t k, qnn_how how, int32_t *y)
{
    job j = {.x = x, .b = w, .avx2 = how.avx2, .rows = n, .k = k, .words = qnn_words(k), .y = y};
    return run(&j, m, 8 * j.words, how, bitplane_block);
}

static void pack_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int64_t size = j->type == QNN_PACK_F32 ? 4 : j->type;
    for (int64_t r = begin; r < end; r++)
        tally->bad += (j->avx2 ? qnn_pack_row_avx2 : qnn_pack_row)((const char *)j->x + r * j->k * size, j->type, j->k,
                                                                   j->packed + r * j->words);
}

int64_t qnn_pack_bits(const void *x, int type, int64_t rows, int64_t k, qnn_how how, uint64_t *words)
{
    job j = {.x = x, .type = type, .avx2 = how.avx2, .k = k, .words = qnn_words(k), .packed = words};
    return qnn_run_blocks(rows, qnn_row_grain(k), how, pack_block, &j).bad;
}
