/* Max pooling of int8 with AVX2: sixteen bytes at a time, whatever the number of channels.
 *
 * A load takes the channels of a pixel and, where there are fewer than sixteen, some of its neighbour's; their results are
 * written too, and then overwritten when the neighbour is done, since pixels go from left to right. Both functions
 * stop before such a write could leave the row, and return the first output they did not do. */
#include "qnn_elem.h"

#include "qnn_cpu.h"

#if QNN_X86
#include <immintrin.h>

enum { WIDE = 16 };

QNN_AVX2_INLINE __m128i load(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
QNN_AVX2_INLINE void store(void *p, __m128i v) { _mm_storeu_si128((__m128i *)p, v); }

/* Sixteen places as int32. */
QNN_AVX2_INLINE void store_places(int32_t *to, __m128i places)
{
    for (int i = 0; i < WIDE; i += 8, places = _mm_srli_si128(places, 8))
        _mm256_storeu_si256((__m256i *)(void *)(to + i), _mm256_cvtepu8_epi32(places));
}

/* The largest of each window's rows ys .. ys+kh-1, whole windows only, from output column `begin` on. */
QNN_AVX2 int64_t qnn_max_pool_row_avx2(const qnn_pool *p, const int8_t *x, int64_t begin, int8_t *y, int32_t *index)
{
    int64_t c = p->channels, row = p->w * c;
    for (int64_t out = begin; out < p->ow; out++) {
        int64_t from = (out * p->stride_x - p->pad_x) * c;
        int64_t furthest = (c - 1) / WIDE * WIDE + WIDE; /* from a pixel's start to the end of its last load */
        if (from < 0 || from + (p->kw - 1) * c + furthest > row || out * c + furthest > p->ow * c)
            return out;
        for (int64_t at = 0; at < c; at += WIDE) {
            const int8_t *window = x + from + at;
            __m128i best = load(window), place = _mm_setzero_si128();
            for (int64_t ky = 0; ky < p->kh; ky++)
                for (int64_t kx = ky == 0; kx < p->kw; kx++) {
                    __m128i value = load(window + ky * row + kx * c), wins = _mm_cmpgt_epi8(value, best);
                    best = _mm_max_epi8(best, value);
                    place = _mm_blendv_epi8(place, _mm_set1_epi8((char)(ky * p->kw + kx)), wins);
                }
            store(y + out * c + at, best);
            store_places(index + out * c + at, place);
        }
    }
    return p->ow;
}

/* Sixteen places as bytes; what is no place of a window of up to 127 stays none. */
QNN_AVX2_INLINE __m128i load_places(const int32_t *from)
{
    __m128i low = _mm_packs_epi32(load(from), load(from + 4)), high = _mm_packs_epi32(load(from + 8), load(from + 12));
    return _mm_packs_epi16(low, high);
}

/* The gradients of one row of outputs to the rows of windows that touch but do not overlap, without padding. */
QNN_AVX2 int64_t qnn_max_unpool_row_avx2(const qnn_pool *p, const int8_t *g, const int32_t *index, int8_t *dx)
{
    int64_t c = p->channels, row = p->w * c;
    for (int64_t out = 0; out < p->ow; out++) {
        int64_t furthest = (c - 1) / WIDE * WIDE + WIDE, to = out * p->kw * c;
        if (to + (p->kw - 1) * c + furthest > p->ow * p->kw * c || out * c + furthest > p->ow * c)
            return out;
        for (int64_t kx = 0; kx < p->kw; kx++)
            for (int64_t at = 0; at < c; at += WIDE) {
                __m128i value = load(g + out * c + at), place = load_places(index + out * c + at);
                for (int64_t ky = 0; ky < p->kh; ky++) {
                    __m128i here = _mm_cmpeq_epi8(place, _mm_set1_epi8((char)(ky * p->kw + kx)));
                    store(dx + to + ky * row + kx * c + at, _mm_and_si128(value, here));
                }
            }
    }
    return p->ow;
}

#else

int64_t qnn_max_pool_row_avx2(const qnn_pool *p, const int8_t *x, int64_t begin, int8_t *y, int32_t *index)
{
    (void)p, (void)x, (void)y, (void)index;
    return begin;
}

int64_t qnn_max_unpool_row_avx2(const qnn_pool *p, const int8_t *g, const int32_t *index, int8_t *dx)
{
    (void)p, (void)g, (void)index, (void)dx;
    return 0;
}

#endif
