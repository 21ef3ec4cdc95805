/* One-line integer operations on whole tensors: clipping, the ReLU's gradient, ranges, noise. */
#include "qnn_blocks.h"
#include "qnn_noise.h"

typedef struct {
    const void *x, *g;
    int bytes, g_bytes;
    int32_t low, high;
    const qnn_target *target;
    int avx2, avx512;
    void *out;
} job;

#define CLIP(type)                                                       \
    do {                                                                 \
        const type *from = (const type *)x + begin;                      \
        type *to = (type *)out + begin, lo = (type)low, hi = (type)high; \
        for (int64_t i = 0; i < end - begin; i++) {                      \
            type v = from[i] < lo ? lo : from[i];                        \
            to[i] = v > hi ? hi : v;                                     \
        }                                                                \
    } while (0)

QNN_BODY void clip_body(const void *x, int bytes, int64_t begin, int64_t end, int32_t low, int32_t high, void *out)
{
    if (bytes == 1)
        CLIP(int8_t);
    else
        CLIP(int16_t);
}
QNN_TWICE(clip, (const void *x, int bytes, int64_t begin, int64_t end, int32_t low, int32_t high, void *out),
          (x, bytes, begin, end, low, high, out))

void qnn_clip_part(const void *x, int bytes, int64_t begin, int64_t end, int32_t low, int32_t high, int avx2, void *out)
{
    (avx2 ? clip_avx2 : clip_c)(x, bytes, begin, end, low, high, out);
}

static void clip_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    qnn_clip_part(j->x, j->bytes, begin, end, j->low, j->high, j->avx2, j->out);
}

void qnn_clip_tensor(const void *x, int bytes, int64_t n, int32_t low, int32_t high, qnn_how how, void *out)
{
    job j = {.x = x, .bytes = bytes, .low = low, .high = high, .avx2 = how.avx2, .out = out};
    qnn_run_blocks(n, 4 * QNN_GRAIN, how, clip_block, &j);
}

#define RELU_GRAD(g_type, y_type)                           \
    do {                                                    \
        const g_type *gradient = (const g_type *)g + begin; \
        const y_type *output = (const y_type *)y + begin;   \
        g_type *to = (g_type *)out + begin;                 \
        for (int64_t i = 0; i < end - begin; i++)           \
            to[i] = (g_type)(gradient[i] & -(output[i] > 0));        \
    } while (0)

QNN_BODY void relu_grad_body(const void *g, int g_bytes, const void *y, int y_bytes, int64_t begin, int64_t end,
                             void *out)
{
    if (g_bytes == 1 && y_bytes == 1)
        RELU_GRAD(int8_t, int8_t);
    else if (g_bytes == 1)
        RELU_GRAD(int8_t, int16_t);
    else if (y_bytes == 1)
        RELU_GRAD(int16_t, int8_t);
    else
        RELU_GRAD(int16_t, int16_t);
}
QNN_TWICE(relu_grad, (const void *g, int g_bytes, const void *y, int y_bytes, int64_t begin, int64_t end, void *out),
          (g, g_bytes, y, y_bytes, begin, end, out))

void qnn_relu_grad_part(const void *g, int g_bytes, const void *y, int y_bytes, int64_t begin, int64_t end, int avx2,
                        void *out)
{
    (avx2 ? relu_grad_avx2 : relu_grad_c)(g, g_bytes, y, y_bytes, begin, end, out);
}

static void relu_grad_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    qnn_relu_grad_part(j->g, j->g_bytes, j->x, j->bytes, begin, end, j->avx2, j->out);
}

void qnn_relu_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, int64_t n, qnn_how how, void *out)
{
    job j = {.x = y, .bytes = y_bytes, .g = g, .g_bytes = g_bytes, .avx2 = how.avx2, .out = out};
    qnn_run_blocks(n, 4 * QNN_GRAIN, how, relu_grad_block, &j);
}

