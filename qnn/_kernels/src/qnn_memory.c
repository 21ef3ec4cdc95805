/* The door to the arena. Extensions are libraries of their own; the one arena is handed to each when it is loaded. */
#include <stdlib.h>
#include <string.h>

#include "qnn_arena.h"

/* A whole number of lines, aligned to one; the pointer that malloc gave lies just before. */
static void *plain_take(int64_t bytes)
{
    if (bytes < 0 || (uint64_t)bytes > (uint64_t)(SIZE_MAX / 2))
        return 0;
    char *raw = malloc((size_t)bytes + 2 * QNN_LINE);
    if (!raw)
        return 0;
    char *memory = raw + 2 * QNN_LINE - (uintptr_t)raw % QNN_LINE;
    memcpy(memory - sizeof raw, &raw, sizeof raw);
    return memory;
}

static void plain_give(void *memory)
{
    if (!memory)
        return;
    void *raw;
    memcpy(&raw, (char *)memory - sizeof raw, sizeof raw);
    free(raw);
}

static qnn_arena current = {plain_take, plain_give};

/* Called once, before anything was allocated. */
void qnn_use_arena(const qnn_arena *arena) { current = *arena; }

void *qnn_allocate(int64_t bytes) { return current.take(bytes); }

void qnn_release(void *memory) { current.give(memory); }
