/* Few rows of A by a transposed B of int8: dot products straight from B, which is read once and never packed. With one
 * row the work is one multiply-add per byte of B, so the memory sets the pace. B may be packed 4-bit codes: half the
 * bytes, decoded a few columns at a time into the first-level cache. */
#include "qnn_gemm.h"

#include "qnn_parallel.h"

enum {
    MOST_ROWS = 24,     /* from here on packing pays */
    COLUMNS = 64,       /* of a block */
    CHUNK = 1 << 16,    /* products between two visits of the sums: 2^16 * 2^14 < 2^31 */
    CODE_CHUNK = 2048,  /* codes of a column that are decoded together; even, so that chunks begin with a byte */
    MOST_CODE_ROWS = 4, /* so many rows decode codes in registers, again for every two of them */
    SMALL = 1 << 16     /* multiply-adds that are not worth a second thread */
};

typedef struct {
    const qnn_isa *isa;
    const qnn_gemm_problem *p;
    const qnn_output *output;
    int codes;     /* B is packed 4-bit codes */
    int16_t *rows; /* A as int16 */
    int16_t *sorted; /* A with even and odd terms of each QNN_CODE_BLOCK apart; NULL: codes are decoded first */
    int8_t *decoded; /* per worker: [QNN_DOT_COLUMNS][CODE_CHUNK] */
    int64_t *sums; /* per worker: [m][COLUMNS] */
    qnn_counts *counts;
} job;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void add_part(const int32_t *part, int64_t m, int64_t n, int64_t *sums)
{
    for (int64_t y = 0; y < m; y++)
        for (int64_t x = 0; x < n; x++)
            sums[y * COLUMNS + x] += part[y * QNN_DOT_COLUMNS + x];
}

/* Adds to sums[r][c] with codes decoded in registers: whole blocks of QNN_CODE_BLOCK terms; returns how many terms that were. */
static int64_t multiply_codes(const job *j, int64_t first, int64_t count, int64_t *sums)
{
    const qnn_gemm_problem *p = j->p;
    int64_t whole = p->k / QNN_CODE_BLOCK * QNN_CODE_BLOCK, row_bytes = (p->k + 1) / 2;
    if (!j->sorted || count % QNN_DOT_COLUMNS)
        return 0;
    for (int64_t k = 0; k < whole; k += CHUNK)
        for (int64_t c = 0; c < count; c += QNN_DOT_COLUMNS)
            for (int64_t r = 0; r < p->m; r += QNN_DOT_ROWS) {
                int64_t m = smaller(QNN_DOT_ROWS, p->m - r);
                int32_t part[QNN_DOT_ROWS * QNN_DOT_COLUMNS];
                j->isa->dots4(j->sorted + r * whole + k, whole, m,
                              (const uint8_t *)p->b + (first + c) * row_bytes + k / 2, row_bytes,
                              smaller(CHUNK, whole - k), part);
                add_part(part, m, QNN_DOT_COLUMNS, sums + r * COLUMNS + c);
            }
    return whole;
}

/* Puts the even terms of each block before the odd ones. */
static void sort_terms(const job *j, int16_t *sorted)
{
    int64_t whole = j->p->k / QNN_CODE_BLOCK * QNN_CODE_BLOCK, half = QNN_CODE_BLOCK / 2;
    for (int64_t r = 0; r < j->p->m; r++)
        for (int64_t i = 0; i < whole; i++) {
            int64_t block = i / QNN_CODE_BLOCK * QNN_CODE_BLOCK, term = i - block;
            sorted[r * whole + block + term % 2 * half + term / 2] = j->rows[r * j->p->k + i];
        }
}

