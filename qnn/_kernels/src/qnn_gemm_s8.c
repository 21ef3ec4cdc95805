/* Exact matrix product of int8 by int8 in bytes: blocks of rows by blocks of columns, in chunks of the products. The
   right operand is packed once for all row blocks; where there is only one, each piece is packed where it is used, so
   that a product with few rows reads its large operand once. */
#include "qnn_s8.h"

#include <string.h>

#include "qnn_conv_plan.h"
#include "qnn_parallel.h"

enum {
    CHUNK = 1024,       /* products between two visits of the sums: the rows of two tiles stay in the nearest cache */
    COLUMN_PANELS = 32, /* at most so many panels in a block: copies of rows are used often, sums stay in the caches */
    PACK_ROWS = 16,
    NARROW = 8,         /* panels that are not worth copies of rows */
    SMALL = 1 << 18     /* multiply-adds that are not worth a second thread */
};

typedef struct {
    const qnn_isa *isa;
    const qnn_gemm_problem *p;
    const qnn_output *output;
    int64_t k; /* padded */
    int64_t panels, rows, column_panels, row_blocks, chunks; /* rows, column_panels: of a block */
    int in_place;    /* rows are multiplied where they are, as far as what tiles read lies within the operand */
    int8_t *packed;  /* [panels][k / 4][64], or NULL: packed piece by piece in the scratch */
    int32_t *starts; /* [chunks][panels][16], as packed */
    int8_t *turned;  /* a transposed left operand: [rows, whole tiles][turned_row], or NULL */
    int64_t turned_row;
    char *scratch; /* one part per worker: sums at 0, then these */
    int64_t scratch_bytes, dense_at, rows_at, row_length, piece_at, starts_at;
    qnn_counts *counts; /* one per worker */
} job;

/* Packs products k0 .. k0+length-1 of one panel and, where it is needed, sums up its columns. */
static void pack(const job *j, int64_t panel, int64_t k0, int64_t length, int8_t *to, int32_t *start)
{
    const qnn_gemm_problem *p = j->p;
    const int8_t *b = p->b, *rows[PACK_ROWS];
    int64_t first = panel * QNN_PANEL, columns = qnn_min(QNN_PANEL, p->n - first);
    int64_t quads = qnn_s8_padded(j->isa->s8, length) / QNN_S8_QUAD;
    if (p->codes4) {
        int8_t decoded[QNN_PANEL * (CHUNK + QNN_S8_STEP)];
        qnn_decode_columns4(j->isa, p, first, columns, k0, length, decoded, CHUNK + QNN_S8_STEP);
        qnn_s8_pack_columns(decoded, CHUNK + QNN_S8_STEP, length, columns, quads, to);
    } else if (p->trans_b)
        qnn_s8_pack_columns(b + first * p->k + k0, p->k, length, columns, quads, to);
    else
        for (int64_t q = 0; q < quads; q += PACK_ROWS / QNN_S8_QUAD) {
            int64_t k = q * QNN_S8_QUAD, part = qnn_min(PACK_ROWS, length - k);
            for (int64_t r = 0; r < part; r++)
                rows[r] = b + (k0 + k + r) * p->n + first;
            qnn_s8_pack_rows(rows, 0, part, columns, qnn_min(PACK_ROWS / QNN_S8_QUAD, quads - q), to + q * QNN_S8_STEP);
        }
    if (j->isa->s8->start)
        j->isa->s8->start(to, quads, start);
}

static void pack_panels(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    (void)worker;
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t c = 0; c < j->chunks; c++)
            pack(j, panel, c * CHUNK, qnn_min(CHUNK, j->p->k - c * CHUNK),
                 j->packed + panel * j->k * QNN_PANEL + c * CHUNK * QNN_PANEL,
                 j->starts + (c * j->panels + panel) * QNN_PANEL);
}

/* Turns rows 16 * begin .. of a transposed left operand. */
static void turn_rows(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t first = begin * QNN_S8_TILE, rows = qnn_min((end - begin) * QNN_S8_TILE, j->p->m - first);
    (void)worker;
    qnn_s8_transpose((const int8_t *)j->p->a + first, j->p->m, j->p->k, rows, j->isa->s8->flip,
                     j->turned + first * j->turned_row, j->turned_row);
}

/* Whether tiles of these rows can be read where they are. What they hold behind the products, which is the beginning of
   the next row, meets zeros of the panels. */
