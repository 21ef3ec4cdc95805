/* Memory that is used again: results and scratch of kernels. A training step asks for the same sizes every time, and
   memory fresh from the system costs more (a page fault per 4 KiB) than the kernels that fill it. */
#ifndef QNN_ARENA_H
#define QNN_ARENA_H

#include <stdint.h>

enum { QNN_LINE = 64 }; /* alignment of everything that is handed out */

/* The arena as other extensions see it: one for the whole process. */
typedef struct {
    void *(*take)(int64_t bytes); /* aligned to QNN_LINE, not cleared; NULL when there is none. Never of size 0. */
    void (*give)(void *memory);   /* NULL is allowed */
} qnn_arena;

/* --- qnn_arena.c: the arena itself, linked into one extension --- */
const qnn_arena *qnn_arena_get(void);
/* Bytes kept for later at most; what is above goes back to the system, now and from now on. */
void qnn_arena_limit(int64_t bytes);
void qnn_arena_release(void);
void qnn_arena_count(int64_t *used, int64_t *kept);

/* --- qnn_memory.c: the door to it, linked into every extension; plain malloc until an arena is set --- */
void qnn_use_arena(const qnn_arena *arena);
void *qnn_allocate(int64_t bytes);
void qnn_release(void *memory);

#endif
