/* Elementwise work in blocks: the one loop over threads, tallies per worker, and code that is compiled once per
   instruction set. */
#ifndef QNN_BLOCKS_H
#define QNN_BLOCKS_H

#include <string.h>

#include "qnn_cpu.h"
#include "qnn_elem.h"
#include "qnn_parallel.h"

#if defined(__GNUC__) || defined(__clang__)
#define QNN_BODY static inline __attribute__((always_inline))
#else
#define QNN_BODY static inline
#endif

/* name_c and name_avx2 from the inline function name_body: the same C, which the compiler vectorises for either
   machine. Integer code, or float code of single operations without contraction, hence the same bits. */
#if QNN_X86
#define QNN_TWICE(name, parameters, arguments)                 \
    static void name##_c parameters { name##_body arguments; } \
    QNN_AVX2 static void name##_avx2 parameters { name##_body arguments; }
#else
#define QNN_TWICE(name, parameters, arguments)                 \
    static void name##_c parameters { name##_body arguments; } \
    static void name##_avx2 parameters { name##_body arguments; }
#endif

enum {
    QNN_GRAIN = 16384, /* elements of a block: what one thread does at a time */
    QNN_PART = 1024    /* elements that are worked on within the first-level cache */
};

/* What one worker counted; a cache line, so that workers do not disturb each other. */
typedef struct {
    qnn_counts counts;
    int64_t bad, low, high;
    char line[64 - sizeof(qnn_counts) - 3 * sizeof(int64_t)];
} qnn_tally;

/* Does items begin .. end-1 and adds what it counts to the tally. */
typedef void qnn_block_fn(const void *context, int64_t begin, int64_t end, qnn_tally *tally);

typedef struct {
    qnn_block_fn *function;
    const void *context;
    int64_t items, grain;
    qnn_tally *tallies;
} qnn_blocks;

/* The first item of a block; of the one behind the last, where the items end. */
static inline int64_t qnn_first_item(const qnn_blocks *b, int64_t block)
{
    return block * b->grain < b->items ? block * b->grain : b->items;
}

static inline void qnn_do_block(void *context, int64_t begin, int64_t end, int worker)
{
    const qnn_blocks *b = context;
    b->function(b->context, qnn_first_item(b, begin), qnn_first_item(b, end), b->tallies + worker);
}

/* Runs `function` over items 0 .. items-1 in blocks of `grain`; counts and bad are summed over the workers (integers,
   so the order cannot matter), low and high are the extremes. The split never changes a result. */
static inline qnn_tally qnn_run_blocks(int64_t items, int64_t grain, qnn_how how, qnn_block_fn *function,
                                       const void *context)
{
    qnn_tally tallies[QNN_WORKERS], total;
    qnn_blocks blocks = {function, context, items, grain < 1 ? 1 : grain, tallies};
    memset(&total, 0, sizeof total);
    total.low = INT64_MAX;
    total.high = INT64_MIN;
    for (int i = 0; i < QNN_WORKERS; i++)
        tallies[i] = total;
    qnn_parallel((items + blocks.grain - 1) / blocks.grain, how.threads, qnn_do_block, &blocks);
    for (int i = 0; i < QNN_WORKERS; i++) {
        qnn_counts_add(&total.counts, &tallies[i].counts);
        total.bad += tallies[i].bad;
        total.low = tallies[i].low < total.low ? tallies[i].low : total.low;
        total.high = tallies[i].high > total.high ? tallies[i].high : total.high;
    }
    return total;
}

/* How many rows of `cols` elements make a block. */
static inline int64_t qnn_row_grain(int64_t cols) { return cols >= QNN_GRAIN || cols < 1 ? 1 : QNN_GRAIN / cols; }

/* The same where several steps follow each other in a block, each a function of its own for whole tensors: enough that
   what a call costs does not show. */
static inline int64_t qnn_steps_grain(int64_t cols) { return cols >= 2 * QNN_GRAIN || cols < 1 ? 1 : 2 * QNN_GRAIN / cols; }

/* For such a step: the target of the elements from `at` on, as a tensor of their own. */
static inline qnn_target qnn_target_from(const qnn_target *whole, int64_t at)
{
    qnn_target t = *whole;
    t.start += (uint64_t)at;
    if (t.noise_kind == QNN_NOISE_ARRAY)
        t.noise_array += at;
    return t;
}

static inline const void *qnn_moved(const void *from, int64_t elements, int bytes)
{
    return (const char *)from + elements * bytes;
}

/* Elements from `at` to work on next in rows of `cols`: whole rows (as many as fit QNN_PART), or a part of one row. */
static inline int64_t qnn_next_part(int64_t at, int64_t end, int64_t cols)
{
    int64_t part = QNN_PART;
    if (cols <= QNN_PART)
        part = QNN_PART / cols * cols;
    else if (cols - at % cols < part)
        part = cols - at % cols;
    return part < end - at ? part : end - at;
}

/* Fills `out` with n elements of `size` bytes, whose first `cols` are there, by repeating them. */
static inline void qnn_repeat(void *out, size_t size, int64_t cols, int64_t n)
{
    for (int64_t done = cols, part; done < n; done += part) {
        part = done < n - done ? done : n - done;
        memcpy((char *)out + (size_t)done * size, out, (size_t)part * size);
    }
}

/* How far factors that were repeated for the m elements of such a part serve: whole rows all begin with channel 0. */
static inline int64_t qnn_run_of_pattern(int64_t at, int64_t end, int64_t cols, int64_t m)
{
    return cols <= QNN_PART ? end - at : m;
}

#endif
