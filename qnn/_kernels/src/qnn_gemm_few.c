/* Few rows of A by a transposed B of int8: dot products straight from B, which is read once and never packed. With one
 * row the work is one multiply-add per byte of B, so the memory sets the pace. Where there are tiles, those of the left
 * operand are columns of B as they lie, and A is packed as the right one. */
#include <string.h>

#include "qnn_conv_plan.h"
#include "qnn_parallel.h"
#include "qnn_s8.h"

enum {
    MOST_ROWS = 24,     /* from here on packing pays, */
    MOST_IN_TILES = 32, /* with tiles from here on */
    COLUMNS = 64,       /* of a block */
    CHUNK = 1 << 16,    /* products between two visits of the sums: 2^16 * 2^14 < 2^31 */
    SMALL = 1 << 16     /* multiply-adds that are not worth a second thread */
};

typedef struct {
    const qnn_isa *isa;
    const qnn_gemm_problem *p;
    const qnn_output *output;
    int16_t *rows;  /* A as int16, or */
    int8_t *bytes;  /* its bytes with 128 added, rows `stride` apart, or */
    int8_t *panels; /* packed as the right operand of tiles */
    int64_t stride; /* from row to row, from panel to panel */
    int64_t *sums; /* per worker: [m][COLUMNS] */
    qnn_counts *counts;
} job;

static void add_part(const int32_t *part, int64_t m, int64_t n, int64_t *sums)
{
    for (int64_t y = 0; y < m; y++)
        for (int64_t x = 0; x < n; x++)
            sums[y * COLUMNS + x] += part[y * QNN_DOT_COLUMNS + x];
}

/* sums[r][c] of rows of A and columns first .. first+count-1 of B, count at most COLUMNS. */
static void multiply(const job *j, int64_t first, int64_t count, int64_t *sums)
{
    const qnn_gemm_problem *p = j->p;
    for (int64_t i = 0; i < p->m * COLUMNS; i++)
        sums[i] = 0;
    for (int64_t k = 0; k < p->k; k += CHUNK)
        for (int64_t c = 0; c < count; c += QNN_DOT_COLUMNS) {
            int64_t n = qnn_min(QNN_DOT_COLUMNS, count - c), length = qnn_min(CHUNK, p->k - k);
            const int8_t *b = (const int8_t *)p->b + (first + c) * p->k + k;
            if (j->bytes) {
                int32_t part[MOST_ROWS * QNN_DOT_COLUMNS];
                j->isa->dots_s8(j->bytes + k, j->stride, p->m, b, p->k, n, length, part);
                add_part(part, p->m, n, sums + c);
                continue;
            }
            for (int64_t r = 0; r < p->m; r += QNN_DOT_ROWS) {
                int64_t m = qnn_min(QNN_DOT_ROWS, p->m - r);
                int32_t part[QNN_DOT_ROWS * QNN_DOT_COLUMNS];
                j->isa->dots(j->rows + r * p->k + k, p->k, m, b, p->k, n, length, part);
                add_part(part, m, n, sums + r * COLUMNS + c);
            }
        }
}

/* part[c][r] of products k .. k+length-1 of sixteen columns from `from` on: whole steps where they lie, the rest from a
   copy that zeros fill up. */
static void multiply_tile(const job *j, int64_t from, int64_t k, int64_t length, int32_t *part)
{
    const qnn_gemm_problem *p = j->p;
    const int8_t *columns = (const int8_t *)p->b + from * p->k + k;
    int64_t whole = length / QNN_S8_STEP * QNN_S8_STEP, panels = (p->m + QNN_PANEL - 1) / QNN_PANEL;
    int8_t rest[QNN_S8_TILE][QNN_S8_STEP];
    qnn_s8_tile tile = {columns, QNN_S8_TILE};
    qnn_s8_segment segment = {0, whole / QNN_S8_QUAD};
    qnn_s8_block block = {.tile = &tile, .tiles = 1, .row_stride = p->k, .segment = &segment, .segments = 1,
                          .panel = j->panels + k * QNN_PANEL, .panels = panels, .panel_stride = j->stride,
                          .sums = part, .sums_stride = panels * QNN_PANEL};
    j->isa->s8->multiply(&block);
    if (whole == length)
        return;
    memset(rest, 0, sizeof rest);
    for (int i = 0; i < QNN_S8_TILE; i++)
        memcpy(rest[i], columns + i * p->k + whole, (size_t)(length - whole));
    tile.first = rest[0];
    segment.quads = QNN_S8_STEP / QNN_S8_QUAD;
    block.row_stride = QNN_S8_STEP, block.panel += whole * QNN_PANEL, block.accumulate = 1;
    j->isa->s8->multiply(&block);
}

