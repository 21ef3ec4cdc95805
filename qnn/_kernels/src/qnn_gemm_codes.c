/* Few rows of int8 by rows of packed 4-bit power-of-two codes: each weight is read once, as half a byte, and decoded in
 * registers; with one row the memory sets the pace. Sums are exact integers (clause POW-3). */
#include "qnn_gemm.h"

#include <string.h>

#include "qnn_parallel.h"
#include "qnn_s8.h"

enum {
    COLUMNS = 64,             /* of a block */
    CHUNK = 1 << 16,          /* products between two visits of the sums: 2^16 * 2^14 < 2^31 */
    TILE_ROWS = 16,           /* of one tile of AMX */
    ROWS_CHUNK = 2048,        /* the same with several rows, which then stay in the nearest cache */
    MOST_BLOCK = 128,         /* of qnn_codes.block */
    MOST_PART = 8 * 4,        /* sums of one call */
    SMALL = 1 << 16           /* multiply-adds that are not worth a second thread */
};

typedef struct {
    const qnn_isa *isa;
    const qnn_gemm_problem *p;
    const qnn_output *output;
    int8_t *sorted;     /* A: of each block the terms of even codes, then those of odd ones; zeros to whole blocks */
    int64_t row_length; /* of these rows */
    int64_t *excess;    /* QNN_CODE_BIAS * (sum of the row) */
    int64_t *sums;      /* per worker: [m][COLUMNS] */
    qnn_counts *counts;
} job;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void sort_terms(const job *j)
{
    int64_t block = j->isa->codes->block, half = block / 2;
    memset(j->sorted, 0, (size_t)(j->p->m * j->row_length));
    for (int64_t r = 0; r < j->p->m; r++) {
        const int8_t *row = (const int8_t *)j->p->a + r * j->p->k;
        int64_t total = 0;
        for (int64_t k = 0; k < j->p->k; k += block) {
            int8_t *even = j->sorted + r * j->row_length + k, *odd = even + half;
            int64_t length = smaller(block, j->p->k - k);
            for (int64_t i = 0; i < length / 2; i++) {
                even[i] = row[k + 2 * i];
                odd[i] = row[k + 2 * i + 1];
            }
            if (length % 2)
                even[length / 2] = row[k + length - 1];
            for (int64_t i = 0; i < length; i++)
                total += row[k + i];
        }
        j->excess[r] = QNN_CODE_BIAS * total;
    }
}

/* Where the codes of QNN_DOT_COLUMNS columns are from term k on; absent columns: the last one again. In the last,
   partial block they are copied to `last`, so that nothing is read behind the end. */
static void find_columns(const job *j, int64_t column, int64_t n, int64_t k, uint8_t last[][MOST_BLOCK / 2],
                         const uint8_t **columns)
{
    int64_t bytes = (j->p->k + 1) / 2, block = j->isa->codes->block;
    for (int64_t x = 0; x < QNN_DOT_COLUMNS; x++) {
        columns[x] = (const uint8_t *)j->p->b + (column + smaller(x, n - 1)) * bytes + k / 2;
        if (j->p->k - k < block) {
            memcpy(last[x], columns[x], (size_t)(bytes - k / 2));
            columns[x] = last[x];
        }
    }
}

