/* Batch norm's constants per channel, from exact sums: clauses BN-2, BN-3 and BN-6. A few dozen channels, so plain C; what it
   saves is a score of calls into NumPy for every layer. */
#include <math.h>

#include "qnn_elem.h"

/* Whether a * b stays within 2^62, so that a difference of two such products fits int64. */
static int is_small_product(int64_t a, int64_t b)
{
    const int64_t most = (int64_t)1 << 62;
    if (a < -most || a > most || b < -most || b > most)
        return 0;
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    return a == 0 || b < most / a;
}

/* a * b - c * d, rounded once; returns whether int64 holds it. */
static int difference_of_products(int64_t a, int64_t b, int64_t c, int64_t d, float *out)
{
    if (!is_small_product(a, b) || !is_small_product(c, d))
        return 0;
    *out = (float)(a * b - c * d);
    return 1;
}

/* x * 2^n: exact in binary64, then rounded once. */
static float scaled(float x, double power) { return (float)((double)x * power); }

void qnn_running_update(const float *running, const float *fresh, float keep, int64_t channels, float *out)
{
    const float take = 1.0f - keep;
    for (int64_t i = 0; i < channels; i++)
        out[i] = running[i] * keep + fresh[i] * take;
}

int qnn_bn_statistics(const int64_t *s1, const int64_t *s2, int64_t count, double power, float eps, int64_t channels,
                      float *out)
{
    float *mean_q = out, *mean = out + channels, *var = out + 2 * channels, *inv_std = out + 3 * channels,
          *k = out + 4 * channels;
    const float n = (float)count;
    for (int64_t i = 0; i < channels; i++) {
        float spread;
        if (!difference_of_products(count, s2[i], s1[i], s1[i], &spread))
            return 0;
        mean_q[i] = (float)s1[i] / n;
        mean[i] = scaled(mean_q[i], power);
        var[i] = scaled(spread / (n * n), power * power);
        if (!isfinite(var[i]))
            return 0;
        inv_std[i] = 1.0f / sqrtf(var[i] + eps);
        k[i] = scaled(inv_std[i], power);
    }
    return 1;
}

int qnn_bn_grad_coefficients(const float *mean_q, const float *inv_std, const float *k, const int64_t *s1,
                             const int64_t *sg, const int64_t *sgx, int64_t count, double power, int64_t channels,
                             float *out)
{
    float *a = out, *b = out + channels, *c = out + 2 * channels;
    const float n = (float)count;
    for (int64_t i = 0; i < channels; i++) {
        float dots;
        if (!difference_of_products(count, sgx[i], sg[i], s1[i], &dots))
            return 0;
        const float slope = -(inv_std[i] * ((k[i] * k[i]) * (dots / (n * n))));
        const float offset = -(inv_std[i] * ((float)sg[i] / n)) - (slope * mean_q[i]);
        a[i] = scaled(inv_std[i], power);
        b[i] = scaled(slope, power);
        c[i] = scaled(offset, power);
    }
    return 1;
}
