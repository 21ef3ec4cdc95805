/* Small fixed products and convolutions on two paths: shapes with tails everywhere, extreme and mixed values. */
#include "qnn_self_check.h"

#include <string.h>

enum { MOST = 1 << 15 }; /* bytes of the largest operand or result below */

typedef struct {
    int64_t m, n, k;
    int a_bytes, b_bytes, trans_a, trans_b;
} product;

static const product PRODUCTS[] = {
    {1, 33, 70, 1, 1, 0, 1},   {37, 50, 131, 1, 1, 0, 0}, {18, 17, 64, 1, 1, 1, 0}, {33, 16, 63, 1, 1, 1, 1},
    {16, 65, 5, 1, 1, 0, 1},   {13, 19, 33, 1, 2, 0, 0},  {11, 18, 9, 2, 1, 1, 0},  {12, 9, 35, 2, 2, 0, 1},
    {3, 16, 1100, 1, 1, 0, 1},  {20, 21, 530, 1, 1, 0, 1}, {272, 5, 70, 1, 1, 0, 1},
};

/* images, h, w, channels, filters, kh, kw, oh, ow; stride, padding, dilation of both axes; groups */
static const qnn_conv_shape SHAPES[] = {
    {2, 5, 8, 16, 17, 3, 3, 5, 8, 1, 1, 1, 1, 1, 1, 1},  {1, 3, 34, 3, 16, 3, 3, 3, 34, 1, 1, 1, 1, 1, 1, 1},
    {1, 9, 9, 16, 32, 3, 3, 5, 5, 2, 2, 1, 1, 1, 1, 1},  {2, 4, 6, 33, 5, 1, 1, 2, 3, 2, 2, 0, 0, 1, 1, 1},
    {1, 6, 20, 5, 40, 2, 3, 4, 16, 1, 1, 0, 0, 2, 2, 1}, {1, 4, 5, 4, 6, 3, 2, 4, 6, 1, 1, 1, 1, 1, 1, 2},
    {2, 3, 1, 3, 2, 1, 2, 3, 1, 1, 1, 0, 1, 1, 1, 1},
};

typedef struct {
    void *a, *b, *first, *second;
} memory;

/* Extremes in one part, in the other whatever a linear congruential generator gives. */
static void fill(void *to, int64_t n, int bytes, uint32_t seed)
{
    const int low = bytes == 1 ? INT8_MIN : INT16_MIN, high = bytes == 1 ? INT8_MAX : INT16_MAX;
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        int value = (int)(seed >> 8) % (high + 1), kind = (int)(seed >> 28);
        value = kind < 5 ? low : (kind < 7 ? high : (kind < 11 ? -value : value));
        if (bytes == 1)
            ((int8_t *)to)[i] = (int8_t)value;
        else
            ((int16_t *)to)[i] = (int16_t)value;
    }
}

/* What a result must be wide for: clause MAC-1. */
static int is_wide(int64_t k, int a_bytes, int b_bytes)
{
    return k >= (int64_t)1 << (33 - 8 * (a_bytes + b_bytes));
}

static int equal(const memory *m, int64_t bytes) { return memcmp(m->first, m->second, (size_t)bytes) == 0; }

/* An output whose bytes say so if nobody writes to them. */
static qnn_output output_at(void *data, int64_t bytes, int64_t columns, int wide)
{
    memset(data, 0x5A, (size_t)bytes);
    return (qnn_output){.wide = wide, .data = data, .columns = columns};
}

static int check_product(const qnn_isa *isa, const product *c, const memory *m)
{
    int wide = is_wide(c->k, c->a_bytes, c->b_bytes);
    int64_t bytes = c->m * c->n * (wide ? 8 : 4);
    qnn_gemm_problem p = {.a = m->a, .b = m->b, .a_bytes = c->a_bytes, .b_bytes = c->b_bytes, .trans_a = c->trans_a,
                          .trans_b = c->trans_b, .m = c->m, .n = c->n, .k = c->k};
    fill(m->a, c->m * c->k, c->a_bytes, 1);
    fill(m->b, c->k * c->n, c->b_bytes, 2);
    qnn_output plain = output_at(m->first, bytes, c->n, wide), tested = output_at(m->second, bytes, c->n, wide);
    if (qnn_gemm(qnn_isa_c(), &p, &plain, 1, 0) || qnn_gemm(isa, &p, &tested, 1, 0))
        return -1;
    return equal(m, bytes);
}