/* Adds to sums[r][0 .. count-1] the products from term k on: some rows stay in the nearest cache for all columns. */
static void multiply(const job *j, int64_t k, int64_t blocks, int64_t first, int64_t count, int64_t *sums)
{
    const qnn_codes *codes = j->isa->codes;
    const uint8_t *columns[QNN_DOT_COLUMNS];
    uint8_t last[QNN_DOT_COLUMNS][MOST_BLOCK / 2] = {{0}};
    for (int64_t r = 0; r < j->p->m; r += codes->rows)
        for (int64_t c = 0; c < count; c += QNN_DOT_COLUMNS) {
            int32_t part[MOST_PART];
            int64_t m = smaller(codes->rows, j->p->m - r), n = smaller(QNN_DOT_COLUMNS, count - c);
            find_columns(j, first + c, n, k, last, columns);
            codes->dots(j->sorted + r * j->row_length + k, j->row_length, m, columns, blocks, part);
            for (int64_t y = 0; y < m; y++)
                for (int64_t x = 0; x < n; x++)
                    sums[(r + y) * COLUMNS + c + x] += part[y * QNN_DOT_COLUMNS + x];
        }
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t *sums = j->sums + worker * j->p->m * COLUMNS, first = begin * COLUMNS;
    int64_t count = smaller(COLUMNS, j->p->n - first);
    int64_t block = j->isa->codes->block, whole = j->p->k / block * block;
    int64_t chunk = j->p->m == 1 ? CHUNK : ROWS_CHUNK;
    int32_t narrow[COLUMNS];
    (void)end;
    memset(sums, 0, (size_t)(j->p->m * COLUMNS) * sizeof *sums);
    for (int64_t k = 0; k < whole; k += chunk)
        multiply(j, k, smaller(chunk, whole - k) / block, first, count, sums);
    if (whole < j->p->k)
        multiply(j, whole, 1, first, count, sums);
    for (int64_t r = 0; r < j->p->m; r++) {
        for (int64_t c = 0; c < count; c++)
            narrow[c] = (int32_t)(sums[r * COLUMNS + c] - j->excess[r]);
        qnn_emit(j->isa, j->output, narrow, r, 1, first, count, &j->counts[worker]);
    }
}

void qnn_decode_columns4(const qnn_isa *isa, const qnn_gemm_problem *p, int64_t first, int64_t count, int64_t k0,
                         int64_t length, int8_t *out, int64_t stride)
{
    for (int64_t c = 0; c < count; c++)
        isa->decode4((const uint8_t *)p->b + (first + c) * ((p->k + 1) / 2) + k0 / 2, length, out + c * stride);
}

int qnn_gemm_codes4(const qnn_isa *isa, const qnn_gemm_problem *p, const qnn_output *output, int threads,
                    qnn_counts *counts)
{
    job j = {.isa = isa, .p = p, .output = output};
    if (!isa->codes || output->wide)
        return 1;
    if (p->m > isa->codes->most_rows) { /* decodes them where it packs them; tiles of a few rows do not pay for that */
        const qnn_isa *packing = isa->short_runs && p->m <= TILE_ROWS ? isa->short_runs : isa;
        return qnn_gemm_s8(packing, p, output, threads, counts);
    }
    int64_t blocks = (p->n + COLUMNS - 1) / COLUMNS, block = isa->codes->block;
    int workers = qnn_workers(blocks, p->m * p->n <= SMALL / (p->k + 1) ? 1 : threads);
    j.row_length = (p->k + block - 1) / block * block;
    j.sorted = qnn_allocate(p->m * j.row_length + 1);
    j.excess = qnn_allocate((p->m + 1) * (int64_t)sizeof *j.excess);
    j.sums = qnn_allocate(workers * p->m * COLUMNS * (int64_t)sizeof *j.sums + 1);
    j.counts = qnn_allocate(workers * (int64_t)sizeof *j.counts);
    int done = j.sorted && j.excess && j.sums && j.counts;
    if (done) {
        memset(j.counts, 0, (size_t)workers * sizeof *j.counts);
        sort_terms(&j);
        qnn_parallel(blocks, workers, do_block, &j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j.counts[w]);
    }
    qnn_release(j.sorted);
    qnn_release(j.excess);
    qnn_release(j.sums);
    qnn_release(j.counts);
    return done ? 0 : -1;
}

typedef struct {
    const qnn_isa *isa;
    const uint8_t *packed;
    int64_t k;
    int8_t *weights;
} decoding;

static void decode_row(void *context, int64_t begin, int64_t end, int worker)
{
    const decoding *d = context;
    (void)worker;
    for (int64_t row = begin; row < end; row++)
        d->isa->decode4(d->packed + row * ((d->k + 1) / 2), d->k, d->weights + row * d->k);
}

void qnn_decode_codes4(const qnn_isa *isa, const uint8_t *packed, int64_t rows, int64_t k, int threads, int8_t *weights)
{
    decoding d = {isa, packed, k, weights};
    qnn_parallel(rows, rows * k <= SMALL ? 1 : threads, decode_row, &d);
}
