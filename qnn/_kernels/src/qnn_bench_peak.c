/* Peak rates of the paths c and avx2: each loop has its path's instruction mix and nothing else. */
#include "qnn_bench.h"

#include <string.h>

#include "qnn_cpu.h"
#include "qnn_parallel.h"

/* Makes the compiler forget what it knows about a value, at no cost: no product is computed only once, and a sum stays in
   one register. */
#if defined(__GNUC__) || defined(__clang__)
#define FORGET_MEMORY(p) __asm__ volatile("" : : "r"(p) : "memory")
#define FORGET_WORD(v) __asm__ volatile("" : "+r"(v))
#else
#define FORGET_MEMORY(p) (void)(p)
#define FORGET_WORD(v) (void)(v)
#endif

enum { A = 3, B = 5, LANES = 32, STEPS = 32, WORDS = 64 };

static int always(void) { return 1; }

/* Portable C cannot be kept from loading: the operands are 2 KiB in the first-level cache. Two rows whose pairs are
   spread over whole vectors are the form of the kernel (qnn_gemm_tile_c.c), in which compilers use their 16-bit vector
   multiplication. */
static uint64_t mac_c(int64_t iterations)
{
    int16_t panel[STEPS * LANES], rows[2][2 * STEPS];
    uint32_t total[2][LANES];
    uint64_t sum = 0;
    memset(total, 0, sizeof total);
    for (int j = 0; j < STEPS * LANES; j++)
        panel[j] = B;
    for (int j = 0; j < 2 * STEPS; j++)
        rows[0][j] = rows[1][j] = A;
    for (int64_t i = 0; i < iterations; i++) {
        FORGET_MEMORY(panel);
        FORGET_MEMORY(rows);
        for (int p = 0; p < STEPS; p++) {
            int16_t a[LANES], b[LANES];
            for (int j = 0; j < LANES; j += 2) {
                a[j] = rows[0][2 * p];
                a[j + 1] = rows[0][2 * p + 1];
                b[j] = rows[1][2 * p];
                b[j + 1] = rows[1][2 * p + 1];
            }
            for (int j = 0; j < LANES; j++)
                total[0][j] += (uint32_t)(a[j] * panel[p * LANES + j]);
            for (int j = 0; j < LANES; j++)
                total[1][j] += (uint32_t)(b[j] * panel[p * LANES + j]);
        }
    }
    for (int j = 0; j < LANES; j++)
        sum += (uint64_t)total[0][j] + total[1][j];
    return sum;
}

static inline int ones(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (int)(v * 0x0101010101010101u >> 56);
}

/* From the first-level cache, too: compilers may do several words at a time, as in the kernel. */
static uint64_t xnor_c(int64_t iterations)
{
    uint64_t a[WORDS], b[WORDS], total = 0;
    for (int j = 0; j < WORDS; j++) {
        a[j] = 0x0F0F0F0F0F0F0F0Fu;
        b[j] = 0;
    }
    for (int64_t i = 0; i < iterations; i++) {
        FORGET_MEMORY(a);
        FORGET_MEMORY(b);
        for (int j = 0; j < WORDS; j++)
            total += (uint64_t)ones(a[j] ^ b[j]);
    }
    return total;
}

static uint64_t shift_c(int64_t iterations)
{
    uint32_t total[4] = {0, 0, 0, 0}, x = A, shift = 2, keep = UINT32_MAX, negate = 0;
    for (int64_t i = 0; i < iterations; i++)
        for (int j = 0; j < 4; j++) {
            FORGET_WORD(x);
            total[j] += (((x << (shift & 31)) ^ negate) - negate) & keep;
            FORGET_WORD(total[j]);
        }
    return (uint64_t)total[0] + total[1] + total[2] + total[3];
}

#if QNN_X86
#include <immintrin.h>

#define FORGET(v) __asm__ volatile("" : "+x"(v))

/* Named sums instead of an array, which compilers keep in memory: 12, as the 6 x 16 tile of the products has, or 4. */
#define EACH4(M) M(0) M(1) M(2) M(3)
#define EACH12(M) EACH4(M) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
enum { SUMS = 12 };
#define ZERO(j) t##j = _mm256_setzero_si256(),
#define KEEP(j) t##j,

QNN_AVX2_INLINE uint64_t lanes_u32(const __m256i *total, int count)
{
    uint32_t lane[8];
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) {
        _mm256_storeu_si256((__m256i *)(void *)lane, total[i]);
        for (int j = 0; j < 8; j++)
            sum += lane[j];
    }
    return sum;
}