static int check_forward(const qnn_isa *isa, const qnn_conv_shape *s, const memory *m, int gradient)
{
    int64_t columns = gradient ? s->channels : s->filters;
    int64_t bytes = 4 * columns * s->images * (gradient ? s->h * s->w : s->oh * s->ow);
    qnn_output plain = output_at(m->first, bytes, columns, 0), tested = output_at(m->second, bytes, columns, 0);
    fill(m->a, s->images * (gradient ? s->oh * s->ow * s->filters : s->h * s->w * s->channels), 1, 3);
    fill(m->b, s->filters * s->kh * s->kw * s->channels / s->groups, 1, 4);
    int failed = gradient ? qnn_conv2d_input_grad(qnn_isa_c(), s, m->a, 1, m->b, 1, &plain, 1, 0) ||
                                qnn_conv2d_input_grad(isa, s, m->a, 1, m->b, 1, &tested, 1, 0)
                          : qnn_conv2d(qnn_isa_c(), s, m->a, 1, m->b, 1, &plain, 1, 0) ||
                                qnn_conv2d(isa, s, m->a, 1, m->b, 1, &tested, 1, 0);
    return failed ? -1 : equal(m, bytes);
}

static int check_weights(const qnn_isa *isa, const qnn_conv_shape *s, const memory *m)
{
    int64_t bytes = 4 * s->filters * s->kh * s->kw * s->channels / s->groups;
    fill(m->a, s->images * s->h * s->w * s->channels, 1, 5);
    fill(m->b, s->images * s->oh * s->ow * s->filters, 1, 6);
    memset(m->second, 0x5A, (size_t)bytes);
    if (qnn_conv2d_weight_grad(qnn_isa_c(), s, m->a, 1, m->b, 1, 0, m->first, 1) ||
        qnn_conv2d_weight_grad(isa, s, m->a, 1, m->b, 1, 0, m->second, 1))
        return -1;
    return equal(m, bytes);
}

/* Packed 4-bit codes against the same weights, decoded. */
static int check_codes(const qnn_isa *isa, int64_t rows, const memory *m)
{
    enum { N = 7, K = 333 };
    const uint8_t *codes = m->b;
    int8_t *weights = (int8_t *)m->b + MOST / 2;
    qnn_gemm_problem p = {.a = m->a, .b = weights, .a_bytes = 1, .b_bytes = 1, .trans_b = 1, .m = rows, .n = N, .k = K};
    fill(m->a, rows * K, 1, 7);
    fill(m->b, N * ((K + 1) / 2), 1, 8);
    qnn_decode_codes4(qnn_isa_c(), codes, N, K, 1, weights);
    qnn_output plain = output_at(m->first, 4 * rows * N, N, 0), tested = output_at(m->second, 4 * rows * N, N, 0);
    int status = qnn_gemm(qnn_isa_c(), &p, &plain, 1, 0);
    p.b = codes, p.codes4 = 1;
    if (!status)
        status = qnn_gemm_codes4(isa, &p, &tested, 1, 0);
    return status < 0 ? -1 : status > 0 || equal(m, 4 * rows * N); /* 1: has no version of its own */
}

int qnn_self_check(const qnn_isa *isa)
{
    memory m = {qnn_allocate(MOST), qnn_allocate(MOST), qnn_allocate(MOST), qnn_allocate(MOST)};
    int result = m.a && m.b && m.first && m.second ? 1 : -1;
    for (size_t i = 0; result == 1 && i < sizeof PRODUCTS / sizeof *PRODUCTS; i++)
        result = check_product(isa, &PRODUCTS[i], &m);
    for (int64_t rows = 1; result == 1 && rows < 64; rows += rows) /* few and many: each has a way of its own */
        result = check_codes(isa, 2 * rows - 1, &m);
    for (size_t i = 0; result == 1 && i < sizeof SHAPES / sizeof *SHAPES; i++) {
        result = check_forward(isa, &SHAPES[i], &m, 0);
        result = result == 1 ? check_forward(isa, &SHAPES[i], &m, 1) : result;
        result = result == 1 ? check_weights(isa, &SHAPES[i], &m) : result;
    }
    qnn_release(m.a);
    qnn_release(m.b);
    qnn_release(m.first);
    qnn_release(m.second);
    return result;
}

static void panel_broken(const int16_t *const *rows, int64_t count, int64_t step, const qnn_segment *segments,
                         int64_t segment_count, const int16_t *panel, int32_t *sums, int64_t sums_stride,
                         int accumulate)
{
    qnn_isa_c()->panel(rows, count, step, segments, segment_count, panel, sums, sums_stride, accumulate);
    if (count % 2)
        sums[(count - 1) * sums_stride] ^= 1;
}

const qnn_isa *qnn_isa_broken(void)
{
    static qnn_isa isa; /* filled in under the interpreter's lock, with the same every time */
    isa = *qnn_isa_c();
    isa.panel = panel_broken;
    return &isa;
}
