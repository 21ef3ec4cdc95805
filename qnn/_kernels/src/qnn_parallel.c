/* The door to the threads. Extensions are libraries of their own; the one pool is handed to each when it is loaded. */
#include "qnn_parallel.h"

static const qnn_threads *pool;

/* Called once, before any kernel runs. */
void qnn_use_threads(const qnn_threads *threads) { pool = threads; }

int qnn_has_threads(void) { return pool != 0; }

int qnn_workers(int64_t blocks, int threads)
{
    int64_t most = threads < QNN_WORKERS ? threads : QNN_WORKERS;
    if (!pool || most < 1 || blocks < 1)
        return 1;
    return (int)(blocks < most ? blocks : most);
}

void qnn_parallel(int64_t blocks, int threads, qnn_task *task, void *context)
{
    int workers = qnn_workers(blocks, threads);
    if (workers > 1)
        pool->run(blocks, workers, task, context);
    else
        for (int64_t block = 0; block < blocks; block++)
            task(context, block, block + 1, 0);
}
