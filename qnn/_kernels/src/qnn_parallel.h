/* The one door to threads: runs a function for every block of work, with OpenMP where the compiler has it. */
#ifndef QNN_PARALLEL_H
#define QNN_PARALLEL_H

#include <stdint.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* Does the blocks begin .. end-1; `worker` is 0 .. threads-1 and never runs twice at the same time, so it can own scratch. */
typedef void qnn_task(void *context, int64_t begin, int64_t end, int worker);

static inline int qnn_has_openmp(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

/* How many workers qnn_parallel will use at most: scratch for so many is enough. */
static inline int qnn_workers(int64_t blocks, int threads)
{
    int64_t most = blocks < 1 ? 1 : blocks;
    if (!qnn_has_openmp() || threads < 1)
        return 1;
    return most < threads ? (int)most : threads;
}

#ifdef _OPENMP
/* A share of the blocks that one worker begins with: the next block to do, and the end. A cache line each. */
typedef struct {
    int64_t next, end;
    char line[64 - 2 * sizeof(int64_t)];
} qnn_share;

/* The next block of a share, which several workers may ask for at once. */
static inline int64_t qnn_take(qnn_share *share)
{
    int64_t block;
#pragma omp atomic capture
    block = share->next++;
    return block;
}
#endif

enum { QNN_MOST_SHARES = 64 };

/* Runs the task over blocks 0 .. blocks-1, one block at a time, in any order and on at most `threads` workers. Results may
   not depend on which worker does which block; sums over workers must therefore be integers.

   Each worker begins with neighbouring blocks, the same part of a tensor in one operation after the other, so that what it
   wrote is still in its own cache; then it helps the others. */
static inline void qnn_parallel(int64_t blocks, int threads, qnn_task *task, void *context)
{
    int workers = qnn_workers(blocks, threads < QNN_MOST_SHARES ? threads : QNN_MOST_SHARES);
    if (workers == 1) {
        for (int64_t block = 0; block < blocks; block++)
            task(context, block, block + 1, 0);
        return;
    }
#ifdef _OPENMP
    qnn_share shares[QNN_MOST_SHARES];
    for (int i = 0; i < workers; i++) {
        shares[i].next = blocks / workers * i + blocks % workers * i / workers;
        shares[i].end = blocks / workers * (i + 1) + blocks % workers * (i + 1) / workers;
    }
#pragma omp parallel num_threads(workers)
    {
        int own = omp_get_thread_num();
        for (int i = 0; i < workers; i++) {
            qnn_share *share = shares + (own + i) % workers;
            for (int64_t block = qnn_take(share); block < share->end; block = qnn_take(share))
                task(context, block, block + 1, own);
        }
    }
#endif
}

#endif
