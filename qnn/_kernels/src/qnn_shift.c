/* Power-of-two weights from packed codes: products made of shifts, negations and additions only (clauses POW-3, POW-4).
 *
 * The exact product, by left shifts, is the plain path, kept as real shifts so that shifting and multiplying can be
 * compared: the AVX2 path decodes the codes (qnn_pow2_weights) and multiplies; the integers are the same. The truncating
 * one, by right shifts, is no multiplication, so that every path shifts. */
#include "qnn_arena.h"
#include "qnn_blocks.h"

/* Code number i of a row: n-bit fields one behind the other, little-endian; the row's last byte ends the reading. */
static inline unsigned code_at(const uint8_t *row, int bits, int64_t i)
{
    int64_t at = i * bits;
    unsigned offset = (unsigned)(at % 8), two = row[at / 8];
    if (offset + (unsigned)bits > 8)
        two |= (unsigned)row[at / 8 + 1] << 8;
    return two >> offset & ((1u << bits) - 1);
}

static inline int64_t row_bytes(int64_t k, int bits) { return (k * bits + 7) / 8; }

void qnn_pow2_weights(const uint8_t *packed, int bits, int64_t rows, int64_t k, int16_t *weights)
{
    unsigned most = (1u << (bits - 1)) - 1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i++) {
            unsigned code = code_at(packed + r * row_bytes(k, bits), bits, i), m = code & most;
            int weight = m == 0 ? 0 : 1 << (m - 1);
            weights[r * k + i] = (int16_t)(code >> (bits - 1) ? -weight : weight);
        }
}

/* Weights ready for shifting: how far (left, or right if truncating), whether to keep the term at all (-1 or 0), and its sign (-1: negate, 0: not). */
typedef struct {
    uint8_t *shift;
    int8_t *keep, *negate;
} shifts;

static void decode(const uint8_t *packed, int bits, int64_t rows, int64_t k, int truncating, shifts out)
{
    unsigned most = (1u << (bits - 1)) - 1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i++) {
            unsigned code = code_at(packed + r * row_bytes(k, bits), bits, i), m = code & most;
            out.shift[r * k + i] = (uint8_t)(m == 0 ? 0 : truncating ? most - m : m - 1);
            out.keep[r * k + i] = (int8_t)-(m != 0);
            out.negate[r * k + i] = (int8_t)-(int)(code >> (bits - 1));
        }
}

/* The shift is made on the unsigned representation: C leaves left shifts of negative numbers undefined. */
QNN_BODY int32_t left(int32_t x, unsigned shift) { return (int32_t)((uint32_t)x << shift); }

/* Toward minus infinity, before the sign. */
QNN_BODY int32_t right(int32_t x, unsigned shift) { return QNN_ASR(x, shift); }

/* |x << shift| is at most 2^15 * 2^14, so a term fits int32; the sum is int32 only where the caller's bound says so. */
#define SHIFT_DOT(name, shifted, sum_type)                                            \
    QNN_BODY sum_type name(const int32_t *x, shifts w, int64_t at, int64_t k)         \
    {                                                                                 \
        sum_type sum = 0;                                                             \
        for (int64_t i = 0; i < k; i++) {                                             \
            int32_t negate = w.negate[at + i], term = shifted(x[i], w.shift[at + i]); \
            sum += ((term ^ negate) - negate) & w.keep[at + i];                       \
        }                                                                             \
        return sum;                                                                   \
    }
SHIFT_DOT(exact_s32, left, int32_t)
SHIFT_DOT(exact_s64, left, int64_t)
SHIFT_DOT(truncating_s32, right, int32_t)
SHIFT_DOT(truncating_s64, right, int64_t)

typedef struct {
    const qnn_window *window; /* NULL for the product of matrices */
    const void *x;
    int bytes, wide, truncating, avx2;
    shifts w;
    int64_t k, filters; /* terms of a sum; sums of a row */
    int32_t *scratch;   /* k per worker */
    void *y;
} job;

static inline int32_t load(const void *x, int bytes, int64_t i)
{
    return bytes == 1 ? ((const int8_t *)x)[i] : ((const int16_t *)x)[i];
}

