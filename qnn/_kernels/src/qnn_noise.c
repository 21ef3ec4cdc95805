/* Addressed noise in plain C: Philox4x32-10 and the 16-bit LFSR. */
#include "qnn_noise.h"

#include <string.h>

void qnn_philox_block(uint64_t seed, uint32_t stream, uint32_t step, uint64_t block, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = step, c3 = stream;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The words are cut out of the outputs by shifts, so the order does not depend on the machine's byte order. */
static void block_u16(uint64_t seed, uint32_t stream, uint32_t step, uint64_t block, uint16_t out[8])
{
    uint32_t w[4];
    qnn_philox_block(seed, stream, step, block, w);
    for (int i = 0; i < 4; i++) {
        out[2 * i] = (uint16_t)w[i];
        out[2 * i + 1] = (uint16_t)(w[i] >> 16);
    }
}

static void block_u8(uint64_t seed, uint32_t stream, uint32_t step, uint64_t block, uint16_t out[16])
{
    uint32_t w[4];
    qnn_philox_block(seed, stream, step, block, w);
    for (int i = 0; i < 16; i++)
        out[i] = (uint16_t)(((w[i / 4] >> (8 * (i % 4))) & 0xFFu) << 8);
}

void qnn_philox_u16(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    uint16_t words[8];
    uint64_t block = start / 8, skip = start % 8;
    for (int64_t i = 0; i < n; block++, skip = 0) {
        int64_t take = 8 - (int64_t)skip < n - i ? 8 - (int64_t)skip : n - i;
        block_u16(seed, stream, step, block, words);
        memcpy(out + i, words + skip, (size_t)take * sizeof *out);
        i += take;
    }
}

void qnn_philox_u8(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    uint16_t words[16];
    uint64_t block = start / 16, skip = start % 16;
    for (int64_t i = 0; i < n; block++, skip = 0) {
        int64_t take = 16 - (int64_t)skip < n - i ? 16 - (int64_t)skip : n - i;
        block_u8(seed, stream, step, block, words);
        memcpy(out + i, words + skip, (size_t)take * sizeof *out);
        i += take;
    }
}

int qnn_lfsr_table(uint32_t taps, uint16_t *table)
{
    uint32_t state = 1;
    int period = 0;
    do {
        uint32_t x = state & taps;
        table[period++] = (uint16_t)state;
        x ^= x >> 8;
        x ^= x >> 4;
        x ^= x >> 2;
        x ^= x >> 1;
        state = (state >> 1) | ((x & 1u) << 15);
    } while (state != 1 && period < QNN_LFSR_PERIOD);
    return state == 1 ? period : 0;
}

static void lfsr_words(const qnn_target *t, uint64_t address, int64_t n, uint16_t *out)
{
    uint64_t at = (t->lfsr_offset + address % QNN_LFSR_PERIOD) % QNN_LFSR_PERIOD;
    for (int64_t i = 0; i < n;) {
        int64_t left = QNN_LFSR_PERIOD - (int64_t)at, take = left < n - i ? left : n - i;
        memcpy(out + i, t->lfsr_table + at, (size_t)take * sizeof *out);
        i += take;
        at = 0;
    }
}

static void keep_top_bits(int bits, int64_t n, uint16_t *out)
{
    uint16_t mask = (uint16_t)(0xFFFFu << (16 - bits));
    if (bits < 16)
        for (int64_t i = 0; i < n; i++)
            out[i] &= mask;
}

void qnn_noise_words(const qnn_target *t, int64_t index, int64_t n, uint16_t *out)
{
    uint64_t address = t->start + (uint64_t)index;
    if (t->noise_kind == QNN_NOISE_PHILOX && t->noise_bits > 8)
        qnn_philox_u16(t->seed, t->stream, t->step, address, n, out);
    else if (t->noise_kind == QNN_NOISE_PHILOX)
        qnn_philox_u8(t->seed, t->stream, t->step, address, n, out);
    else if (t->noise_kind == QNN_NOISE_LFSR)
        lfsr_words(t, address, n, out);
    else if (t->noise_kind == QNN_NOISE_ARRAY) {
        memcpy(out, t->noise_array + index, (size_t)n * sizeof *out);
        return;
    } else {
        memset(out, 0, (size_t)n * sizeof *out);
        return;
    }
    keep_top_bits(t->noise_bits, n, out);
}
