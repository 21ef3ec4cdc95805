/* Optimiser steps and the conversion of exact gradients: float32, one IEEE operation at a time in the stated order
   (clauses UPD-1, UPD-2, UPD-4, FLT-2, FLT-3). */
#include <math.h>

#include "qnn_blocks.h"

typedef struct {
    const float *w, *g, *first, *second;
    const qnn_sgd *sgd;
    const qnn_adam *adam;
    const void *ints;
    int bytes, avx2;
    double power;
    float *w_out, *first_out, *second_out;
} job;

/* Not 0 for NaN and infinity. */
static inline int is_bad(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7F800000u) == 0x7F800000u;
}

/* The switches are constants at every call, so each case is a loop without branches. A term whose factor is 0 is left
   out, as the clause says: 0 * w is not nothing where w is -0. */
QNN_BODY int sgd_case(const job *j, int64_t begin, int64_t end, int decays, int moves, int nesterov)
{
    const float rate = j->sgd->rate, momentum = j->sgd->momentum, decay = j->sgd->weight_decay;
    int bad = 0;
    for (int64_t i = begin; i < end; i++) {
        float d = j->g[i], v, direction;
        if (decays) {
            float pull = decay * j->w[i];
            d = d + pull;
        }
        v = d;
        if (moves) {
            float kept = momentum * j->first[i];
            v = kept + d;
        }
        direction = v;
        if (nesterov) {
            float ahead = momentum * v;
            direction = d + ahead;
        }
        float change = rate * direction, w = j->w[i] - change;
        j->w_out[i] = w;
        j->first_out[i] = v;
        bad |= is_bad(w) | is_bad(v);
    }
    return bad;
}

QNN_BODY void sgd_body(const job *j, int64_t begin, int64_t end, int *bad)
{
    int decays = j->sgd->weight_decay != 0, moves = j->sgd->momentum != 0, nesterov = moves && j->sgd->nesterov;
    if (decays)
        *bad |= !moves ? sgd_case(j, begin, end, 1, 0, 0)
                       : (nesterov ? sgd_case(j, begin, end, 1, 1, 1) : sgd_case(j, begin, end, 1, 1, 0));
    else
        *bad |= !moves ? sgd_case(j, begin, end, 0, 0, 0)
                       : (nesterov ? sgd_case(j, begin, end, 0, 1, 1) : sgd_case(j, begin, end, 0, 1, 0));
}
QNN_TWICE(sgd, (const job *j, int64_t begin, int64_t end, int *bad), (j, begin, end, bad))

QNN_BODY int adam_case(const job *j, int64_t begin, int64_t end, int decays)
{
    const qnn_adam a = *j->adam;
    int bad = 0;
    for (int64_t i = begin; i < end; i++) {
        float d = j->g[i];
        if (decays) {
            float pull = a.weight_decay * j->w[i];
            d = d + pull;
        }
        float kept = a.beta1 * j->first[i], new_part = a.take1 * d, m = kept + new_part;
        float square = d * d, kept2 = a.beta2 * j->second[i], new_part2 = a.take2 * square, v = kept2 + new_part2;
        float mean = m / a.correct1, spread = v / a.correct2, root = sqrtf(spread), below = root + a.epsilon;
        float step = a.rate * mean, change = step / below, w = j->w[i] - change;
        j->w_out[i] = w;
        j->first_out[i] = m;
        j->second_out[i] = v;
        bad |= is_bad(w) | is_bad(m) | is_bad(v);
    }
    return bad;
}

QNN_BODY void adam_body(const job *j, int64_t begin, int64_t end, int *bad)
{
    *bad |= j->adam->weight_decay != 0 ? adam_case(j, begin, end, 1) : adam_case(j, begin, end, 0);
}
QNN_TWICE(adam, (const job *j, int64_t begin, int64_t end, int *bad), (j, begin, end, bad))

/* AP2 of x >= 0 (clause POW-5): a field that is rounded up carries into the exponent. Numbers without a leading
   one in the field are lifted by 2^64 before, exactly. */
static inline float next_power(float x, uint32_t carry)
{
    float lift = x < 0x1p-126f ? 0x1p64f : 1.0f, lifted = x * lift, power;
    uint32_t bits;
    memcpy(&bits, &lifted, sizeof bits);
    bits = (bits + carry) & 0xFF800000u;
    memcpy(&power, &bits, sizeof power);
    return power / lift;
}

QNN_BODY int shift_adamax_case(const job *j, int64_t begin, int64_t end, int decays, int stores)
{
    const qnn_adam a = *j->adam;
    int bad = 0;
    for (int64_t i = begin; i < end; i++) {
        float d = j->g[i], largest = j->second[i];
        if (decays) {
            float pull = a.weight_decay * j->w[i];
            d = d + pull;
        }
        float kept = a.beta1 * j->first[i], new_part = a.take1 * d, m = kept + new_part;
        float kept2 = a.beta2 * largest, size = fabsf(d), v = kept2 > size ? kept2 : size;
        float below;
        if (stores) {
            float power = next_power(v, a.carry);
            below = v = power + a.epsilon;
        } else {
            below = next_power(v > a.epsilon ? v : a.epsilon, a.carry);
        }
        float step = a.rate * m, change = step / below, w = j->w[i] - change;
        j->w_out[i] = w;
        j->first_out[i] = m;
        j->second_out[i] = v;
        bad |= is_bad(w) | is_bad(m) | is_bad(v) | is_bad(largest) | is_bad(below);
    }
    return bad;
}

