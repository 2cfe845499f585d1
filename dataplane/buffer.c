/* Buffers of a core: buddies of 2^6 to 2^20 bytes. Rebuilt by adoption from the busy blocks that own them (busy.c), so
 * nothing here needs an intent: a buffer is owned once its block names it. Knows no protocol. */
#include "buffer.h"

#include <string.h>
#include "core.h"
#include "crash.h"
#include "inline.h"
#include "record.h"
#include "record_pool.h"

enum { UNIT = 64, CLASSES = BUFFER_CLASS_MAX - BUFFER_CLASS_MIN + 1 };
enum { KEEP = 8 }; /* free buffers of a class that are not joined: taking and giving one must not split and join all */

_Static_assert(CLASSES == 15, "struct core_state counts so many classes");

/* A free buffer's first bytes; lists are circular, both ways. */
struct free_buffer {
    uint32_t next, previous;
};

uint64_t buffer_section_bytes(uint64_t buffer_bytes) {
    uint64_t whole = buffer_bytes / UNIT * UNIT;
    return whole + whole / UNIT;
}

static uint8_t *map_of(const struct core *core) {
    return core->buffers + core->buffer_bytes;
}

static struct free_buffer *free_at(const struct core *core, uint32_t buffer) {
    return (void *)(core->buffers + (uint64_t)buffer * UNIT);
}

static uint32_t units_of(uint32_t size_class) {
    return 1u << (size_class - BUFFER_CLASS_MIN);
}

/* The map says for each unit which class of free buffer starts there, 0 = none: a freed buffer finds its buddy by it.
 */
static void list_push(struct core *core, uint32_t buffer, uint32_t size_class) {
    uint32_t *head = &core->state->buffer_free[size_class - BUFFER_CLASS_MIN];
    struct free_buffer *link = free_at(core, buffer);
    if (*head) {
        struct free_buffer *first = free_at(core, *head);
        *link = (struct free_buffer){*head, first->previous};
        free_at(core, first->previous)->next = buffer;
        first->previous = buffer;
    } else {
        *link = (struct free_buffer){buffer, buffer};
    }
    *head = buffer;
    map_of(core)[buffer] = (uint8_t)size_class;
    core->state->buffer_count[size_class - BUFFER_CLASS_MIN]++;
    core->buffer_classes |= 1u << size_class;
}

static void list_remove(struct core *core, uint32_t buffer, uint32_t size_class) {
    uint32_t *head = &core->state->buffer_free[size_class - BUFFER_CLASS_MIN];
    struct free_buffer link = *free_at(core, buffer);
    if (link.next == buffer) {
        *head = 0;
        core->buffer_classes &= ~(1u << size_class);
    } else {
        free_at(core, link.previous)->next = link.next;
        free_at(core, link.next)->previous = link.previous;
        if (*head == buffer)
            *head = link.next;
    }
    map_of(core)[buffer] = 0;
    core->state->buffer_count[size_class - BUFFER_CLASS_MIN]--;
}

/* May this one be joined with its buddy? A class keeps `keep` of its own. */
static int joins(const struct core *core, uint32_t buffer, uint32_t size_class, uint32_t keep) {
    if (size_class >= BUFFER_CLASS_MAX || core->state->buffer_count[size_class - BUFFER_CLASS_MIN] < keep)
        return 0;
    uint32_t buddy = buffer ^ units_of(size_class);
    return (uint64_t)buddy * UNIT < core->buffer_bytes && map_of(core)[buddy] == size_class;
}

/* Frees a buffer, joined with its buddy, and that with its own. */
static NEVER_INLINE void join(struct core *core, uint32_t buffer, uint32_t size_class, uint32_t keep) {
    while (joins(core, buffer, size_class, keep)) {
        list_remove(core, buffer ^ units_of(size_class), size_class);
        buffer &= ~units_of(size_class);
        size_class++;
    }
    list_push(core, buffer, size_class);
}

/* Buddies were left apart only while their class held fewer than KEEP, so they are among its KEEP oldest. */
static void join_kept(struct core *core, uint32_t wanted) {
    for (uint32_t size_class = BUFFER_CLASS_MIN; size_class < wanted; size_class++) {
        uint32_t *head = &core->state->buffer_free[size_class - BUFFER_CLASS_MIN];
        uint32_t kept[KEEP];
        uint32_t count = 0;
        for (uint32_t at = *head ? free_at(core, *head)->previous : 0; at && count < KEEP;) {
            kept[count++] = at;
            at = at == *head ? 0 : free_at(core, at)->previous;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (map_of(core)[kept[i]] != size_class || map_of(core)[kept[i] ^ units_of(size_class)] != size_class)
                continue;
            list_remove(core, kept[i], size_class);
            join(core, kept[i], size_class, 0);
        }
    }
}

