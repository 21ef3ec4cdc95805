/* Everything that is not a matrix product: requantising, quantising, batch norm, pooling, shifts, bits.
 *
 * Tensors are dense, in C order, channels last. `how` says which instructions and how many threads; neither changes a
 * bit. Functions that return int return 0, or 1 when there was no memory for scratch. The caller has checked all sizes.
 */
#ifndef QNN_ELEM_H
#define QNN_ELEM_H

#include <stdint.h>

#include "qnn_epilogue.h"

/* What the caller of a kernel touches after it, arrays of bytes as long as the kernel's: a hint to fetch it meanwhile. */
typedef struct {
    const char *read[4];
    int count;
    char *written;
} qnn_ahead;

typedef struct {
    int avx2;    /* the processor has AVX2 and it is wanted */
    int avx512;  /* and so are the parts of AVX-512 that go with VNNI, for products of bits VPOPCNTDQ; only with avx2 */
    int threads; /* at most so many */
    const qnn_ahead *ahead; /* or NULL; qnn_scale_tensor looks at it */
} qnn_how;

/* --- qnn_requantize.c --- */
/* acc is [rows, cols] of integers of acc_bytes (1, 2, 4, 8); bias is NULL or has cols entries. */
void qnn_requantize_tensor(const void *acc, int acc_bytes, const int64_t *bias, int64_t rows, int64_t cols,
                           const qnn_target *t, qnn_how how, void *out, qnn_counts *counts);
/* x [rows, cols] of int8 or int16 times gamma [cols] (|gamma| <= 2^15), plus bias; `rectify`: and then a ReLU, which the
   counts do not see. */
void qnn_scale_tensor(const void *x, int x_bytes, const int32_t *gamma, const int64_t *bias, int64_t rows, int64_t cols,
                      const qnn_target *t, int rectify, qnn_how how, void *out, qnn_counts *counts);

/* --- qnn_scale_grad.c --- */
/* The way back of x * gamma [rows, cols] (all of int8 or int16): g, where the ReLU's output y is positive if there is a
   y (then g and out are of one type), times gamma to `out`; sums, 4 times cols: of g, g * x, and if there is a z of out,
   out * z. Returns 1 when there was no memory. */
int qnn_scale_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, const void *x, int x_bytes,
                          const void *z, int z_bytes, const int32_t *gamma, int64_t rows, int64_t cols,
                          const qnn_target *t, qnn_how how, void *out, qnn_counts *counts, int64_t *sums);

/* --- qnn_requantize.c --- */
enum { QNN_MOST_TERMS = 16 };
typedef struct {
    const void *data;
    int bytes; /* 1 or 2 */
    int shift; /* the term counts data * 2^shift */
} qnn_term;
/* The sum of up to QNN_MOST_TERMS terms of n elements; every sum is below 2^31, or below 2^62 if `wide`. `rectify`: and
   then a ReLU; `y`, or null: and then 0 where a ReLU's result y, of y_bytes, is not positive. The counts see neither. */
void qnn_add_tensors(const qnn_term *terms, int count, int wide, int64_t n, const qnn_target *t, int rectify,
                     const void *y, int y_bytes, qnn_how how, void *out, qnn_counts *counts);

/* --- qnn_scale_avx512.c: n elements of int8 to at most 8 bits, if the sums, at most `most`, fit their lanes --- */
enum { QNN_MOST_PERIOD512 = 1024 }; /* elements after which factors repeat */
int qnn_fits_lanes512(const qnn_target *t, int64_t most);
/* x * factor + bias, each of `period` elements that repeat */
void qnn_scale_steps_avx512(const int8_t *x, const int16_t *factor, const int16_t *bias, int64_t period, int64_t index,
                            int64_t n, const qnn_target *t, const qnn_ahead *ahead, int8_t *out, qnn_counts *counts);
/* x * 2^shift_x + y * 2^shift_y */
void qnn_add_steps_avx512(const int8_t *x, int shift_x, const int8_t *y, int shift_y, int64_t index, int64_t n,
                          const qnn_target *t, int8_t *out, qnn_counts *counts);

