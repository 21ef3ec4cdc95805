/* The one door to threads: runs a function for every block of work. */
#ifndef QNN_PARALLEL_H
#define QNN_PARALLEL_H

#include <stdint.h>

enum { QNN_WORKERS = 64 }; /* more threads than this bring nothing for work of this kind */

/* Does the blocks begin .. end-1; `worker` is 0 .. threads-1 and never runs twice at the same time, so it can own scratch. */
typedef void qnn_task(void *context, int64_t begin, int64_t end, int worker);

/* The threads as other extensions see them: one pool for the whole process. */
typedef struct {
    /* Runs the task over blocks 0 .. blocks-1 on 1 .. workers threads, the caller's among them; 2 <= workers. */
    void (*run)(int64_t blocks, int workers, qnn_task *task, void *context);
} qnn_threads;

/* --- qnn_threads.c: the pool itself, linked into one extension --- */
const qnn_threads *qnn_threads_get(void); /* NULL where the system has no threads that we know */
int qnn_threads_started(void);

/* --- qnn_parallel.c: the door to it, linked into every extension; one thread until a pool is set --- */
void qnn_use_threads(const qnn_threads *pool);
int qnn_has_threads(void);

/* How many workers qnn_parallel will use at most: scratch for so many is enough. */
int qnn_workers(int64_t blocks, int threads);

/* Runs the task over blocks 0 .. blocks-1, one block at a time, in any order and on at most `threads` workers. Results may
   not depend on which worker does which block; sums over workers must therefore be integers. */
void qnn_parallel(int64_t blocks, int threads, qnn_task *task, void *context);

#endif
