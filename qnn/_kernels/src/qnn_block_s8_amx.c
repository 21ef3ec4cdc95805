/* int8 by int8 with AMX: 32 rows by 32 columns at a time, or up to 64 by 16 where only one panel is left, so that four
   sums hide each other's latency and four products share four or five loads. */
#define _DEFAULT_SOURCE /* syscall */
#include "qnn_s8.h"
#include "qnn_tile.h"

#if QNN_HAS_AMX

#if !defined(QNN_EMULATE)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* What one call of a kernel below works on; `tiles` and `panels` are constants at every call. */
typedef struct {
    const int8_t *row[4], *panel[2];
    int32_t *sums;
    int64_t stride; /* of the sums, in bytes */
} place;

/* What is left of that which the caller reads next, and how much of it to fetch with every step. */
typedef struct {
    const char *at[2], *end[2];
    int64_t bytes;
} fetching;

static fetching make_fetching(const qnn_s8_block *b)
{
    fetching f = {{0}, {0}, 0};
    int64_t steps = 0, lines = 0;
    for (int64_t s = 0; s < b->segments; s++)
        steps += b->segment[s].quads / QNN_S8_TILE;
    steps *= (b->tiles * b->panels + 3) / 4; /* four products in each */
    for (int i = 0; i < 2; i++)
        if (b->ahead[i].bytes > 0) {
            f.at[i] = (const char *)b->ahead[i].first;
            f.end[i] = f.at[i] + b->ahead[i].bytes;
            lines += (b->ahead[i].bytes + 63) / 64;
        }
    f.bytes = steps > 0 ? (lines + steps - 1) / steps * 64 : 0;
    return f;
}

QNN_AMX_INLINE void fetch(fetching *f)
{
    const int i = f->at[0] == f->end[0];
    const char *at = f->at[i], *end = f->end[i] - at > f->bytes ? at + f->bytes : f->end[i];
    f->at[i] = end;
    for (; at < end; at += 64)
        __builtin_prefetch(at, 0, 2); /* to the second cache: the first one is in use */
}

QNN_AMX_INLINE place place_of(const int tiles, const int panels, const qnn_s8_block *b, int64_t t, int64_t p)
{
    place at;
    for (int i = 0; i < tiles; i++)
        at.row[i] = b->tile[t + i].first;
    for (int i = 0; i < panels; i++)
        at.panel[i] = b->panel + (p + i) * b->panel_stride;
    at.sums = b->sums + t * QNN_S8_TILE * b->sums_stride + p * QNN_PANEL;
    at.stride = b->sums_stride * 4;
    return at;
}

/* Tiles 0..3: sums; 4, 5: rows; 6, 7: panels. */
#define START(n, there, to)                                                                                            \
    if (there) {                                                                                                       \
        if (b->accumulate)                                                                                             \
            QNN_TILE_LOAD(n, to, at.stride);                                                                           \
        else                                                                                                           \
            QNN_TILE_ZERO(n);                                                                                          \
    }
#define FINISH(n, there, to)                                                                                           \
    if (there)                                                                                                         \
    QNN_TILE_STORE(n, to, at.stride)

/* One or two tiles by two panels. ahead: meanwhile the two tiles that follow are fetched. */
QNN_AMX_INLINE void by_two(const int tiles, const int ahead, const qnn_s8_block *b, int64_t t, int64_t p, fetching *f)
{
    place at = place_of(tiles, 2, b, t, p);
    int32_t *lower = at.sums + QNN_S8_TILE * b->sums_stride;
    START(0, 1, at.sums);
    START(1, 1, at.sums + QNN_PANEL);
    START(2, tiles > 1, lower);
    START(3, tiles > 1, lower + QNN_PANEL);
    for (int64_t s = 0; s < b->segments; s++) {
        const int8_t *row0 = at.row[0] + b->segment[s].offset;
        const int8_t *row1 = at.row[tiles > 1] + b->segment[s].offset;
        const int8_t *end = at.panel[0] + b->segment[s].quads * QNN_S8_STEP;
        const int8_t *next = ahead ? b->tile[t + 2].first + b->segment[s].offset : 0;
        for (; at.panel[0] < end; at.panel[0] += 1024, at.panel[1] += 1024, row0 += QNN_S8_STEP, row1 += QNN_S8_STEP) {
            if (ahead) {
                for (int r = 0; r < 2 * QNN_S8_TILE; r++)
                    __builtin_prefetch(next + r * b->row_stride);
                next += QNN_S8_STEP;
            }
            fetch(f);
            QNN_TILE_STREAM(6, at.panel[0], QNN_S8_STEP);
            QNN_TILE_LOAD(4, row0, b->row_stride);
            QNN_TILE_DOT(0, 4, 6);
            QNN_TILE_STREAM(7, at.panel[1], QNN_S8_STEP);
            QNN_TILE_DOT(1, 4, 7);
            if (tiles > 1) {
                QNN_TILE_LOAD(5, row1, b->row_stride);
                QNN_TILE_DOT(2, 5, 6);
                QNN_TILE_DOT(3, 5, 7);
            }
        }
    }
    FINISH(0, 1, at.sums);
    FINISH(1, 1, at.sums + QNN_PANEL);
    FINISH(2, tiles > 1, lower);
    FINISH(3, tiles > 1, lower + QNN_PANEL);
}