/* sums[r][c] of rows of A and columns first .. first+count-1 of B, count at most COLUMNS. */
static void multiply(const job *j, int64_t first, int64_t count, int8_t *decoded, int64_t *sums)
{
    const qnn_gemm_problem *p = j->p;
    int64_t chunk = j->codes ? CODE_CHUNK : CHUNK, row_bytes = (p->k + 1) / 2;
    for (int64_t i = 0; i < p->m * COLUMNS; i++)
        sums[i] = 0;
    for (int64_t k = j->codes ? multiply_codes(j, first, count, sums) : 0; k < p->k; k += chunk)
        for (int64_t c = 0; c < count; c += QNN_DOT_COLUMNS) {
            int64_t n = smaller(QNN_DOT_COLUMNS, count - c), length = smaller(chunk, p->k - k), stride = p->k;
            const int8_t *b = (const int8_t *)p->b + (first + c) * p->k + k;
            if (j->codes) {
                for (int64_t x = 0; x < n; x++)
                    j->isa->decode4((const uint8_t *)p->b + (first + c + x) * row_bytes + k / 2, length,
                                    decoded + x * CODE_CHUNK);
                b = decoded;
                stride = CODE_CHUNK;
            }
            for (int64_t r = 0; r < p->m; r += QNN_DOT_ROWS) {
                int64_t m = smaller(QNN_DOT_ROWS, p->m - r);
                int32_t part[QNN_DOT_ROWS * QNN_DOT_COLUMNS];
                j->isa->dots(j->rows + r * p->k + k, p->k, m, b, stride, n, length, part);
                add_part(part, m, n, sums + r * COLUMNS + c);
            }
        }
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t *sums = j->sums + worker * j->p->m * COLUMNS, first = begin * COLUMNS;
    int64_t count = smaller(COLUMNS, j->p->n - first);
    int32_t narrow[COLUMNS];
    (void)end;
    multiply(j, first, count, j->decoded + worker * QNN_DOT_COLUMNS * CODE_CHUNK, sums);
    for (int64_t r = 0; r < j->p->m; r++) {
        const void *row = sums + r * COLUMNS;
        for (int64_t c = 0; c < count && !j->output->wide; c++)
            narrow[c] = (int32_t)sums[r * COLUMNS + c];
        qnn_emit(j->isa, j->output, j->output->wide ? row : narrow, r, 1, first, count, &j->counts[worker]);
    }
}

static int run(const qnn_isa *isa, const qnn_gemm_problem *p, int codes, const qnn_output *output, int threads,
               qnn_counts *counts)
{
    job j = {.isa = isa, .p = p, .output = output, .codes = codes};
    if (!isa->dots || (codes && !isa->decode4) || p->m > MOST_ROWS || p->trans_a || !p->trans_b || p->a_bytes != 1 || p->b_bytes != 1)
        return 1;
    int64_t blocks = (p->n + COLUMNS - 1) / COLUMNS;
    int sorts = codes && isa->dots4 && p->m <= MOST_CODE_ROWS;
    int16_t *sorted = sorts ? qnn_allocate((p->m * p->k + 1) * (int64_t)sizeof *sorted) : 0; /* NULL will do, too */
    int workers = qnn_workers(blocks, p->m * p->n <= SMALL / (p->k + 1) ? 1 : threads);
    j.rows = qnn_allocate((p->m * p->k + 1) * (int64_t)sizeof *j.rows);
    j.sums = qnn_allocate(workers * p->m * COLUMNS * (int64_t)sizeof *j.sums);
    j.decoded = qnn_allocate(codes ? workers * QNN_DOT_COLUMNS * CODE_CHUNK : 1);
    j.counts = qnn_allocate(workers * (int64_t)sizeof *j.counts);
    int done = j.rows && j.sums && j.decoded && j.counts;
    if (done) {
        for (int w = 0; w < workers; w++)
            j.counts[w] = (qnn_counts){0, 0, 0, 0};
        isa->widen(p->a, 1, p->m * p->k, j.rows);
        if (sorted) {
            sort_terms(&j, sorted);
            j.sorted = sorted;
        }
        qnn_parallel(blocks, workers, do_block, &j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j.counts[w]);
    }
    qnn_release(sorted);
    qnn_release(j.rows);
    qnn_release(j.sums);
    qnn_release(j.decoded);
    qnn_release(j.counts);
    return done ? 0 : -1;
}

int qnn_gemm_few_rows(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                      qnn_counts *counts)
{
    return run(isa, problem, 0, output, threads, counts);
}

int qnn_gemm_few_rows_codes4(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                             qnn_counts *counts)
{
    return run(isa, problem, 1, output, threads, counts);
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
