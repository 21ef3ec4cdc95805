/* The pool of threads. A training step calls some hundred kernels with a gap of microseconds between them, so a helper
   that has nothing to do looks for work for a while before it sleeps; meanwhile it offers its core to whoever else wants
   it. The caller never waits for a helper that has not begun: it takes its offer back and does the blocks itself, so
   helpers that get no core cost nothing. */
#define _POSIX_C_SOURCE 200809L /* signal masks */
#include "qnn_parallel.h"

#if defined(_WIN32)

const qnn_threads *qnn_threads_get(void) { return 0; }

int qnn_threads_started(void) { return 0; }

#else

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() (void)0
#endif

enum {
    LINE = 64,       /* what is written by different threads lies in different cache lines */
    PAUSES = 32,     /* looks for work, about a microsecond, between two offers of the core, */
    ROUNDS = 200,    /* and so many of these before a helper sleeps: some hundred microseconds */
    STACK = 1 << 20  /* bytes; kernels keep little on it */
};

/* Blocks that one worker begins with: the next one, and the end. */
typedef struct {
    _Alignas(LINE) _Atomic int64_t next;
    int64_t end;
} share;

/* A call of qnn_parallel; lies on its caller's stack, so no helper may touch it after it has counted itself out. */
typedef struct {
    qnn_task *task;
    void *context;
    int workers;
    atomic_int helping; /* helpers that have begun or still could */
    share shares[QNN_WORKERS];
} job;

typedef struct {
    _Alignas(LINE) _Atomic(job *) offer; /* whoever takes it out owns it: the helper to do it, the caller to end it */
    atomic_int asleep;
    pthread_mutex_t lock;
    pthread_cond_t wake;
} helper;

static helper helpers[QNN_WORKERS - 1];
static atomic_int started;                  /* helpers that exist; only who holds `busy` changes it */
static int refused;                         /* the system gave no more: asking again costs more than small kernels do */
static atomic_flag busy = ATOMIC_FLAG_INIT; /* a call is being served */

/* Each worker begins with neighbouring blocks, the same part of a tensor in one operation after the other, so that what
   it wrote is still in its own cache; then it helps the others. */
static void work(job *j, int own)
{
    for (int i = 0; i < j->workers; i++) {
        share *s = j->shares + (own + i) % j->workers;
        for (;;) {
            int64_t block = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
            if (block >= s->end)
                break;
            j->task(j->context, block, block + 1, own);
        }
    }
}

static job *take(helper *h)
{
    if (!atomic_load_explicit(&h->offer, memory_order_relaxed))
        return 0;
    return atomic_exchange_explicit(&h->offer, 0, memory_order_acq_rel);
}

static job *wait_for_work(helper *h)
{
    for (;;) {
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < PAUSES; i++) {
                job *found = take(h);
                if (found)
                    return found;
                PAUSE();
            }
            sched_yield();
        }
        /* `asleep` is set before the last look, and the offer is made before `asleep` is read: one of the two sees the
           other's. */
        pthread_mutex_lock(&h->lock);
        atomic_store(&h->asleep, 1);
        while (!atomic_load(&h->offer))
            pthread_cond_wait(&h->wake, &h->lock);
        atomic_store(&h->asleep, 0);
        pthread_mutex_unlock(&h->lock);
    }
}

static void *live(void *argument)
{
    helper *h = argument;
    fesetenv(FE_DFL_ENV); /* a thread has its creator's mode, which may round otherwise or flush subnormals */
    for (;;) {
        job *j = wait_for_work(h);
        work(j, (int)(h - helpers) + 1);
        atomic_fetch_sub_explicit(&j->helping, 1, memory_order_release);
    }
    return 0;
}

static void offer(helper *h, job *j)
{
    atomic_store(&h->offer, j);
    if (atomic_load(&h->asleep)) {
        pthread_mutex_lock(&h->lock);
        pthread_cond_signal(&h->wake);
        pthread_mutex_unlock(&h->lock);
    }
}

/* Starts helpers until there are `wanted`, or as many as the system gives. */
static void start(int wanted)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t all, before;
    pthread_attr_t attributes;
    if (started >= wanted || refused || pthread_attr_init(&attributes))
        return;
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are for the program's own threads, but for those that a thread raises by its own fault */
    for (int i = 0; i < (int)(sizeof faults / sizeof *faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; started < wanted; started++) {
        helper *h = helpers + started;
        pthread_t thread;
        atomic_store(&h->offer, 0);
        atomic_store(&h->asleep, 0);
        refused = pthread_mutex_init(&h->lock, 0) || pthread_cond_init(&h->wake, 0) ||
                  pthread_create(&thread, &attributes, live, h);
        if (refused)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    pthread_attr_destroy(&attributes);
}

static void run(int64_t blocks, int workers, qnn_task *task, void *context)
{
    if (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) { /* another thread's kernel has the pool */
        for (int64_t block = 0; block < blocks; block++)
            task(context, block, block + 1, 0);
        return;
    }
    start(workers - 1);
    if (workers > started + 1)
        workers = started + 1;
    job j = {.task = task, .context = context, .workers = workers};
    atomic_init(&j.helping, workers - 1);
    for (int64_t i = 0; i < workers; i++) {
        atomic_init(&j.shares[i].next, blocks / workers * i + blocks % workers * i / workers);
        j.shares[i].end = blocks / workers * (i + 1) + blocks % workers * (i + 1) / workers;
    }
    for (int i = 0; i < workers - 1; i++)
        offer(helpers + i, &j);
    work(&j, 0);
    for (int i = 0; i < workers - 1; i++)
        if (take(helpers + i)) /* not begun, and nothing is left */
            atomic_fetch_sub_explicit(&j.helping, 1, memory_order_relaxed);
    while (atomic_load_explicit(&j.helping, memory_order_acquire)) {
        for (int i = 0; i < PAUSES && atomic_load_explicit(&j.helping, memory_order_relaxed); i++)
            PAUSE();
        if (atomic_load_explicit(&j.helping, memory_order_relaxed))
            sched_yield();
    }
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

/* Only the thread that forks lives on in the child. */
static void forget(void)
{
    started = 0;
    refused = 0;
    atomic_flag_clear(&busy);
}

const qnn_threads *qnn_threads_get(void)
{
    static const qnn_threads pool = {run};
    static atomic_flag once = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&once))
        pthread_atfork(0, 0, forget);
    return &pool;
}

int qnn_threads_started(void) { return started; }

#endif