#define RANGE(type)                                 \
    do {                                            \
        const type *v = (const type *)x + begin;    \
        type low = v[0], high = v[0];               \
        for (int64_t i = 0; i < end - begin; i++) { \
            low = v[i] < low ? v[i] : low;          \
            high = v[i] > high ? v[i] : high;       \
        }                                           \
        found[0] = low;                             \
        found[1] = high;                            \
    } while (0)

QNN_BODY void range_body(const void *x, int bytes, int64_t begin, int64_t end, int64_t found[2])
{
    if (bytes == 1)
        RANGE(int8_t);
    else if (bytes == 2)
        RANGE(int16_t);
    else if (bytes == 4)
        RANGE(int32_t);
    else
        RANGE(int64_t);
}
QNN_TWICE(range, (const void *x, int bytes, int64_t begin, int64_t end, int64_t found[2]),
          (x, bytes, begin, end, found))

static void range_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int64_t found[2];
    (j->avx2 ? range_avx2 : range_c)(j->x, j->bytes, begin, end, found);
    tally->low = found[0] < tally->low ? found[0] : tally->low;
    tally->high = found[1] > tally->high ? found[1] : tally->high;
}

void qnn_int_range(const void *x, int bytes, int64_t n, qnn_how how, int64_t *low, int64_t *high)
{
    job j = {.x = x, .bytes = bytes, .avx2 = how.avx2};
    qnn_tally total = qnn_run_blocks(n, 4 * QNN_GRAIN, how, range_block, &j);
    *low = total.low;
    *high = total.high;
}

/* The bits of a float32 as an integer of the same order: negative numbers count downwards from -1 (which is -0). */
static inline int32_t ordered(uint32_t bits) { return (int32_t)(bits & 0x80000000u ? bits ^ 0x7FFFFFFFu : bits); }

QNN_BODY void float_range_body(const float *x, int64_t begin, int64_t end, int64_t found[2], int64_t *bad)
{
    int32_t low = INT32_MAX, high = INT32_MIN, wrong = 0;
    for (int64_t i = begin; i < end; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        int32_t v = ordered(bits);
        low = v < low ? v : low;
        high = v > high ? v : high;
        wrong |= (bits & 0x7FFFFFFFu) > 0x7F7FFFFFu;
    }
    found[0] = low;
    found[1] = high;
    *bad += wrong;
}
QNN_TWICE(float_range, (const float *x, int64_t begin, int64_t end, int64_t found[2], int64_t *bad),
          (x, begin, end, found, bad))

static void float_range_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    int64_t found[2];
    (j->avx2 ? float_range_avx2 : float_range_c)(j->x, begin, end, found, &tally->bad);
    tally->low = found[0] < tally->low ? found[0] : tally->low;
    tally->high = found[1] > tally->high ? found[1] : tally->high;
}

static float from_ordered(int64_t v)
{
    uint32_t bits = (uint32_t)((uint64_t)v & 0xFFFFFFFFu);
    float x;
    bits = v < 0 ? bits ^ 0x7FFFFFFFu : bits;
    memcpy(&x, &bits, sizeof x);
    return x;
}

int64_t qnn_float_range(const float *x, int64_t n, qnn_how how, float *low, float *high)
{
    job j = {.x = x, .avx2 = how.avx2};
    qnn_tally total = qnn_run_blocks(n, 4 * QNN_GRAIN, how, float_range_block, &j);
    *low = from_ordered(total.low);
    *high = from_ordered(total.high);
    return total.bad;
}

static void noise_block(const void *context, int64_t begin, int64_t end, qnn_tally *tally)
{
    const job *j = context;
    (void)tally;
    (j->avx512 ? qnn_noise_words_avx512
     : j->avx2 ? qnn_noise_words_avx2
               : qnn_noise_words)(j->target, begin, end - begin, (uint16_t *)j->out + begin);
}

void qnn_noise_tensor(const qnn_target *t, int64_t n, qnn_how how, uint16_t *out)
{
    job j = {.target = t, .avx2 = how.avx2, .avx512 = how.avx512, .out = out};
    qnn_run_blocks(n, QNN_GRAIN, how, noise_block, &j);
}