/* The largest aligned buffer at the start of what was never used; its class, or 0: all is in use. */
static uint32_t fresh_class(const struct core *core) {
    uint64_t start = core->state->buffer_fresh;
    uint32_t size_class = BUFFER_CLASS_MAX;
    while (size_class >= BUFFER_CLASS_MIN &&
           (start & ((1ull << size_class) - 1) || start + (1ull << size_class) > core->buffer_bytes))
        size_class--;
    return size_class >= BUFFER_CLASS_MIN ? size_class : 0;
}

static void carve(struct core *core, uint32_t wanted) {
    uint32_t size_class;
    do {
        size_class = fresh_class(core);
        if (!size_class)
            return;
        list_push(core, (uint32_t)(core->state->buffer_fresh / UNIT), size_class);
        core->state->buffer_fresh += 1ull << size_class;
    } while (size_class < wanted);
}

/* The smallest class of at least this with a free buffer, or 0. */
static uint32_t class_with(const struct core *core, uint32_t size_class) {
    uint32_t larger = core->buffer_classes >> size_class;
    return larger ? size_class + (uint32_t)__builtin_ctz(larger) : 0;
}

/* The smallest buffers come and go with every small answer, so the last few given back stay at hand, in no list: what a
 * kill leaves there belongs to nobody, and adoption finds it so. */
static void hand_empty(struct core *core) {
    while (core->state->buffers_at_hand)
        join(core, core->at_hand[--core->state->buffers_at_hand], BUFFER_CLASS_MIN, KEEP);
}

static NEVER_INLINE uint32_t make_class(struct core *core, uint32_t wanted) {
    hand_empty(core);
    uint32_t size_class = class_with(core, wanted);
    if (size_class)
        return size_class;
    carve(core, wanted);
    if ((size_class = class_with(core, wanted)))
        return size_class;
    join_kept(core, wanted);
    return class_with(core, wanted);
}

static uint32_t find_class(struct core *core, uint32_t wanted) {
    uint32_t size_class = class_with(core, wanted);
    return size_class ? size_class : make_class(core, wanted);
}

uint32_t buffer_take(struct core *core, uint32_t size_class) {
    if (size_class < BUFFER_CLASS_MIN || size_class > BUFFER_CLASS_MAX)
        return 0;
    if (size_class == BUFFER_CLASS_MIN && core->state->buffers_at_hand)
        return core->at_hand[--core->state->buffers_at_hand];
    uint32_t from = find_class(core, size_class);
    if (!from)
        return 0;
    uint32_t buffer = core->state->buffer_free[from - BUFFER_CLASS_MIN];
    list_remove(core, buffer, from);
    while (from > size_class) {
        from--;
        list_push(core, buffer + units_of(from), from);
    }
    return buffer;
}

int buffer_ready(const struct core *core, uint32_t size_class) {
    return size_class <= BUFFER_CLASS_MAX && core->buffer_classes >> size_class;
}

uint32_t buffer_largest(struct core *core, uint32_t most) {
    for (uint32_t size_class = most; size_class >= BUFFER_CLASS_MIN; size_class--)
        if (find_class(core, size_class))
            return size_class;
    return 0;
}

void buffer_give(struct core *core, uint32_t buffer, uint32_t size_class) {
    if (size_class == BUFFER_CLASS_MIN && core->state->buffers_at_hand < CORE_AT_HAND)
        core->at_hand[core->state->buffers_at_hand++] = buffer;
    else if (joins(core, buffer, size_class, KEEP))
        join(core, buffer, size_class, KEEP);
    else
        list_push(core, buffer, size_class);
}

uint8_t *buffer_bytes_at(struct core *core, uint32_t buffer) {
    return core->buffers + (uint64_t)buffer * UNIT;
}

uint64_t buffer_free_bytes(const struct core *core) {
    uint64_t bytes = 0;
    for (uint32_t size_class = BUFFER_CLASS_MIN; size_class <= BUFFER_CLASS_MAX; size_class++)
        bytes += (uint64_t)core->state->buffer_count[size_class - BUFFER_CLASS_MIN] << size_class;
    bytes += (uint64_t)core->state->buffers_at_hand << BUFFER_CLASS_MIN;
    return bytes + core->buffer_bytes - core->state->buffer_fresh;
}
