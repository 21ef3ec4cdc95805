/* The arena: freed blocks wait in one list per size, eight sizes to a doubling, the last one freed first (it is still
   in the caches). Small blocks are left to malloc, which is quick there. */
#include "qnn_arena.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 1 << 14, STEPS = 8, LISTS = 50 * STEPS };

/* Stands before every block, and fills a line. */
typedef struct header {
    struct header *next;
    void *raw; /* what malloc gave */
    int64_t bytes;
    int list; /* -1: too small to be kept */
} header;

static atomic_flag lock = ATOMIC_FLAG_INIT;
static header *lists[LISTS];
static int64_t used, kept, limit = (int64_t)512 << 20;

/* The lock is held for a few instructions, so waiting for it never needs the system. */
static void enter(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        ;
}

static void leave(void) { atomic_flag_clear_explicit(&lock, memory_order_release); }

/* The list of a size, and the size of all blocks in it: (8 + part) * 2^(power - 3), the smallest that is enough. */
static int list_of(int64_t bytes, int64_t *size)
{
    int power = 3;
    while (bytes > (int64_t)(2 * STEPS - 1) << (power - 3))
        power++;
    int64_t unit = (int64_t)1 << (power - 3), parts = (bytes + unit - 1) / unit;
    *size = parts * unit;
    return (power - 3) * STEPS + (int)(parts - STEPS);
}

static header *new_block(int64_t size, int list)
{
    char *raw = malloc((size_t)size + 2 * QNN_LINE);
    if (!raw)
        return 0;
    header *block = (header *)(void *)(raw + QNN_LINE - (uintptr_t)raw % QNN_LINE);
    *block = (header){0, raw, size, list};
    return block;
}

static void *take(int64_t bytes)
{
    int64_t size = bytes;
    int list = -1;
    header *block = 0;
    _Static_assert(sizeof(header) <= QNN_LINE, "a header must not push a block off its line");
    if (bytes < 0 || (uint64_t)bytes > (uint64_t)(SIZE_MAX / 4))
        return 0;
#if !defined(__SANITIZE_ADDRESS__) /* which watches malloc, and would not see a block that is used after it was freed */
    if (bytes > SMALL)
        list = list_of(bytes, &size);
#endif
    if (list >= 0) {
        enter();
        block = lists[list];
        if (block) {
            lists[list] = block->next;
            kept -= block->bytes;
            used += block->bytes;
        }
        leave();
    }
    if (!block) {
        block = new_block(size, list);
        if (!block && kept > 0) { /* what is kept in other sizes may be what is missing */
            qnn_arena_release();
            block = new_block(size, list);
        }
        if (!block)
            return 0;
        enter();
        used += list >= 0 ? size : 0;
        leave();
    }
    return (char *)block + QNN_LINE;
}

static void give(void *memory)
{
    if (!memory)
        return;
    header *block = (header *)(void *)((char *)memory - QNN_LINE);
    if (block->list >= 0) {
        enter();
        used -= block->bytes;
        int keep = kept + block->bytes <= limit;
        if (keep) {
            kept += block->bytes;
            block->next = lists[block->list];
            lists[block->list] = block;
        }
        leave();
        if (keep)
            return;
    }
    free(block->raw);
}

const qnn_arena *qnn_arena_get(void)
{
    static const qnn_arena arena = {take, give};
#if !defined(_WIN32)
    /* A child must not inherit a lock that a thread of the parent holds: nobody would ever open it. */
    static atomic_flag once = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&once))
        pthread_atfork(enter, leave, leave);
#endif
    return &arena;
}

void qnn_arena_release(void)
{
    for (int i = 0; i < LISTS; i++) {
        enter();
        header *block = lists[i];
        lists[i] = 0;
        for (header *b = block; b; b = b->next)
            kept -= b->bytes;
        leave();
        while (block) {
            header *next = block->next;
            free(block->raw);
            block = next;
        }
    }
}

void qnn_arena_limit(int64_t bytes)
{
    enter();
    limit = bytes;
    int above = kept > limit;
    leave();
    if (above)
        qnn_arena_release();
}

void qnn_arena_count(int64_t *in_use, int64_t *waiting)
{
    enter();
    *in_use = used;
    *waiting = kept;
    leave();
}