static int lies_within(const job *j, int64_t row, int64_t count, int64_t k0, int64_t length)
{
    int64_t last = row + (count + QNN_S8_TILE - 1) / QNN_S8_TILE * QNN_S8_TILE - 1;
    return j->in_place && last * j->p->k + k0 + qnn_s8_padded(j->isa->s8, length) <= j->p->m * j->p->k;
}

/* The rows of a block, products k0 .. k0+length-1: where they are, or a copy. */
static void list_rows(const job *j, int64_t row, int64_t count, int64_t k0, int64_t length, int8_t *copy,
                      qnn_s8_tile *tiles, qnn_s8_block *block)
{
    const int8_t *a = (const int8_t *)j->p->a + row * j->p->k + k0, *from = copy;
    int64_t stride = j->row_length;
    block->fetch_ahead = lies_within(j, row, count, k0, length);
    if (j->turned)
        from = j->turned + row * j->turned_row + k0, stride = j->turned_row;
    else if (block->fetch_ahead)
        from = a, stride = j->p->k;
    else
        for (int64_t r = 0; r < count; r++)
            j->isa->s8->copy(a + r * j->p->k, length, copy + r * stride);
    for (int64_t r = 0; r < count; r += QNN_S8_TILE)
        *tiles++ = (qnn_s8_tile){from + r * stride, qnn_min(QNN_S8_TILE, count - r)};
    block->row_stride = stride;
}

/* The sums of a block: in the result itself where it can take whole tiles, else in the scratch; there too when they are
   visited several times, since rows of a result may lie in few sets of the caches. */
static int32_t *place_of_sums(const job *j, int64_t row, int64_t count, int64_t column, int64_t columns, char *scratch,
                              int64_t *stride)
{
    if (j->output->target || j->chunks > 1 || count % QNN_S8_TILE || columns % QNN_PANEL)
        return (int32_t *)(void *)scratch;
    *stride = j->p->n;
    return (int32_t *)j->output->data + row * j->p->n + column;
}

static void do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const qnn_s8 *s8 = j->isa->s8;
    char *scratch = j->scratch + worker * j->scratch_bytes;
    qnn_s8_tile tiles[QNN_S8_MOST_ROWS / QNN_S8_TILE];
    int64_t row = begin % j->row_blocks * j->rows, count = qnn_min(j->rows, j->p->m - row);
    int64_t panel0 = begin / j->row_blocks * j->column_panels, panels = qnn_min(j->column_panels, j->panels - panel0);
    int64_t column = panel0 * QNN_PANEL, columns = qnn_min(panels * QNN_PANEL, j->p->n - column);
    int64_t stride = panels * QNN_PANEL;
    int32_t *sums = place_of_sums(j, row, count, column, columns, scratch, &stride);
    (void)end;
    s8->begin();
    for (int64_t c = 0; c < j->chunks; c++) {
        int64_t k0 = c * CHUNK, length = qnn_min(CHUNK, j->p->k - k0), padded = qnn_s8_padded(s8, length);
        qnn_s8_segment segment = {0, padded / QNN_S8_QUAD};
        int8_t *pieces = (int8_t *)scratch + j->piece_at;
        int32_t *starts = (int32_t *)(void *)(scratch + j->starts_at);
        for (int64_t i = 0; !j->packed && i < panels; i++)
            pack(j, panel0 + i, k0, length, pieces + i * padded * QNN_PANEL, starts + i * QNN_PANEL);
        qnn_s8_block block = {.tile = tiles, .tiles = (count + QNN_S8_TILE - 1) / QNN_S8_TILE, .segment = &segment,
                              .segments = 1, .panels = panels, .sums = sums, .sums_stride = stride,
                              .accumulate = c > 0};
        list_rows(j, row, count, k0, length, (int8_t *)scratch + j->rows_at, tiles, &block);
        block.panel = j->packed ? j->packed + (panel0 * j->k + k0) * QNN_PANEL : pieces;
        block.panel_stride = (j->packed ? j->k : padded) * QNN_PANEL;
        block.start = j->packed ? j->starts + (c * j->panels + panel0) * QNN_PANEL : starts;
        s8->multiply(&block);
    }
    s8->end();
    if ((char *)sums != scratch)
        return;
    void *dense = columns == stride ? (void *)sums : scratch + j->dense_at;
    for (int64_t r = 0; dense != sums && r < count; r++)
        memcpy((int32_t *)dense + r * columns, sums + r * stride, (size_t)columns * sizeof *sums);
    qnn_emit(j->isa, j->output, dense, row, count, column, columns, &j->counts[worker]);
}