QNN_AVX2 static uint64_t mac_avx2(int64_t iterations)
{
    __m256i EACH12(ZERO) a = _mm256_set1_epi16(A), b = _mm256_set1_epi16(B);
#define STEP(j)                                                 \
    FORGET(a);                                                  \
    t##j = _mm256_add_epi32(t##j, _mm256_madd_epi16(a, b));     \
    FORGET(t##j);
    for (int64_t i = 0; i < iterations; i++) {
        EACH12(STEP)
    }
#undef STEP
    const __m256i total[] = {EACH12(KEEP)};
    return lanes_u32(total, SUMS);
}

QNN_AVX2 static uint64_t shift_avx2(int64_t iterations)
{
    __m256i EACH12(ZERO) x = _mm256_set1_epi32(A), shift = _mm256_set1_epi32(2), negate = _mm256_setzero_si256();
#define STEP(j)                                                                             \
    FORGET(x);                                                                              \
    FORGET(negate);                                                                         \
    t##j = _mm256_add_epi32(t##j, _mm256_xor_si256(_mm256_sllv_epi32(x, shift), negate));   \
    FORGET(t##j);
    for (int64_t i = 0; i < iterations; i++) {
        EACH12(STEP)
    }
#undef STEP
    const __m256i total[] = {EACH12(KEEP)};
    return lanes_u32(total, SUMS);
}

/* A table of ones per half byte, summed over bytes by vpsadbw, as the kernel does it. */
QNN_AVX2 static uint64_t xnor_avx2(int64_t iterations)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                           2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
    __m256i EACH4(ZERO) a = low, b = zero, v;
    uint64_t lane[4], sum = 0;
#define STEP(j)                                                                                                \
    FORGET(a);                                                                                                 \
    FORGET(b); /* else it is known to be 0, and nothing to be left to do for xor */                            \
    v = _mm256_xor_si256(a, b);                                                                                \
    v = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),                                  \
                        _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));           \
    t##j = _mm256_add_epi64(t##j, _mm256_sad_epu8(v, zero));                                                   \
    FORGET(t##j);
    for (int64_t i = 0; i < iterations; i++) {
        EACH4(STEP)
    }
#undef STEP
    const __m256i total[] = {EACH4(KEEP)};
    for (int j = 0; j < 4; j++) {
        _mm256_storeu_si256((__m256i *)(void *)lane, total[j]);
        sum += lane[0] + lane[1] + lane[2] + lane[3];
    }
    return sum;
}

/* What the peers in fp32 could reach; no kernel of ours. */
__attribute__((target("avx2,fma"))) static uint64_t fp32_fma(int64_t iterations)
{
#define ZERO_PS(j) t##j = _mm256_setzero_ps(),
    __m256 EACH12(ZERO_PS) a = _mm256_set1_ps(A), b = _mm256_set1_ps(B);
    float lane[8];
    uint64_t sum = 0;
#define STEP(j)                             \
    FORGET(a);                              \
    t##j = _mm256_fmadd_ps(a, b, t##j);     \
    FORGET(t##j);
    for (int64_t i = 0; i < iterations; i++) {
        EACH12(STEP)
    }
#undef STEP
    const __m256 total[] = {EACH12(KEEP)};
    for (int j = 0; j < SUMS; j++) {
        _mm256_storeu_ps(lane, total[j]);
        for (int l = 0; l < 8; l++)
            sum += (uint64_t)lane[l];
    }
    return sum;
}

static int has_avx2(void) { return qnn_cpu_has_avx2(); }
static int has_fma(void) { return qnn_cpu_features().avx2 && qnn_cpu_features().fma; }
#endif

static const qnn_probe probes[] = {
    {"mac c", "plain C, int16 products from the first-level cache", 2 * STEPS * LANES, 2 * STEPS * LANES * A * B, always, mac_c},
    {"xnor c", "plain C, xor and a popcount in 12 steps of 64-bit words", WORDS * 64, WORDS * 32, always, xnor_c},
    {"shift c", "plain C, shift, xor, subtract, and, add", 4, 4 * A * 4, always, shift_c},
#if QNN_X86
    {"mac avx2", "vpmaddwd, vpaddd", SUMS * 16, SUMS * 16 * A * B, has_avx2, mac_avx2},
    {"xnor avx2", "vpxor, 2 vpand, vpsrlw, 2 vpshufb, vpaddb, vpsadbw, vpaddq", 4 * 256, 4 * 128, has_avx2, xnor_avx2},
    {"shift avx2", "vpsllvd, vpxor, vpaddd", SUMS * 8, SUMS * 8 * A * 4, has_avx2, shift_avx2},
    {"fp32 fma", "vfmadd231ps, 256 bit", SUMS * 8, SUMS * 8 * A * B, has_fma, fp32_fma},
#endif
};

static int own(void) { return (int)(sizeof probes / sizeof *probes); }

int qnn_probe_count(void) { return own() + qnn_probes_wide_count(); }

const qnn_probe *qnn_probe_at(int index) { return index < own() ? probes + index : qnn_probes_wide + (index - own()); }

typedef struct {
    const qnn_probe *probe;
    int64_t iterations;
    uint64_t *sums; /* per block */
} job;

static void probe_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    (void)end;
    (void)worker;
    j->sums[begin] = j->probe->run(j->iterations);
}

uint64_t qnn_probe_run(int index, int64_t iterations, int threads)
{
    enum { MOST = 1024 };
    uint64_t sums[MOST], sum = 0;
    int blocks = threads < 1 ? 1 : threads < MOST ? threads : MOST;
    job j = {qnn_probe_at(index), iterations, sums};
    qnn_parallel(blocks, blocks, probe_block, &j);
    for (int i = 0; i < blocks; i++)
        sum += sums[i];
    return sum;
}
