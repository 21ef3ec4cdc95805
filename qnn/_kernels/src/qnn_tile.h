/* AMX tiles: eight of 16 rows by 64 bytes, always configured whole; with QNN_EMULATE a model of them in plain C. The
   number of a tile has to be a constant. */
#ifndef QNN_TILE_H
#define QNN_TILE_H

#include <string.h>

#include "qnn_cpu.h"

#if QNN_HAS_AMX

/* What LDTILECFG loads. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} qnn_tile_config;

static inline qnn_tile_config qnn_whole_tiles(void)
{
    qnn_tile_config c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = 16;
    }
    return c;
}

#if defined(QNN_EMULATE)
#include "qnn_emulate_tile.h"

#define QNN_AMX_INLINE static inline
#define QNN_TILE_CONFIGURE(config) qnn_emulated_configure(config)
#define QNN_TILE_RELEASE() qnn_emulated_release()
#define QNN_TILE_ZERO(t) qnn_emulated_zero(t)
#define QNN_TILE_LOAD(t, from, stride) qnn_emulated_load(t, from, stride)
#define QNN_TILE_STREAM(t, from, stride) qnn_emulated_load(t, from, stride)
#define QNN_TILE_STORE(t, to, stride) qnn_emulated_store(t, to, stride)
#define QNN_TILE_DOT(sum, a, b) qnn_emulated_dot(sum, a, b)
#define QNN_TILE_FENCE() ((void)0)
#else
#include <immintrin.h>

#define QNN_AMX_INLINE                                                                                                 \
    static inline __attribute__((                                                                                      \
        always_inline, target("avx2,avx512f,avx512bw,avx512vl,avx512vnni,amx-tile,amx-int8")))
#define QNN_TILE_CONFIGURE(config) _tile_loadconfig(config)
#define QNN_TILE_RELEASE() _tile_release()
#define QNN_TILE_ZERO(t) _tile_zero(t)
#define QNN_TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define QNN_TILE_STREAM(t, from, stride) _tile_stream_loadd(t, from, stride) /* used once: need not stay cached */
#define QNN_TILE_STORE(t, to, stride) _tile_stored(t, to, stride)
#define QNN_TILE_DOT(sum, a, b) _tile_dpbssd(sum, a, b)
/* Compilers take a tile load or store for something that touches no memory; this keeps plain ones on their side. */
#define QNN_TILE_FENCE() __asm__ volatile("" ::: "memory")
#endif

#endif
#endif