/* --- qnn_quantize.c, _avx2.c, _avx512.c: exponent_shift is the target's exponent, -64 to 63; each returns 0, or not 0 if a value
   is NaN or infinite (then the results mean nothing) --- */
int64_t qnn_quantize_tensor(const float *x, int64_t n, const qnn_target *t, qnn_how how, void *out, qnn_counts *counts);
int64_t qnn_quantize_chunk(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                           qnn_counts *counts);
int64_t qnn_quantize_chunk_avx2(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                qnn_counts *counts);
int64_t qnn_quantize_chunk_avx512(const float *x, int64_t index, int64_t n, const qnn_target *t, void *out,
                                  qnn_counts *counts);

/* --- qnn_normalize.c --- */
/* (x - mean) * k, x [rows, cols] of int8 or int16. */
int64_t qnn_normalize_tensor(const void *x, int x_bytes, const float *mean, const float *k, int64_t rows, int64_t cols,
                             const qnn_target *t, qnn_how how, void *out, qnn_counts *counts);
/* --- qnn_normalize_scale.c: qnn_normalize_tensor to normal_out, and then qnn_scale_tensor of that; returns what the first
   does --- */
int64_t qnn_normalize_scale_tensor(const void *x, int x_bytes, const float *mean, const float *k, int64_t rows,
                                   int64_t cols, const qnn_target *normal, void *normal_out, qnn_counts *normal_counts,
                                   const int32_t *gamma, const int64_t *bias, const qnn_target *t, int rectify,
                                   qnn_how how, void *out, qnn_counts *counts);

/* --- qnn_normalize.c --- */
/* (a * g + b * x) + c */
int64_t qnn_normalize_grad_tensor(const void *g, int g_bytes, const void *x, int x_bytes, const float *a,
                                  const float *b, const float *c, int64_t rows, int64_t cols, const qnn_target *t,
                                  qnn_how how, void *out, qnn_counts *counts);

/* --- qnn_normalize_avx2.c: int8 to at most 8 bits; a, b, c are repeated along the part, g NULL: (x - a) * b --- */
enum { QNN_NORMALIZE_MOST = 1024 }; /* elements of a part */
int qnn_normalize_has_avx2(const qnn_target *t);
int qnn_normalize_part_avx2(const int8_t *g, const int8_t *x, const float *a, const float *b, const float *c,
                            int64_t index, int64_t m, const qnn_target *t, int8_t *out, qnn_counts *counts);

/* --- qnn_normalize_avx512.c: the same where every result is finite, for n elements whose factors repeat --- */
typedef struct {
    const float *a, *b, *c;
    int64_t period; /* at most QNN_MOST_PERIOD512 */
} qnn_factors;
int qnn_normalize_has_avx512(const qnn_target *t);
void qnn_normalize_steps_avx512(const int8_t *g, const int8_t *x, const qnn_factors *f, int64_t index, int64_t n,
                                const qnn_target *t, int8_t *out, qnn_counts *counts);

/* --- qnn_channel.c: sums over rows of x[c] and x[c] * y[c] (sums of squares: y = x); fewer than 2^33 rows --- */
int qnn_channel_sums(const void *x, int x_bytes, const void *y, int y_bytes, int64_t rows, int64_t cols, qnn_how how,
                     int64_t *sum, int64_t *dot);
/* The same on this thread, added to what is there; cols >= 1. */
void qnn_add_channel_sums(const void *x, int x_bytes, const void *y, int y_bytes, int64_t rows, int64_t cols,
                          qnn_how how, int64_t *sum, int64_t *dot);

/* --- qnn_loss.c --- */
/* What the definition of exp32 and log32 computes with; it hands over its own numbers. */
typedef struct {
    const double *exp_table, *log_table; /* [32]; [128][2] */
    double steps_per_unit, step_high, step_low, ln2;
} qnn_elementary;
enum { QNN_LOSS_LIMIT = 1 << 22, QNN_LOSS_FRACTION_BITS = 20 };
/* losses [rows] in units of 2^-20, grad [rows, classes] of the mean over total_rows; returns 0 for what the definition
   must refuse. */