QNN_BODY void shift_adamax_body(const job *j, int64_t begin, int64_t end, int *bad)
{
    int decays = j->adam->weight_decay != 0;
    if (j->adam->stores)
        *bad |= decays ? shift_adamax_case(j, begin, end, 1, 1) : shift_adamax_case(j, begin, end, 0, 1);
    else
        *bad |= decays ? shift_adamax_case(j, begin, end, 1, 0) : shift_adamax_case(j, begin, end, 0, 0);
}
QNN_TWICE(shift_adamax, (const job *j, int64_t begin, int64_t end, int *bad), (j, begin, end, bad))

#define SCALED(type)                                            \
    for (int64_t i = begin; i < end; i++) {                     \
        float once = (float)((const type *)j->ints)[i];         \
        j->w_out[i] = (float)((double)once * j->power);         \
    }

QNN_BODY void to_float32_body(const job *j, int64_t begin, int64_t end)
{
    if (j->bytes == 4)
        SCALED(int32_t)
    else
        SCALED(int64_t)
}
QNN_TWICE(to_float32, (const job *j, int64_t begin, int64_t end), (j, begin, end))

static void sgd_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int bad = 0;
    if (!j->ints)
        (j->avx2 ? sgd_avx2 : sgd_c)(j, begin, end, &bad);
    for (int64_t at = begin, m; j->ints && at < end; at += m) { /* a part becomes float32 within the first cache */
        float g[QNN_PART];
        m = end - at < QNN_PART ? end - at : QNN_PART;
        job part = *j;
        part.ints = (const char *)j->ints + at * j->bytes;
        part.w_out = g;
        (j->avx2 ? to_float32_avx2 : to_float32_c)(&part, 0, m);
        part.w = j->w + at, part.g = g, part.first = j->first + at;
        part.w_out = j->w_out + at, part.first_out = j->first_out + at;
        (j->avx2 ? sgd_avx2 : sgd_c)(&part, 0, m, &bad);
    }
    tally->bad += bad;
}

static void adam_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int bad = 0;
    (j->avx2 ? adam_avx2 : adam_c)(j, begin, end, &bad);
    tally->bad += bad;
}

static void shift_adamax_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int bad = 0;
    (j->avx2 ? shift_adamax_avx2 : shift_adamax_c)(j, begin, end, &bad);
    tally->bad += bad;
}

static void to_float32_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    (j->avx2 ? to_float32_avx2 : to_float32_c)(j, begin, end);
}

int64_t qnn_sgd_step(const qnn_sgd *how_to, const float *w, qnn_gradient g, const float *velocity, int64_t n,
                     qnn_how how, float *w_out, float *velocity_out)
{
    job j = {.w = w, .first = velocity, .sgd = how_to, .avx2 = how.avx2, .w_out = w_out, .first_out = velocity_out};
    if (g.bytes)
        j.ints = g.data, j.bytes = g.bytes, j.power = g.power;
    else
        j.g = g.data;
    return qnn_run_blocks(n, QNN_GRAIN, how, sgd_block, &j).bad;
}

int64_t qnn_adam_step(const qnn_adam *how_to, const float *w, const float *g, const float *first, const float *second,
                      int64_t n, qnn_how how, float *w_out, float *first_out, float *second_out)
{
    job j = {.w = w, .g = g, .first = first, .second = second, .adam = how_to, .avx2 = how.avx2, .w_out = w_out,
             .first_out = first_out, .second_out = second_out};
    return qnn_run_blocks(n, QNN_GRAIN, how, adam_block, &j).bad;
}

int64_t qnn_shift_adamax_step(const qnn_adam *how_to, const float *w, const float *g, const float *first,
                              const float *largest, int64_t n, qnn_how how, float *w_out, float *first_out,
                              float *largest_out)
{
    job j = {.w = w, .g = g, .first = first, .second = largest, .adam = how_to, .avx2 = how.avx2, .w_out = w_out,
             .first_out = first_out, .second_out = largest_out};
    return qnn_run_blocks(n, QNN_GRAIN, how, shift_adamax_block, &j).bad;
}

void qnn_to_float32(const void *ints, int bytes, int64_t n, double power, qnn_how how, float *out)
{
    job j = {.ints = ints, .bytes = bytes, .power = power, .avx2 = how.avx2, .w_out = out};
    qnn_run_blocks(n, QNN_GRAIN, how, to_float32_block, &j);
}
