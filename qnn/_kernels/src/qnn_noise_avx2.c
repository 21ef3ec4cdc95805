/* Addressed noise with AVX2: eight Philox blocks side by side. */
#include "qnn_noise.h"

void qnn_philox_u16_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    qnn_philox_u16(seed, stream, step, start, n, out);
}

void qnn_philox_u8_avx2(uint64_t seed, uint32_t stream, uint32_t step, uint64_t start, int64_t n, uint16_t *out)
{
    qnn_philox_u8(seed, stream, step, start, n, out);
}

void qnn_noise_words_avx2(const qnn_target *t, int64_t index, int64_t n, uint16_t *out) { qnn_noise_words(t, index, n, out); }
