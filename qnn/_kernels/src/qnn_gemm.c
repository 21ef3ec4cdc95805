/* Exact matrix product: blocks of A by blocks of columns of B, each block through the epilogue. B is packed once for
   all row blocks; where there is only one, each piece is packed where it is used. */
#include "qnn_gemm.h"

#include "qnn_parallel.h"
#include "qnn_s8.h"

enum {
    ROWS = 96,          /* of a block of A */
    CHUNK = 1024,       /* products between two visits of the sums; even */
    COLUMN_PANELS = 16, /* at most so many panels in a block of columns */
    PACK_PANELS = 4,    /* packed together: 64 columns are one cache line of int8 */
    PACK_ROWS = 16,
    FEW = 3,            /* so many rows are not worth packing B for products in bytes either */
    SMALL = 1 << 16     /* multiply-adds that are not worth a second thread */
};

typedef struct {
    const qnn_isa *isa;
    const qnn_gemm_problem *p;
    const qnn_output *output;
    qnn_layout layout;
    int64_t panels, pairs, chunk, column_panels, row_blocks;
    int16_t *packed;       /* [panels][pairs][16][2], or NULL: packed piece by piece in the scratch */
    char *scratch;         /* one part per worker */
    int64_t scratch_bytes; /* of one worker */
    int64_t sums_at, dense_at, pointers_at, piece_at; /* parts of a worker's scratch; the chunk of A is at 0 */
    qnn_counts *counts;    /* one per worker */
} job;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Packs products k0 .. k0+length-1 (k0 even) of `count` panels; the panels' starts lie `stride` apart. */
static void pack(const job *j, int64_t panel, int64_t count, int64_t k0, int64_t length, int16_t *to, int64_t stride)
{
    const qnn_gemm_problem *p = j->p;
    const char *b = p->b;
    int64_t width = j->layout.panel_width, step = p->trans_b ? length : PACK_ROWS;
    const void *rows[PACK_ROWS];
    for (int64_t k = 0; k < length; k += step)
        for (int64_t i = 0; i < count; i++) {
            int64_t first = (panel + i) * width, columns = smaller(width, p->n - first);
            int16_t *out = to + i * stride + k * QNN_PANEL;
            if (p->trans_b) {
                j->isa->pack_columns(b + (first * p->k + k0) * p->b_bytes, p->b_bytes, p->k, length, columns,
                                     j->layout.split, out);
                continue;
            }
            int64_t part = smaller(PACK_ROWS, length - k);
            for (int64_t r = 0; r < part; r++)
                rows[r] = b + ((k0 + k + r) * p->n + first) * p->b_bytes;
            j->isa->pack_rows(rows, p->b_bytes, part, columns, j->layout.split, out);
        }
}

static void pack_panels(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t panel = begin * PACK_PANELS, stride = j->pairs * 2 * QNN_PANEL;
    (void)end;
    (void)worker;
    pack(j, panel, smaller(PACK_PANELS, j->panels - panel), 0, j->p->k, j->packed + panel * stride, stride);
}

/* Rows first .. first+count-1 of A, products k0 .. k0+length-1, as int16 rows (or, transposed, as rows of pairs).
   Returns the step from pair to pair. */
static int64_t prepare_rows(const job *j, int64_t first, int64_t count, int64_t k0, int64_t length, int16_t *chunk,
                            const int16_t **rows)
{
    const qnn_gemm_problem *p = j->p;
    const char *a = p->a;
    if (!p->trans_a) {
        int64_t stride = (length + 1) / 2 * 2;
        for (int64_t r = 0; r < count; r++) {
            int16_t *row = chunk + r * stride;
            j->isa->widen(a + ((first + r) * p->k + k0) * p->a_bytes, p->a_bytes, length, row);
            if (length < stride)
                row[length] = 0;
            rows[r] = row;
        }
        return 2;
    }
    int16_t pair[2][ROWS];
    for (int64_t k = 0; k < length; k += 2) {
        for (int64_t i = 0; i < 2; i++)
            if (k + i < length)
                j->isa->widen(a + ((k0 + k + i) * p->m + first) * p->a_bytes, p->a_bytes, count, pair[i]);
            else
                for (int64_t r = 0; r < count; r++)
                    pair[i][r] = 0;
        j->isa->interleave(pair[0], pair[1], count, chunk + k * count);
    }
    for (int64_t r = 0; r < count; r++)
        rows[r] = chunk + 2 * r;
    return 2 * count;
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const qnn_gemm_problem *p = j->p;
    char *scratch = j->scratch + worker * j->scratch_bytes;
    int16_t *chunk = (int16_t *)(void *)scratch;
    int32_t *sums = (int32_t *)(void *)(scratch + j->sums_at);
    void *dense = scratch + j->dense_at;
    const int16_t **rows = (const int16_t **)(void *)(scratch + j->pointers_at);
    int16_t *pieces = (int16_t *)(void *)(scratch + j->piece_at);
    (void)end;
    int64_t row = begin % j->row_blocks * ROWS, count = smaller(ROWS, p->m - row);
    int64_t panel0 = begin / j->row_blocks * j->column_panels, panels = smaller(j->column_panels, j->panels - panel0);
    int64_t column = panel0 * j->layout.panel_width, columns = smaller(panels * j->layout.panel_width, p->n - column);
    int64_t stride = panels * QNN_PANEL, since = 0;
    int direct = !j->output->wide && !j->layout.split && columns == stride, drained = 0;
    int64_t k = 0;
    do {
        int64_t length = smaller(j->chunk, p->k - k);
        int64_t step = prepare_rows(j, row, count, k, length, chunk, rows);
        qnn_segment segment = {0, (length + 1) / 2};
        for (int64_t i = 0; i < panels; i++) {
            const int16_t *panel;
            if (j->packed)
                panel = j->packed + ((panel0 + i) * j->pairs + k / 2) * 2 * QNN_PANEL;
            else {
                int64_t piece = segment.pairs * 2 * QNN_PANEL;
                if (i % PACK_PANELS == 0)
                    pack(j, panel0 + i, smaller(PACK_PANELS, panels - i), k, length, pieces, piece);
                panel = pieces + i % PACK_PANELS * piece;
            }
            j->isa->panel(rows, count, step, &segment, 1, panel, sums + i * QNN_PANEL, stride, since > 0);
        }
        k += length;
        since += length;
        int last = k >= p->k;
        if (!direct && (last || (j->output->wide && since + j->chunk > j->layout.safe_k))) {
            qnn_drain(&j->layout, sums, stride, count, columns, 0, j->output->wide, drained, dense, columns);
            drained = 1;
            since = 0;
        }
    } while (k < p->k);
    qnn_emit(j->isa, j->output, direct ? (void *)sums : dense, row, count, column, columns, &j->counts[worker]);
}

