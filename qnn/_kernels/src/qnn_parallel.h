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

/* Runs the task over blocks 0 .. blocks-1, one block at a time, in any order and on at most `threads` workers. Results may
   not depend on which worker does which block; sums over workers must therefore be integers. */
static inline void qnn_parallel(int64_t blocks, int threads, qnn_task *task, void *context)
{
    int workers = qnn_workers(blocks, threads);
    if (workers == 1) {
        for (int64_t block = 0; block < blocks; block++)
            task(context, block, block + 1, 0);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(workers) schedule(dynamic, 1)
    for (int64_t block = 0; block < blocks; block++)
        task(context, block, block + 1, omp_get_thread_num());
#endif
}

#endif
