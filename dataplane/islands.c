/* Bytes beyond a hole. Half of the core's buffers are never used for them: a peer that sends every second byte can't
 * take the memory that bytes in order need. Owned by the core. */
#include "islands.h"

#include "buffer.h"
#include "crash.h"
#include "handler.h"
#include "tcp_inside.h"

_Static_assert(sizeof(struct islands) <= 1 << ISLANDS_CLASS, "the list fits its buffer");

static struct islands *islands_of(struct core *core, uint32_t index) {
    const struct busy *busy = busy_of(core, index);
    return busy && busy->islands ? (void *)buffer_bytes_at(core, busy->islands) : NULL;
}

void islands_drop(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    if (!busy || !busy->islands) {
        return;
    }
    uint32_t list = busy->islands;
    busy->islands = 0;
    CRASH_POINT(islands_left);
    busy_give_islands(core, list);
}

/* A list without a range; its ring holds the largest window the actor can have. */
static struct islands *islands_take(struct core *core, uint32_t index) {
    uint32_t most = core->listeners[core->records[index].listener].actor->max_unconsumed, size_class = BUFFER_CLASS_MIN;
    while (1u << size_class < most && size_class < BUFFER_CLASS_MAX) {
        size_class++;
    }
    uint64_t wanted = (1ull << size_class) + (1 << ISLANDS_CLASS);
    struct busy *busy = buffer_free_bytes(core) >= core->buffer_bytes / 2 + wanted ? tcp_busy(core, index) : NULL;
    uint32_t list = busy ? buffer_take(core, ISLANDS_CLASS) : 0;
    if (!list) {
        return NULL;
    }
    uint32_t buffer = buffer_take(core, size_class);
    if (!buffer) {
        buffer_give(core, list, ISLANDS_CLASS);
        return NULL;
    }
    struct islands *islands = (void *)buffer_bytes_at(core, list);
    *islands = (struct islands){.buffer = buffer, .size_class = size_class};
    CRASH_POINT(islands_taken);
    busy->islands = list; /* from here on owned */
    return islands;
}

static void forget(struct islands *islands, uint32_t number) {
    islands->count--;
    for (; number < islands->count; number++) {
        islands->at[number] = islands->at[number + 1];
    }
}

/* The range comes first, joined with those it touches. 0: too many would be left. */
static int enter(struct islands *islands, struct island fresh) {
    for (uint32_t i = islands->count; i-- > 0;) {
        struct island other = islands->at[i];
        if (seq_diff(fresh.start, other.end) <= 0 && seq_diff(other.start, fresh.end) <= 0) {
            fresh.start = seq_diff(other.start, fresh.start) < 0 ? other.start : fresh.start;
            fresh.end = seq_diff(other.end, fresh.end) > 0 ? other.end : fresh.end;
            forget(islands, i);
        }
    }
    if (islands->count == ISLANDS_MOST) {
        return 0;
    }
    for (uint32_t i = islands->count++; i > 0; i--) {
        islands->at[i] = islands->at[i - 1];
    }
    islands->at[0] = fresh;
    return 1;
}

int islands_keep(struct core *core, uint32_t index, uint32_t seq, const uint8_t *data, uint32_t length) {
    const struct record *record = &core->records[index];
    struct islands *islands = islands_of(core, index);
    if (!islands && !(islands = islands_take(core, index))) {
        return 0;
    }
    uint32_t size = 1u << islands->size_class, ahead = seq - record->rcv_nxt;
    uint32_t edge = lesser(record->rcv_edge - record->rcv_nxt, size);
    length = ahead < edge ? lesser(length, edge - ahead) : 0;
    if (!length || !enter(islands, (struct island){seq, seq + length})) {
        if (!islands->count) {
            islands_drop(core, index);
        }
        return 0;
    }
    uint8_t *bytes = buffer_bytes_at(core, islands->buffer);
    uint32_t at = seq & (size - 1), first = lesser(length, size - at);
    memcpy(bytes + at, data, first);
    memcpy(bytes, data + first, length - first);
    return 1;
}

const uint8_t *islands_next(struct core *core, uint32_t index, uint32_t *length) {
    const struct record *record = &core->records[index];
    struct islands *islands = islands_of(core, index);
    for (uint32_t i = islands ? islands->count : 0; i-- > 0;) {
        struct island island = islands->at[i];
        if (seq_diff(island.end, record->rcv_nxt) <= 0) {
            forget(islands, i);
        } else if (seq_diff(island.start, record->rcv_nxt) <= 0) {
            uint32_t size = 1u << islands->size_class, at = record->rcv_nxt & (size - 1);
            *length = lesser(island.end - record->rcv_nxt, size - at);
            return buffer_bytes_at(core, islands->buffer) + at;
        }
    }
    if (islands && !islands->count) {
        islands_drop(core, index);
    }
    return NULL;
}

uint32_t islands_blocks(struct core *core, uint32_t index, struct island *blocks) {
    const struct islands *islands = islands_of(core, index);
    uint32_t count = islands ? lesser(islands->count, SACK_BLOCKS) : 0;
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = islands->at[i];
    }
    return count;
}
