/* Peak rates of instruction sets wider than AVX2: AVX-512 with VNNI or VPOPCNTDQ, and AMX tiles. */
#define _GNU_SOURCE /* syscall(), which -std=c11 hides */
#include "qnn_bench.h"
#include "qnn_cpu.h"

#if QNN_X86
#include <immintrin.h>

#define FORGET(v) __asm__ volatile("" : "+v"(v))
enum { A = 3, B = 5, SUMS = 12 };

static int has_vnni(void) { return qnn_cpu_features().avx512f && qnn_cpu_features().avx512vnni; }
static int has_vpopcnt(void) { return qnn_cpu_features().avx512f && __builtin_cpu_supports("avx512vpopcntdq"); }

/* Named sums, which stay in registers. */
#define EACH12(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define ZERO(j) t##j = _mm512_setzero_si512(),
#define KEEP(j) t##j,

__attribute__((target("avx512f,avx512vnni"))) static uint64_t mac_vnni(int64_t iterations)
{
    __m512i EACH12(ZERO) a = _mm512_set1_epi32(0x01010101 * A), b = _mm512_set1_epi32(0x01010101 * B);
    uint32_t lane[16];
    uint64_t sum = 0;
#define STEP(j)                                 \
    FORGET(a);                                  \
    t##j = _mm512_dpbusd_epi32(t##j, a, b);     \
    FORGET(t##j);
    for (int64_t i = 0; i < iterations; i++) {
        EACH12(STEP)
    }
#undef STEP
    const __m512i total[] = {EACH12(KEEP)};
    for (int j = 0; j < SUMS; j++) {
        _mm512_storeu_si512(lane, total[j]);
        for (int l = 0; l < 16; l++)
            sum += lane[l];
    }
    return sum;
}

__attribute__((target("avx512f,avx512vpopcntdq"))) static uint64_t xnor_vpopcnt(int64_t iterations)
{
    __m512i EACH12(ZERO) a = _mm512_set1_epi32(0x0F0F0F0F), b = _mm512_setzero_si512();
    uint64_t lane[8], sum = 0;
#define STEP(j)                                                                                 \
    FORGET(a);                                                                                  \
    FORGET(b); /* else it is known to be 0, and nothing to be left to do for xor */             \
    t##j = _mm512_add_epi64(t##j, _mm512_popcnt_epi64(_mm512_xor_si512(a, b)));                 \
    FORGET(t##j);
    for (int64_t i = 0; i < iterations; i++) {
        EACH12(STEP)
    }
#undef STEP
    const __m512i total[] = {EACH12(KEEP)};
    for (int j = 0; j < SUMS; j++) {
        _mm512_storeu_si512(lane, total[j]);
        for (int l = 0; l < 8; l++)
            sum += lane[l];
    }
    return sum;
}

#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_AMX_CODE 1
#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The instructions are there and the kernel grants their state; asking again costs nothing. */
static int has_amx(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx >> 24 & 1) || !(edx >> 25 & 1))
        return 0;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

/* Four sums of 16 x 16, two tiles of each operand: the 2 x 2 block that eight tiles allow. */
__attribute__((target("amx-tile,amx-int8"))) static uint64_t mac_amx(int64_t iterations)
{
    tile_config config;
    int8_t a[1024], b[1024];
    uint32_t sums[256];
    uint64_t sum = 0;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int t = 0; t < 8; t++) {
        config.bytes[t] = 64;
        config.rows[t] = 16;
    }
    memset(a, A, sizeof a);
    memset(b, B, sizeof b);
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, a, 64);
    _tile_loadd(5, a, 64);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b, 64);
    for (int64_t i = 0; i < iterations; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
#define ADD(tile)                     \
    _tile_stored(tile, sums, 64);     \
    for (int l = 0; l < 256; l++)     \
        sum += sums[l];
    ADD(0)
    ADD(1)
    ADD(2)
    ADD(3)
    _tile_release();
    return sum;
}
#endif

const qnn_probe qnn_probes_wide[] = {
    {"mac avx512vnni", "vpdpbusd, 512 bit", SUMS * 64, SUMS * 64 * A * B, has_vnni, mac_vnni},
    {"xnor avx512vnni", "vpxorq, vpopcntq, vpaddq, 512 bit", SUMS * 512, SUMS * 256, has_vpopcnt, xnor_vpopcnt},
#ifdef HAS_AMX_CODE
    {"mac amx", "tdpbssd", 4 * 16 * 16 * 64, 4LL * 16 * 16 * 64 * A * B, has_amx, mac_amx},
#endif
};

int qnn_probes_wide_count(void) { return (int)(sizeof qnn_probes_wide / sizeof *qnn_probes_wide); }

#else

static int never(void) { return 0; }
const qnn_probe qnn_probes_wide[] = {{"none", "none", 1, 0, never, 0}};
int qnn_probes_wide_count(void) { return 0; }

#endif
