/* The softmax cross-entropy: clauses LOSS-1 to LOSS-3 with exp32 and log32 of FLT-4 and FLT-5. A batch of some hundred
   rows of a few classes, so plain C; what it saves is half a hundred calls into NumPy for every step. */
#include <math.h>
#include <string.h>

#include "qnn_elem.h"

enum { EXP_STEPS = 32, LOG_STEPS = 128 };

/* exp64 of x, which is cut to where the result as float32 no longer changes (FLT-4). */
static double exp64(double x, const qnn_elementary *t)
{
    x = x > -120.0 ? x : -120.0; /* also what a writer beside us made NaN: it must not become an index */
    x = x < 120.0 ? x : 120.0;
    const double n = rint(x * t->steps_per_unit);
    const double r = (x - n * t->step_high) - n * t->step_low;
    double series = 1.0 / 720;
    series = series * r + 1.0 / 120;
    series = series * r + 1.0 / 24;
    series = series * r + 1.0 / 6;
    series = series * r + 1.0 / 2;
    series = series * r + 1.0;
    series = series * r + 1.0;
    const int64_t whole = (int64_t)n + 64 * EXP_STEPS * 8; /* positive, so that / and % are floor and remainder */
    const uint64_t bits = (uint64_t)(whole / EXP_STEPS - 64 * 8 + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return (series * t->exp_table[whole % EXP_STEPS]) * power;
}

/* log64 of a float32 that is 1 or more and finite (FLT-5). */
static double log64(double x, const qnn_elementary *t)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    double e = (double)((int64_t)(bits >> 52) - 1023), z;
    bits = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1023 << 52;
    memcpy(&z, &bits, sizeof z);
    const double *row = t->log_table + 2 * (int64_t)((z - 1.0) * LOG_STEPS);
    if (z >= 1.5) {
        z *= 0.5;
        e += 1.0;
    }
    const double r = z * row[0] - 1.0;
    double series = -1.0 / 8.0;
    series = series * r + 1.0 / 7;
    series = series * r + -1.0 / 6;
    series = series * r + 1.0 / 5;
    series = series * r + -1.0 / 4;
    series = series * r + 1.0 / 3;
    series = series * r + -1.0 / 2;
    series = series * r + 1.0;
    return e * t->ln2 + (row[1] + series * r);
}

int qnn_softmax_cross_entropy(const float *logits, const int64_t *labels, int64_t rows, int64_t classes, int64_t total_rows,
                              const qnn_elementary *tables, int64_t *losses, float *grad)
{
    const float inverse = 1.0f / (float)total_rows;
    for (int64_t i = 0; i < rows; i++, logits += classes, grad += classes) {
        const int64_t label = labels[i];
        if (label < 0 || label >= classes)
            return 0;
        float most = logits[0], total = 0;
        for (int64_t c = 0; c < classes; c++) {
            if (!isfinite(logits[c]))
                return 0;
            most = logits[c] > most ? logits[c] : most;
        }
        for (int64_t c = 0; c < classes; c++) {
            grad[c] = (float)exp64((double)(logits[c] - most), tables);
            total = c ? total + grad[c] : grad[c];
        }
        const float loss = (float)log64((double)total, tables) - (logits[label] - most);
        if (!(loss < QNN_LOSS_LIMIT))
            return 0;
        losses[i] = (int64_t)rint((double)loss * (1 << QNN_LOSS_FRACTION_BITS));
        for (int64_t c = 0; c < classes; c++) {
            const float share = grad[c] / total;
            grad[c] = (c == label ? share - 1.0f : share) * inverse;
        }
    }
    return 1;
}