/* Blocks of columns: wide enough to use a chunk of A often, but so many that every thread gets some. */
static int64_t choose_column_panels(const job *j, int threads)
{
    int64_t wanted = 4 * (int64_t)threads, panels = COLUMN_PANELS;
    while (panels > 1 && threads > 1 && j->row_blocks * ((j->panels + panels - 1) / panels) < wanted)
        panels /= 2;
    return smaller(panels, j->panels);
}

/* The places of everything in a worker's scratch. */
static void place(job *j)
{
    int64_t rows = smaller(ROWS, j->p->m), width = j->column_panels * QNN_PANEL;
    int64_t length = (smaller(j->chunk, j->p->k) + 1) / 2 * 2;
    j->sums_at = lines(rows * length * 2);
    j->dense_at = j->sums_at + lines(rows * width * 4);
    j->pointers_at = j->dense_at + lines(rows * width * 8);
    j->piece_at = j->pointers_at + lines(rows * (int64_t)sizeof(void *));
    j->scratch_bytes = j->piece_at + (j->row_blocks > 1 ? 0 : lines(PACK_PANELS * length * QNN_PANEL * 2));
}

int qnn_gemm(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
             qnn_counts *counts)
{
    job j = {.isa = isa, .p = problem, .output = output, .layout = qnn_make_layout(problem->a_bytes, problem->b_bytes)};
    if (problem->m == 0 || problem->n == 0)
        return 0;
    int few = problem->m <= FEW || (isa->dots_s8 && problem->k >= QNN_DOT_LEAST_K);
    int result = few ? qnn_gemm_few_rows(isa, problem, output, threads, counts) : 1;
    if (result > 0)
        result = qnn_gemm_s8(isa, problem, output, threads, counts);
    if (result > 0 && !few)
        result = qnn_gemm_few_rows(isa, problem, output, threads, counts);
    if (result <= 0)
        return result;
    if (problem->m <= SMALL / problem->n / (problem->k + 1))
        threads = 1;
    j.panels = qnn_panels(&j.layout, problem->n);
    j.pairs = (problem->k + 1) / 2;
    j.chunk = output->wide ? smaller(CHUNK, j.layout.safe_k) : CHUNK;
    j.row_blocks = (problem->m + ROWS - 1) / ROWS;
    j.column_panels = choose_column_panels(&j, threads);
    place(&j);
    int64_t blocks = j.row_blocks * ((j.panels + j.column_panels - 1) / j.column_panels);
    int workers = qnn_workers(blocks, threads), whole = j.row_blocks > 1;
    if (whole)
        j.packed = qnn_allocate(j.panels * j.pairs * 2 * QNN_PANEL * 2);
    j.scratch = qnn_allocate(workers * j.scratch_bytes);
    j.counts = qnn_allocate(workers * (int64_t)sizeof *j.counts);
    int done = (j.packed || !whole) && j.scratch && j.counts;
    if (done) {
        for (int w = 0; w < workers; w++)
            j.counts[w] = (qnn_counts){0, 0, 0, 0};
        if (whole)
            qnn_parallel((j.panels + PACK_PANELS - 1) / PACK_PANELS, threads, pack_panels, &j);
        qnn_parallel(blocks, threads, do_block, &j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j.counts[w]);
    }
    qnn_release(j.packed);
    qnn_release(j.scratch);
    qnn_release(j.counts);
    return done ? 0 : -1;
}