int qnn_softmax_cross_entropy(const float *logits, const int64_t *labels, int64_t rows, int64_t classes, int64_t total_rows,
                              const qnn_elementary *tables, int64_t *losses, float *grad);

/* --- qnn_statistics.c: float32 constants of `channels` channels one behind the other; power is 2^exponent. What
   returns 0 leaves it to the definition: int64 too small, a variance beyond float32 --- */
/* running * keep + fresh * (1 - keep) */
void qnn_running_update(const float *running, const float *fresh, float keep, int64_t channels, float *out);
/* out: mean_q, mean, var, inv_std, k */
int qnn_bn_statistics(const int64_t *s1, const int64_t *s2, int64_t count, double power, float eps, int64_t channels,
                      float *out);
/* out: a, b, c */
int qnn_bn_grad_coefficients(const float *mean_q, const float *inv_std, const float *k, const int64_t *s1,
                             const int64_t *sg, const int64_t *sgx, int64_t count, double power, int64_t channels,
                             float *out);

/* --- qnn_table.c: out[r, c] = table[c, codes[r, c]], the codes read as unsigned bytes --- */
void qnn_look_up_tensor(const void *codes, const int8_t *table, int64_t rows, int64_t cols, qnn_how how, int8_t *out);

/* --- qnn_subsample.c: [images, h, w] pixels to [images, oh, ow], every stride-th one, with zeros behind each; and back --- */
typedef struct {
    int64_t images, h, w, oh, ow, stride, pixel, out_pixel; /* sizes of pixels in bytes, pixel <= out_pixel */
} qnn_pixels;
void qnn_subsample(const qnn_pixels *p, const void *x, qnn_how how, void *y);
void qnn_subsample_grad(const qnn_pixels *p, const void *g, qnn_how how, void *dx);

/* --- qnn_simple.c --- */
/* Elements begin .. end-1 on one thread; out may be x. */
void qnn_clip_part(const void *x, int bytes, int64_t begin, int64_t end, int32_t low, int32_t high, int avx2, void *out);
void qnn_clip_tensor(const void *x, int bytes, int64_t n, int32_t low, int32_t high, qnn_how how, void *out);
void qnn_relu_grad_part(const void *g, int g_bytes, const void *y, int y_bytes, int64_t begin, int64_t end, int avx2,
                        void *out);
void qnn_relu_grad_tensor(const void *g, int g_bytes, const void *y, int y_bytes, int64_t n, qnn_how how, void *out);
void qnn_int_range(const void *x, int bytes, int64_t n, qnn_how how, int64_t *low, int64_t *high); /* n >= 1 */
/* n >= 1; returns not 0 if a value is NaN or infinite, and then no range. */
int64_t qnn_float_range(const float *x, int64_t n, qnn_how how, float *low, float *high);
void qnn_noise_tensor(const qnn_target *t, int64_t n, qnn_how how, uint16_t *out);

/* --- qnn_update.c: steps of optimisers; each returns 0, or not 0 if a result is NaN or infinite --- */
typedef struct {
    float rate, momentum, weight_decay;
    int nesterov;
} qnn_sgd;
typedef struct {
    float rate, beta1, take1, beta2, take2, correct1, correct2, epsilon, weight_decay; /* take = 1 - beta */
    int stores;     /* of AdaMax by shifts: whether its divisor is its state */
    uint32_t carry; /* of AP2: what lifts a field that is rounded up into the exponent */
} qnn_adam;
typedef struct {
    const void *data;
    int bytes;    /* 0: float32; 4 or 8: integers that count data * power, a power of two */
    double power;
} qnn_gradient;
int64_t qnn_sgd_step(const qnn_sgd *how_to, const float *w, qnn_gradient g, const float *velocity, int64_t n,
                     qnn_how how, float *w_out, float *velocity_out);
int64_t qnn_adam_step(const qnn_adam *how_to, const float *w, const float *g, const float *first, const float *second,
                      int64_t n, qnn_how how, float *w_out, float *first_out, float *second_out);
