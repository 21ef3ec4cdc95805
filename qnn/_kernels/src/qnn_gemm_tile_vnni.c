/* The steps of an integer product with AVX512-VNNI: pairs of int16 by vpdpwssd, 10 rows by 16 columns at a time (a row
   of a panel's pairs is one register). Products of int8 by int8 have a layout of their own, see qnn_s8.h. */
#include "qnn_s8.h"
#include "qnn_vector512.h"

#if QNN_HAS_VNNI

enum { ROWS = 10 }; /* as many sums as hide the latency of two multipliers; more pointers to rows find no register */

/* `count` is a constant at every call, so the sums live in registers. */
QNN_AVX512_INLINE void tile(const int count, const int16_t *const *rows, int64_t step, const qnn_segment *segments,
                            int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride,
                            int accumulate)
{
    v512 total[ROWS];
    const int16_t *row[ROWS];
    for (int r = 0; r < count; r++) {
        total[r] = v512_zero();
        row[r] = rows[r];
    }
    for (int64_t s = 0; s < segment_count; s++) {
        int64_t at = segments[s].offset;
        const int16_t *end = panel + segments[s].pairs * 2 * QNN_PANEL;
        for (; panel < end; panel += 2 * QNN_PANEL, at += step) {
            v512 columns = v512_load(panel);
            for (int r = 0; r < count; r++)
                total[r] = v512_dot_s16(total[r], v512_spread32(row[r] + at), columns);
        }
    }
    for (int r = 0; r < count; r++, sums += sums_stride)
        v512_store(sums, accumulate ? v512_add_s32(total[r], v512_load(sums)) : total[r]);
}

#define TILE(n)                                                                                                        \
    case n:                                                                                                            \
        tile(n, rows, step, segments, segment_count, panel, sums, sums_stride, accumulate);                            \
        break

QNN_AVX512 static void panel_vnni(const int16_t *const *rows, int64_t count, int64_t step, const qnn_segment *segments,
                                  int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride,
                                  int accumulate)
{
    for (; count >= ROWS; count -= ROWS, rows += ROWS, sums += ROWS * sums_stride)
        tile(ROWS, rows, step, segments, segment_count, panel, sums, sums_stride, accumulate);
    switch (count) {
        TILE(1);
        TILE(2);
        TILE(3);
        TILE(4);
        TILE(5);
        TILE(6);
        TILE(7);
        TILE(8);
        TILE(9);
    default:
        break;
    }
}

/* Everything but the products and their rounding is what AVX2 does: it moves bytes as fast as the memory gives them. */
const qnn_isa *qnn_isa_vnni(void)
{
    static qnn_isa isa; /* filled in under the interpreter's lock, with the same every time */
    isa = QNN_X86 ? *qnn_isa_avx2() : *qnn_isa_c(); /* an emulation may run anywhere */
    isa.panel = panel_vnni;
    isa.how = (qnn_how){.avx2 = 1, .avx512 = QNN_HAS_LANES512, .threads = 1};
    isa.s8 = qnn_s8_vnni();
    isa.dots_s8 = qnn_dots_s8_vnni;
    if (QNN_HAS_LANES512)
        isa.requantize_s32 = qnn_requantize_rows_s32_avx512;
    isa.codes = qnn_codes_vnni();
    isa.decode4 = qnn_decode4_vnni;
    return &isa;
}

#else

const qnn_isa *qnn_isa_vnni(void) { return 0; }

#endif
