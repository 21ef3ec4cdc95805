/* float32 to n bits in plain C, from the bits of the number: no float arithmetic, so no processor mode matters. */
#include "qnn_blocks.h"
#include "qnn_noise.h"
#include "qnn_round.h"

/* A finite float32 as integer * 2^power, exact, subnormals included (clause FMT-4). */
static inline int64_t significand(uint32_t bits, int *power)
{
    int exponent = (int)(bits >> 23 & 0xFF);
    int64_t m = bits & 0x7FFFFF;
    if (exponent == 0)
        exponent = 1;
    else
        m |= 0x800000;
    *power = exponent - 150;
    return bits >> 31 ? -m : m;
}

int64_t qnn_quantize_chunk(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out, qnn_counts *counts)
{
    qnn_plan p = qnn_make_plan(t);
    uint16_t noise[256];
    int64_t bad = 0;
    qnn_counts c = {0, 0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits, u = 0;
        int power;
        memcpy(&bits, x + i, sizeof bits);
        if (p.rounding == QNN_STOCHASTIC) {
            if (i % 256 == 0)
                qnn_noise_words(t, index + i, n - i < 256 ? n - i : 256, noise);
            u = noise[i % 256];
        }
        bad += (bits & 0x7F800000) == 0x7F800000;
        int64_t v = significand(bits, &power);
        /* 24 bits over 2^62 or more are as good as over 2^62, and times 2^20 or more they saturate. */
        int shift = p.shift - power;
        shift = shift > 62 ? 62 : (shift < -20 ? -20 : shift);
        if (shift < 0) {
            v *= (int64_t)1 << -shift;
            shift = 0;
        }
        c.nonzero += v != 0;
        int64_t y = qnn_finish(v, 0, shift, &p, u, &c);
        if (t->bits <= 8)
            ((int8_t *)out)[i] = (int8_t)y;
        else
            ((int16_t *)out)[i] = (int16_t)y;
    }
    qnn_counts_add(counts, &c);
    return bad;
}

typedef struct {
    const float *x;
    const qnn_target *target;
    qnn_how how;
    char *out;
} job;

static void quantize_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    tally->bad += (j->how.avx512 ? qnn_quantize_chunk_avx512
                   : j->how.avx2 ? qnn_quantize_chunk_avx2
                                 : qnn_quantize_chunk)(j->x + begin, begin, end - begin, j->target,
                                                       j->out + begin * qnn_target_bytes(j->target), &tally->counts);
}

int64_t qnn_quantize_tensor(const float *x, int64_t n, const qnn_target *t, qnn_how how, void *out, qnn_counts *counts)
{
    job j = {x, t, how, out};
    qnn_tally total = qnn_run_blocks(n, QNN_GRAIN, how, quantize_block, &j);
    qnn_counts_add(counts, &total.counts);
    return total.bad;
}