/* The same for AdaMax by shifts; it leaves take2, correct1 and correct2 alone, and adam_step leaves stores and carry. */
int64_t qnn_shift_adamax_step(const qnn_adam *how_to, const float *w, const float *g, const float *first,
                              const float *largest, int64_t n, qnn_how how, float *w_out, float *first_out,
                              float *largest_out);
/* Integers of 4 or 8 bytes to float32 (one rounding), times a power of two. */
void qnn_to_float32(const void *ints, int bytes, int64_t n, double power, qnn_how how, float *out);

/* --- qnn_pool.c --- */
typedef struct {
    int64_t images, h, w, channels, oh, ow, kh, kw, stride_y, stride_x, pad_y, pad_x;
} qnn_pool;
/* x int8 or int16; kh * kw <= 255 */
void qnn_max_pool(const qnn_pool *p, const void *x, int bytes, qnn_how how, void *y, int32_t *index);
void qnn_max_pool_grad(const qnn_pool *p, const void *g, int bytes, const int32_t *index, qnn_how how, int32_t *dx);
/* The same where windows do not overlap: each dx is one g or 0, and as wide as g. */
void qnn_max_unpool(const qnn_pool *p, const void *g, int bytes, const int32_t *index, qnn_how how, void *dx);
/* --- qnn_pool_avx2.c: part of a row (x and dx at the first row of the windows); return the first output not done --- */
int64_t qnn_max_pool_row_avx2(const qnn_pool *p, const int8_t *x, int64_t begin, int8_t *y, int32_t *index);
int64_t qnn_max_unpool_row_avx2(const qnn_pool *p, const int8_t *g, const int32_t *index, int8_t *dx);
void qnn_sum_pool(const qnn_pool *p, const void *x, int bytes, qnn_how how, int32_t *y);
void qnn_sum_pool_grad(const qnn_pool *p, const void *g, int bytes, qnn_how how, int32_t *dx);

/* --- qnn_shift.c --- */
typedef struct {
    int64_t images, h, w, channels, filters, kh, kw, oh, ow, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x,
        groups;
} qnn_window;
/* Codes of `bits` bits, rows of (k * bits + 7) / 8 bytes, as integer weights. */
void qnn_pow2_weights(const uint8_t *packed, int bits, int64_t rows, int64_t k, int16_t *weights);
/* y[m][n] = sum over k of sign * (x[m][k] << (code - 1)), or of sign * (x[m][k] >> (r - code)) if `truncating`, `code`
   without its sign bit and r the largest; int64 sums if `wide`, else int32. */
int qnn_shift_gemm(const void *x, int x_bytes, const uint8_t *packed, int bits, int64_t m, int64_t n, int64_t k,
                   int wide, int truncating, qnn_how how, void *y);
int qnn_shift_conv2d(const qnn_window *window, const void *x, int x_bytes, const uint8_t *packed, int bits, int wide,
                     int truncating, qnn_how how, void *y);

/* --- qnn_xnor.c: words of 64 bits, rows of (k + 63) / 64 words --- */
int qnn_xnor_gemm(const uint64_t *a, const uint64_t *b, int64_t m, int64_t n, int64_t k, qnn_how how, int32_t *y);
/* channels are bits here, a pixel is (channels + 63) / 64 words; padded pixels have all bits `pad` (0 or 1) */
int qnn_xnor_conv2d(const qnn_window *window, const uint64_t *x, const uint64_t *w, int pad, qnn_how how, int32_t *y);
int qnn_bitplane_gemm(const uint8_t *x, const uint64_t *w, int64_t m, int64_t n, int64_t k, qnn_how how, int32_t *y);
enum { QNN_PACK_S8 = 1, QNN_PACK_S16 = 2, QNN_PACK_S32 = 4, QNN_PACK_F32 = 5 };
/* Bit 1 for x >= 0; returns not 0 if a value is NaN. */
int64_t qnn_pack_bits(const void *x, int type, int64_t rows, int64_t k, qnn_how how, uint64_t *words);

#endif
