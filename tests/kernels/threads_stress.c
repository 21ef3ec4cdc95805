/* The pool of threads by itself, for the thread sanitizer (tools/sanitize.sh): callers beside each other, pauses long
   enough for helpers to sleep, tasks that call again. Ends with 0 if every block was done once. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "qnn_parallel.h"

enum { CALLERS = 3, TURNS = 3000, BLOCKS = 257, MOST_THREADS = 9 };

static void add_one(void *context, int64_t begin, int64_t end, int worker)
{
    int64_t *numbers = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        numbers[i] += 1;
}

static void add_one_within(void *context, int64_t begin, int64_t end, int worker)
{
    int64_t inner[2] = {0, 0};
    qnn_parallel(2, 2, add_one, inner);
    if (inner[0] == 1 && inner[1] == 1)
        add_one(context, begin, end, worker);
}

static void *call(void *argument)
{
    int64_t numbers[BLOCKS] = {0};
    for (int64_t turn = (int64_t)(intptr_t)argument; turn < TURNS; turn++) {
        int64_t blocks = turn * 7 % (BLOCKS + 1);
        qnn_parallel(blocks, 1 + (int)(turn * 5 % MOST_THREADS), turn % 3 ? add_one : add_one_within, numbers);
        for (int64_t i = 0; i < BLOCKS; i++) {
            if (numbers[i] != (i < blocks)) {
                fprintf(stderr, "block %lld of %lld was done %lld times\n", (long long)i, (long long)blocks,
                        (long long)numbers[i]);
                exit(1);
            }
            numbers[i] = 0;
        }
        if (turn % 500 == 0)
            nanosleep(&(struct timespec){0, 5000000}, 0);
    }
    return 0;
}

int main(void)
{
    pthread_t callers[CALLERS];
    qnn_use_threads(qnn_threads_get());
    for (int64_t i = 0; i < CALLERS; i++)
        if (pthread_create(callers + i, 0, call, (void *)(intptr_t)i))
            return 2;
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], 0);
    printf("%d helpers, every block once\n", qnn_threads_started());
    return 0;
}