/* The pixels under the window of output (image, oy, ox), channels first .. first+n-1; 0 outside of the image. */
static void gather(const job *j, int64_t image, int64_t oy, int64_t ox, int64_t first, int64_t n, int32_t *patch)
{
    const qnn_window *w = j->window;
    for (int64_t ky = 0; ky < w->kh; ky++)
        for (int64_t kx = 0; kx < w->kw; kx++, patch += n) {
            int64_t y = oy * w->stride_y - w->pad_y + ky * w->dilation_y,
                    x = ox * w->stride_x - w->pad_x + kx * w->dilation_x;
            int inside = y >= 0 && y < w->h && x >= 0 && x < w->w;
            int64_t at = ((image * w->h + y) * w->w + x) * w->channels + first;
            for (int64_t c = 0; c < n; c++)
                patch[c] = inside ? load(j->x, j->bytes, at + c) : 0;
        }
}

/* Sums with filters first .. last-1 for one row of terms, written from flat position `out` on. */
QNN_BODY void dots_body(const job *j, const int32_t *row, int64_t first, int64_t last, int64_t out)
{
    int64_t *wide = j->y, k = j->k;
    int32_t *narrow = j->y;
    for (int64_t f = first; f < last; f++)
        if (j->wide)
            wide[out + f] = j->truncating ? truncating_s64(row, j->w, f * k, k) : exact_s64(row, j->w, f * k, k);
        else
            narrow[out + f] = j->truncating ? truncating_s32(row, j->w, f * k, k) : exact_s32(row, j->w, f * k, k);
}
QNN_TWICE(dots, (const job *j, const int32_t *row, int64_t first, int64_t last, int64_t out),
          (j, row, first, last, out))

static void dots(const job *j, const int32_t *row, int64_t first, int64_t last, int64_t out)
{
    if (j->avx2)
        dots_avx2(j, row, first, last, out);
    else
        dots_c(j, row, first, last, out);
}

/* A block of rows of the result (an output pixel is a row). */
static void shift_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *b = context;
    const job *j = b->context;
    const qnn_window *w = j->window;
    int32_t *row = j->scratch + worker * j->k;
    int64_t to = end * b->grain < b->items ? end * b->grain : b->items;
    for (int64_t r = begin * b->grain; r < to; r++) {
        if (!w) {
            for (int64_t i = 0; i < j->k; i++)
                row[i] = load(j->x, j->bytes, r * j->k + i);
            dots(j, row, 0, j->filters, r * j->filters);
            continue;
        }
        int64_t channels = w->channels / w->groups, filters = w->filters / w->groups;
        for (int64_t g = 0; g < w->groups; g++) {
            gather(j, r / (w->oh * w->ow), r / w->ow % w->oh, r % w->ow, g * channels, channels, row);
            dots(j, row, g * filters, (g + 1) * filters, r * j->filters);
        }
    }
}

static int run(job *j, const uint8_t *packed, int bits, int64_t rows, qnn_how how)
{
    int64_t weights = j->filters * j->k, work = weights / (j->window ? j->window->groups : 1) + 1,
            grain = (1 << 18) / work + 1;
    int workers = qnn_workers((rows + grain - 1) / grain, how.threads);
    uint8_t *memory = qnn_allocate((int64_t)((size_t)(3 * weights) + 1));
    j->scratch = qnn_allocate((int64_t)((size_t)workers * (size_t)(j->k + 16) * sizeof *j->scratch));
    if (memory && j->scratch) {
        j->w.shift = memory;
        j->w.keep = (int8_t *)memory + weights;
        j->w.negate = (int8_t *)memory + 2 * weights;
        decode(packed, bits, j->filters, j->k, j->truncating, j->w);
        qnn_blocks blocks = {0, j, rows, grain, 0};
        qnn_parallel((rows + grain - 1) / grain, workers, shift_block, &blocks);
    }
    int failed = !memory || !j->scratch;
    qnn_release(j->scratch);
    qnn_release(memory);
    return failed;
}

int qnn_shift_gemm(const void *x, int x_bytes, const uint8_t *packed, int bits, int64_t m, int64_t n, int64_t k,
                   int wide, int truncating, qnn_how how, void *y)
{
    job j = {.x = x, .bytes = x_bytes, .wide = wide, .truncating = truncating, .avx2 = how.avx2, .k = k, .filters = n,
             .y = y};
    return run(&j, packed, bits, m, how);
}

int qnn_shift_conv2d(const qnn_window *window, const void *x, int x_bytes, const uint8_t *packed, int bits, int wide,
                     int truncating, qnn_how how, void *y)
{
    int64_t k = window->kh * window->kw * (window->channels / window->groups);
    job j = {.window = window, .x = x, .bytes = x_bytes, .wide = wide, .truncating = truncating, .avx2 = how.avx2,
             .k = k, .filters = window->filters, .y = y};
    return run(&j, packed, bits, window->images * window->oh * window->ow, how);
}