/* As `multiply`. The last tiles reach back over columns that others have done, so that all of them are whole. */
static void multiply_in_tiles(const job *j, int64_t first, int64_t count, int64_t *sums)
{
    const qnn_gemm_problem *p = j->p;
    int64_t panels = (p->m + QNN_PANEL - 1) / QNN_PANEL, width = panels * QNN_PANEL;
    int32_t part[QNN_S8_TILE * MOST_IN_TILES];
    for (int64_t i = 0; i < p->m * COLUMNS; i++)
        sums[i] = 0;
    j->isa->s8->begin();
    for (int64_t c = 0; c < count; c += QNN_S8_TILE) {
        int64_t from = qnn_min(first + c, p->n - QNN_S8_TILE), done = first + c - from;
        for (int64_t k = 0; k < p->k; k += CHUNK) {
            multiply_tile(j, from, k, qnn_min(CHUNK, p->k - k), part);
            for (int64_t r = 0; r < p->m; r++)
                for (int64_t x = done; x < QNN_S8_TILE; x++)
                    sums[r * COLUMNS + c + x - done] += part[x * width + r];
        }
    }
    j->isa->s8->end();
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t *sums = j->sums + worker * j->p->m * COLUMNS, first = begin * COLUMNS;
    int64_t count = qnn_min(COLUMNS, j->p->n - first);
    int32_t narrow[COLUMNS];
    (void)end;
    (j->panels ? multiply_in_tiles : multiply)(j, first, count, sums);
    for (int64_t r = 0; r < j->p->m; r++) {
        const void *row = sums + r * COLUMNS;
        for (int64_t c = 0; c < count && !j->output->wide; c++)
            narrow[c] = (int32_t)sums[r * COLUMNS + c];
        qnn_emit(j->isa, j->output, j->output->wide ? row : narrow, r, 1, first, count, &j->counts[worker]);
    }
}

/* Tiles take the bytes as they are; vectors, which add 128 to them, have dot products of their own. */
static int takes_tiles(const qnn_isa *isa, const qnn_gemm_problem *p)
{
    return isa->s8 && !isa->s8->flip && p->m > 1 && p->n >= QNN_S8_TILE && p->k >= QNN_DOT_LEAST_K;
}

static int pack_rows(job *j)
{
    const qnn_gemm_problem *p = j->p;
    int64_t padded = qnn_s8_padded(j->isa->s8, p->k);
    j->stride = padded * QNN_PANEL;
    j->panels = qnn_allocate((p->m + QNN_PANEL - 1) / QNN_PANEL * j->stride);
    for (int64_t r = 0; j->panels && r < p->m; r += QNN_PANEL)
        qnn_s8_pack_columns((const int8_t *)p->a + r * p->k, p->k, p->k, qnn_min(QNN_PANEL, p->m - r),
                            padded / QNN_S8_QUAD, j->panels + r / QNN_PANEL * j->stride);
    return j->panels != 0;
}

/* A in the form that the products take. 1, or 0 without memory. */
static int prepare_rows(job *j)
{
    const qnn_gemm_problem *p = j->p;
    const int8_t *a = p->a;
    if (takes_tiles(j->isa, p))
        return pack_rows(j);
    if (j->isa->dots_s8 && p->m > 1 && p->k >= QNN_DOT_LEAST_K) {
        j->stride = (p->k + QNN_DOT_BYTES - 1) / QNN_DOT_BYTES * QNN_DOT_BYTES;
        j->bytes = qnn_allocate(p->m * j->stride);
        for (int64_t r = 0; j->bytes && r < p->m; r++) {
            int8_t *row = j->bytes + r * j->stride;
            for (int64_t i = 0; i < p->k; i++)
                row[i] = (int8_t)(a[r * p->k + i] ^ -128);
            memset(row + p->k, 0, (size_t)(j->stride - p->k));
        }
        return j->bytes != 0;
    }
    j->rows = qnn_allocate((p->m * p->k + 1) * (int64_t)sizeof *j->rows);
    if (j->rows)
        j->isa->widen(a, 1, p->m * p->k, j->rows);
    return j->rows != 0;
}

int qnn_gemm_few_rows(const qnn_isa *isa, const qnn_gemm_problem *p, const qnn_output *output, int threads,
                      qnn_counts *counts)
{
    job j = {.isa = isa, .p = p, .output = output};
    int64_t most = takes_tiles(isa, p) ? MOST_IN_TILES : MOST_ROWS;
    if (!isa->dots || p->m > most || p->trans_a || !p->trans_b || p->a_bytes != 1 || p->b_bytes != 1)
        return 1;
    int64_t blocks = (p->n + COLUMNS - 1) / COLUMNS;
    int workers = qnn_workers(blocks, p->m * p->n <= SMALL / (p->k + 1) ? 1 : threads);
    j.sums = qnn_allocate(workers * p->m * COLUMNS * (int64_t)sizeof *j.sums);
    j.counts = qnn_allocate(workers * (int64_t)sizeof *j.counts);
    int done = prepare_rows(&j) && j.sums && j.counts;
    if (done) {
        for (int w = 0; w < workers; w++)
            j.counts[w] = (qnn_counts){0, 0, 0, 0};
        qnn_parallel(blocks, workers, do_block, &j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j.counts[w]);
    }
    qnn_release(j.rows);
    qnn_release(j.bytes);
    qnn_release(j.panels);
    qnn_release(j.sums);
    qnn_release(j.counts);
    return done ? 0 : -1;
}