/* One to four tiles by one panel. */
QNN_AMX_INLINE void by_one(const int tiles, const qnn_s8_block *b, int64_t t, int64_t p, fetching *f)
{
    place at = place_of(tiles, 1, b, t, p);
    int64_t down = QNN_S8_TILE * b->sums_stride;
    START(0, 1, at.sums);
    START(1, tiles > 1, at.sums + down);
    START(2, tiles > 2, at.sums + 2 * down);
    START(3, tiles > 3, at.sums + 3 * down);
    for (int64_t s = 0; s < b->segments; s++) {
        int64_t offset = b->segment[s].offset;
        const int8_t *end = at.panel[0] + b->segment[s].quads * QNN_S8_STEP;
        for (; at.panel[0] < end; at.panel[0] += 1024, offset += QNN_S8_STEP) {
            fetch(f);
            QNN_TILE_STREAM(6, at.panel[0], QNN_S8_STEP);
            QNN_TILE_LOAD(4, at.row[0] + offset, b->row_stride);
            QNN_TILE_DOT(0, 4, 6);
            if (tiles > 1) {
                QNN_TILE_LOAD(5, at.row[1] + offset, b->row_stride);
                QNN_TILE_DOT(1, 5, 6);
            }
            if (tiles > 2) {
                QNN_TILE_LOAD(4, at.row[2] + offset, b->row_stride);
                QNN_TILE_DOT(2, 4, 6);
            }
            if (tiles > 3) {
                QNN_TILE_LOAD(5, at.row[3] + offset, b->row_stride);
                QNN_TILE_DOT(3, 5, 6);
            }
        }
    }
    FINISH(0, 1, at.sums);
    FINISH(1, tiles > 1, at.sums + down);
    FINISH(2, tiles > 2, at.sums + 2 * down);
    FINISH(3, tiles > 3, at.sums + 3 * down);
}

QNN_AMX static void last_panel(const qnn_s8_block *b, int64_t p, fetching *f)
{
    int64_t t = 0;
    /* Five tiles are three and two, not four and a lonely one. */
    for (; b->tiles - t > 5 || b->tiles - t == 4; t += 4)
        by_one(4, b, t, p, f);
    for (; b->tiles - t > 2; t += 3)
        by_one(3, b, t, p, f);
    if (b->tiles - t == 2)
        by_one(2, b, t, p, f);
    else if (b->tiles - t == 1)
        by_one(1, b, t, p, f);
}

QNN_AMX static void multiply_amx(const qnn_s8_block *b)
{
    int64_t pairs = b->panels / 2 * 2;
    fetching f = make_fetching(b);
    QNN_TILE_FENCE();
    for (int64_t t = 0; t < b->tiles; t += 2)
        for (int64_t p = 0; p < pairs; p += 2)
            if (t + 1 == b->tiles)
                by_two(1, 0, b, t, p, &f);
            else if (b->fetch_ahead && p == 0 && t + 3 < b->tiles)
                by_two(2, 1, b, t, p, &f);
            else
                by_two(2, 0, b, t, p, &f);
    if (pairs < b->panels)
        last_panel(b, pairs, &f);
    QNN_TILE_FENCE();
}

QNN_AMX static void begin_amx(void)
{
    qnn_tile_config config = qnn_whole_tiles();
    QNN_TILE_FENCE();
    QNN_TILE_CONFIGURE(&config);
}

/* Without tiles in use a thread is as cheap to switch as any other. */
QNN_AMX static void end_amx(void) { QNN_TILE_RELEASE(); }

static void copy_plain(const int8_t *source, int64_t n, int8_t *out) { memcpy(out, source, (size_t)n); }

const qnn_s8 *qnn_s8_amx(void)
{
    static const qnn_s8 s8 = {0, 16, 16, QNN_S8_MOST_ROWS, copy_plain, begin_amx, end_amx, 0, multiply_amx};
    return &s8;
}

int qnn_amx_permission(void)
{
#if defined(QNN_EMULATE)
    return 1;
#else
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    static int answer = -1; /* asked under the interpreter's lock; holds for all threads of the process */
    if (answer < 0)
        answer = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
    return answer;
#endif
}

/* All but int8 by int8 as with AVX512-VNNI. */
const qnn_isa *qnn_isa_amx(void)
{
    static qnn_isa isa; /* filled in under the interpreter's lock, with the same every time */
    isa = *qnn_isa_vnni();
    isa.s8 = qnn_s8_amx();
    isa.short_runs = qnn_isa_vnni();
    return &isa;
}

#else

const qnn_s8 *qnn_s8_amx(void) { return 0; }
int qnn_amx_permission(void) { return 0; }
const qnn_isa *qnn_isa_amx(void) { return 0; }

#endif
