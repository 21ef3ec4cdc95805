/* Memory traffic: reading, writing, and the reading of 4 bytes for every byte written that a requantisation does. */
#include "qnn_bench.h"
#include "qnn_blocks.h"

#if defined(__GNUC__)
#define FORGET_MEMORY(p) __asm__ volatile("" : : "r"(p) : "memory")
#else
#define FORGET_MEMORY(p) (void)(p)
#endif

typedef struct {
    uint64_t *data;
    const uint32_t *source;
    uint8_t *out;
    int64_t items, share, repeats;
    uint64_t value, *sums;
    int avx2;
} job;

QNN_BODY void read_body(const uint64_t *data, int64_t words, uint64_t *sum)
{
    uint64_t total[32] = {0}; /* eight vectors: as many loads under way */
    int64_t i = 0;
    for (; i + 32 <= words; i += 32)
        for (int j = 0; j < 32; j++)
            total[j] += data[i + j];
    for (; i < words; i++)
        total[0] += data[i];
    for (int j = 0; j < 32; j++)
        *sum += total[j];
}
QNN_TWICE(read, (const uint64_t *data, int64_t words, uint64_t *sum), (data, words, sum))

QNN_BODY void write_body(uint64_t *data, int64_t words, uint64_t value)
{
    for (int64_t i = 0; i < words; i++)
        data[i] = value;
}
QNN_TWICE(write, (uint64_t *data, int64_t words, uint64_t value), (data, words, value))

QNN_BODY void narrow_body(const uint32_t *source, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (uint8_t)source[i];
}
QNN_TWICE(narrow, (const uint32_t *source, int64_t n, uint8_t *out), (source, n, out))

/* First item and number of items of a block. */
static int64_t part(const job *j, int64_t block, int64_t *count)
{
    int64_t from = block * j->share, left = j->items - from;
    *count = left < 0 ? 0 : left < j->share ? left : j->share;
    return left < 0 ? j->items : from;
}

static void read_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t count, from = part(j, begin, &count);
    uint64_t sum = 0;
    (void)end;
    (void)worker;
    for (int64_t r = 0; r < j->repeats; r++)
        (j->avx2 ? read_avx2 : read_c)(j->data + from, count, &sum);
    j->sums[begin] = sum;
}

static void write_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t count, from = part(j, begin, &count);
    (void)end;
    (void)worker;
    for (int64_t r = 0; r < j->repeats; r++)
        (j->avx2 ? write_avx2 : write_c)(j->data + from, count, j->value + (uint64_t)r);
}

static void narrow_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    int64_t count, from = part(j, begin, &count);
    (void)end;
    (void)worker;
    for (int64_t r = 0; r < j->repeats; r++) {
        (j->avx2 ? narrow_avx2 : narrow_c)(j->source + from, count, j->out + from);
        FORGET_MEMORY(j->out); /* every repetition writes the same bytes: none may be left out */
    }
}

static int parts(int threads) { return threads < 1 ? 1 : threads < QNN_WORKERS ? threads : QNN_WORKERS; }

uint64_t qnn_bench_read(const uint64_t *data, int64_t words, int64_t repeats, int avx2, int threads)
{
    int blocks = parts(threads);
    uint64_t sums[QNN_WORKERS] = {0}, sum = 0;
    job j = {.data = (uint64_t *)data, .items = words, .share = (words + blocks - 1) / blocks, .repeats = repeats,
             .sums = sums, .avx2 = avx2};
    qnn_parallel(blocks, blocks, read_block, &j);
    for (int i = 0; i < blocks; i++)
        sum += sums[i];
    return sum;
}

void qnn_bench_write(uint64_t *data, int64_t words, int64_t repeats, uint64_t value, int avx2, int threads)
{
    int blocks = parts(threads);
    job j = {.data = data, .items = words, .share = (words + blocks - 1) / blocks, .repeats = repeats, .value = value,
             .avx2 = avx2};
    qnn_parallel(blocks, blocks, write_block, &j);
}

void qnn_bench_read4_write1(const uint32_t *data, int64_t n, uint8_t *out, int64_t repeats, int avx2, int threads)
{
    int blocks = parts(threads);
    job j = {.source = data, .out = out, .items = n, .share = (n + blocks - 1) / blocks, .repeats = repeats,
             .avx2 = avx2};
    qnn_parallel(blocks, blocks, narrow_block, &j);
}