/* The places of everything in a worker's scratch; rows that fill no tile are there all the same. */
static void place(job *j)
{
    int64_t rows = (qnn_min(j->rows, j->p->m) + QNN_S8_TILE - 1) / QNN_S8_TILE * QNN_S8_TILE;
    int64_t width = j->column_panels * QNN_PANEL, length = qnn_min(CHUNK, j->k);
    j->row_length = qnn_s8_row_length(length);
    j->dense_at = qnn_lines(rows * width * 4);
    j->rows_at = j->dense_at + qnn_lines(rows * width * 4);
    j->piece_at = j->rows_at + (j->turned_row ? 0 : qnn_lines(rows * j->row_length));
    j->starts_at = j->piece_at + (j->row_blocks > 1 ? 0 : qnn_lines(width * length));
    j->scratch_bytes = j->starts_at + (j->row_blocks > 1 ? 0 : qnn_lines(width * 4));
}

static void choose_blocks(job *j, int threads)
{
    j->k = qnn_s8_padded(j->isa->s8, j->p->k);
    j->chunks = (j->p->k + CHUNK - 1) / CHUNK;
    j->panels = (j->p->n + QNN_PANEL - 1) / QNN_PANEL;
    j->rows = j->isa->s8->block_rows;
    j->row_blocks = (j->p->m + j->rows - 1) / j->rows;
    j->in_place = !j->isa->s8->flip && !j->p->trans_a && j->panels <= NARROW;
    j->column_panels = COLUMN_PANELS;
    while (j->column_panels > 2 && threads > 1 &&
           j->row_blocks * ((j->panels + j->column_panels - 1) / j->column_panels) < 4 * (int64_t)threads)
        j->column_panels /= 2;
    j->column_panels = qnn_min(j->column_panels, j->panels);
    if (j->p->trans_a)
        j->turned_row = qnn_s8_row_length(j->k);
}

static int allocate(job *j, int workers)
{
    int64_t tiles = (j->p->m + QNN_S8_TILE - 1) / QNN_S8_TILE, scratch = workers * j->scratch_bytes;
    j->scratch = qnn_allocate(scratch);
    j->counts = qnn_allocate(workers * (int64_t)sizeof *j->counts);
    if (j->turned_row)
        j->turned = qnn_allocate(tiles * QNN_S8_TILE * j->turned_row);
    if (j->row_blocks > 1) {
        j->packed = qnn_allocate(j->panels * j->k * QNN_PANEL);
        j->starts = qnn_allocate(j->chunks * j->panels * QNN_PANEL * 4);
    }
    if (!j->scratch || !j->counts || (j->turned_row && !j->turned) || (j->row_blocks > 1 && !(j->packed && j->starts)))
        return 0;
    qnn_s8_spoil(j->scratch, scratch);
    if (j->turned)
        qnn_s8_spoil(j->turned, tiles * QNN_S8_TILE * j->turned_row);
    memset(j->counts, 0, (size_t)workers * sizeof *j->counts);
    return 1;
}

int qnn_gemm_s8(const qnn_isa *isa, const qnn_gemm_problem *problem, const qnn_output *output, int threads,
                qnn_counts *counts)
{
    job j = {.isa = isa, .p = problem, .output = output};
    if (!isa->s8 || problem->a_bytes != 1 || problem->b_bytes != 1 || output->wide || problem->k == 0)
        return 1;
    if (problem->m <= SMALL / problem->n / problem->k)
        threads = 1;
    choose_blocks(&j, threads);
    place(&j);
    int64_t blocks = j.row_blocks * ((j.panels + j.column_panels - 1) / j.column_panels);
    int workers = qnn_workers(blocks, threads), done = allocate(&j, workers);
    if (done) {
        if (j.packed)
            qnn_parallel(j.panels, threads, pack_panels, &j);
        if (j.turned)
            qnn_parallel((problem->m + QNN_S8_TILE - 1) / QNN_S8_TILE, threads, turn_rows, &j);
        qnn_parallel(blocks, threads, do_block, &j);
        for (int w = 0; counts && w < workers; w++)
            qnn_counts_add(counts, &j.counts[w]);
    }
    qnn_release(j.scratch);
    qnn_release(j.counts);
    qnn_release(j.turned);
    qnn_release(j.packed);
    qnn_release(j.starts);
    return done ? 0 : -1;
}
