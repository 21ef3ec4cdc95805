/* Plain C in the place of AVX512 and AMX instructions (built with QNN_EMULATE=1 only, for tests): the same results,
 * and every rule that the processor would enforce is checked. Signed sums are left to the undefined-behaviour
 * sanitizer: the kernels promise that not even an intermediate sum leaves int32. */
#ifndef QNN_EMULATE_H
#define QNN_EMULATE_H

#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t lane[16];
} v512;

QNN_EMULATED_STEP v512 v512_load(const void *p)
{
    v512 v;
    memcpy(&v, p, sizeof v);
    return v;
}

QNN_EMULATED_STEP void v512_store(void *p, v512 v) { memcpy(p, &v, sizeof v); }

QNN_EMULATED_STEP v512 v512_spread32(const void *p)
{
    v512 v;
    for (int i = 0; i < 16; i++)
        memcpy(&v.lane[i], p, sizeof v.lane[i]);
    return v;
}

QNN_EMULATED_STEP v512 v512_zero(void)
{
    v512 v;
    memset(&v, 0, sizeof v);
    return v;
}

QNN_EMULATED_STEP v512 v512_add_s32(v512 a, v512 b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] += b.lane[i];
    return a;
}

QNN_EMULATED_STEP v512 v512_sub_s32(v512 a, v512 b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] -= b.lane[i];
    return a;
}

QNN_EMULATED_STEP v512 v512_dot_s16(v512 sum, v512 a, v512 b)
{
    int16_t left[32], right[32];
    memcpy(left, &a, sizeof left);
    memcpy(right, &b, sizeof right);
    for (int i = 0; i < 16; i++)
        sum.lane[i] += left[2 * i] * right[2 * i] + left[2 * i + 1] * right[2 * i + 1];
    return sum;
}

QNN_EMULATED_STEP v512 v512_dot_u8s8(v512 sum, v512 a, v512 b)
{
    uint8_t left[64];
    int8_t right[64];
    memcpy(left, &a, sizeof left);
    memcpy(right, &b, sizeof right);
    for (int i = 0; i < 16; i++) {
        int32_t four = 0;
        for (int j = 4 * i; j < 4 * i + 4; j++)
            four += left[j] * right[j];
        sum.lane[i] += four;
    }
    return sum;
}

QNN_EMULATED_STEP v512 v512_and(v512 a, v512 b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] &= b.lane[i];
    return a;
}

QNN_EMULATED_STEP v512 v512_shift_right_u16(v512 a, const int bits)
{
    uint16_t half[32];
    memcpy(half, &a, sizeof half);
    for (int i = 0; i < 32; i++)
        half[i] = (uint16_t)(half[i] >> bits);
    return v512_load(half);
}

QNN_EMULATED_STEP v512 v512_spread128(const void *p)
{
    v512 v;
    for (int i = 0; i < 4; i++)
        memcpy(&v.lane[4 * i], p, 16);
    return v;
}

QNN_EMULATED_STEP void v512_store_turns_u8(v512 even, v512 odd, void *p)
{
    uint8_t first[64], second[64], *out = p;
    memcpy(first, &even, sizeof first);
    memcpy(second, &odd, sizeof second);
    for (int i = 0; i < 64; i++) {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
    }
}

QNN_EMULATED_STEP v512 v512_table_u8(v512 table, v512 index)
{
    uint8_t from[64], at[64];
    memcpy(from, &table, sizeof from);
    memcpy(at, &index, sizeof at);
    for (int i = 0; i < 64; i++) {
        if (at[i] > 15)
            __builtin_trap(); /* the instruction would take the upper bit as a zero */
        at[i] = from[i / 16 * 16 + at[i]];
    }
    return v512_load(at);
}

QNN_EMULATED_STEP void v512_four_sums_s32(v512 a, v512 b, v512 c, v512 d, int32_t sums[4])
{
    const v512 *all[4] = {&a, &b, &c, &d};
    for (int j = 0; j < 4; j++) {
        sums[j] = 0;
        for (int i = 0; i < 16; i++)
            sums[j] += all[j]->lane[i];
    }
}

QNN_EMULATED_STEP v512 v512_pinned(v512 v) { return v; }

#define QNN_AVX512_BITS_INLINE static inline /* of the kernels */

QNN_EMULATED_STEP v512 v512_xor(v512 a, v512 b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] ^= b.lane[i];
    return a;
}

QNN_EMULATED_STEP v512 v512_spread64(const void *p)
{
    v512 v;
    for (int i = 0; i < 8; i++)
        memcpy(&v.lane[2 * i], p, 8);
    return v;
}

QNN_EMULATED_STEP v512 v512_add_s64(v512 a, v512 b)
{
    int64_t left[8], right[8];
    memcpy(left, &a, sizeof left);
    memcpy(right, &b, sizeof right);
    for (int i = 0; i < 8; i++)
        left[i] += right[i];
    return v512_load(left);
}

QNN_EMULATED_STEP v512 v512_load_words(const void *p, int64_t n)
{
    v512 v = v512_zero();
    memcpy(&v, p, (size_t)n * 8);
    return v;
}

QNN_EMULATED_STEP v512 v512_ones_u64(v512 a)
{
    uint64_t lane[8], count[8] = {0};
    memcpy(lane, &a, sizeof lane);
    for (int i = 0; i < 8; i++)
        for (; lane[i]; lane[i] &= lane[i] - 1)
            count[i]++;
    return v512_load(count);
}

QNN_EMULATED_STEP void v512_store_as_s32(void *p, v512 a)
{
    int32_t half[8];
    for (int i = 0; i < 8; i++)
        half[i] = a.lane[2 * i];
    memcpy(p, half, sizeof half);
}

QNN_EMULATED_STEP void v512_prefetch(const void *p) { (void)p; }

#endif
