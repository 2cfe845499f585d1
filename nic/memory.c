/* Driver `memory`: one end of a virtual wire. Owned by one core; the other end is some other core's.
 * Knows nothing of what the frames say. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "memory.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "memory_far.h"
#include "nic.h"

#define MAGIC 0x45524957544c5053u /* "SPLTWIRE" */

_Static_assert(sizeof(struct memory_direction) == 128, "each side's words on lines of their own");
_Static_assert(sizeof(struct memory_wire) == 64 + 2 * 128, "slots start on a line");
_Static_assert(MEMORY_FRAME_OFFSET + MEMORY_FRAME == MEMORY_SLOT, "a slot is its length and the frame");
_Static_assert(MEMORY_SLOT % 128 == 64, "an odd number of cache lines");
_Static_assert((MEMORY_FRAME_OFFSET + 14) % 16 == 0, "IP headers are aligned");

enum {
    SLOTS_OFFSET = 4096,
    OWN = 64,  /* slots of our own to build frames in, a power of two; who has more in hand gets the wire's */
    LOOK = 64, /* every so many readings of the other end's head are timed */
};

struct memory_end {
    struct nic nic;
    struct memory_direction *out, *in;
    uint8_t *out_slots, *in_slots;
    uint32_t mask;
    uint32_t allocated; /* out: slots given by tx_alloc, counted like head */
    uint32_t tail_seen; /* out: the consumer's tail when last read */
    uint32_t head_seen; /* in: likewise */
    uint32_t fetched;   /* in: up to where lines were asked for */
    uint32_t looks;     /* readings of in->head */
    struct distance distance;
    uint8_t *own;
};

uint64_t memory_bytes(uint32_t slots) {
    return SLOTS_OFFSET + 2ull * slots * MEMORY_SLOT;
}

int memory_format(void *base, uint32_t slots) {
    if (slots < 2 || slots > 1u << 20 || (slots & (slots - 1))) {
        return -EINVAL;
    }
    struct memory_wire *wire = base;
    memset(wire, 0, sizeof *wire);
    wire->abi = MEMORY_ABI;
    wire->slots = slots;
    __atomic_store_n(&wire->magic, MAGIC, __ATOMIC_RELEASE);
    return 0;
}

static struct memory_end *end_of(struct nic *nic) {
    return nic->queue;
}

static uint8_t *slot_of(uint8_t *slots, uint32_t slot) {
    return slots + (size_t)slot * MEMORY_SLOT;
}

static void set_frame(struct frame *frame, uint8_t *slots, uint32_t slot) {
    frame->data = slot_of(slots, slot) + MEMORY_FRAME_OFFSET;
    frame->slot = slot;
}

static uint16_t *length_of(uint8_t *slot) {
    return (uint16_t *)slot;
}

/* What the other core wrote or read last lies in its cache: all of a burst's lines are asked for at once. */
static void fetch(uint8_t *slots, uint32_t from, uint32_t mask, uint32_t count, int write) {
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *slot = slot_of(slots, (from + i) & mask);
        if (write) {
            __builtin_prefetch(slot, 1);
            __builtin_prefetch(slot + 64, 1);
        } else {
            __builtin_prefetch(slot);
            __builtin_prefetch(slot + 64);
        }
    }
}

/* What was claimed and not given back is received again: TCP bears a frame twice better than one lost. Unless two
 * workers in a row died over the same frames. */
static int memory_adopt(struct nic *nic) {
    struct memory_end *end = end_of(nic);
    struct memory_direction *in = end->in;
    end->allocated = end->out->head;
    end->tail_seen = __atomic_load_n(&end->out->tail, __ATOMIC_ACQUIRE); /* pairs with memory_release */
    if (in->claimed != in->tail && in->adopted == in->tail + 1) {
        __atomic_store_n(&in->tail, in->claimed, __ATOMIC_RELEASE); /* pairs with room's acquire */
    }
    in->adopted = in->tail + 1; /* 0 = never */
    in->claimed = in->tail;
    end->head_seen = end->fetched = in->claimed;
    return 0;
}

static uint32_t head_of(struct memory_end *end) {
    int timed = end->looks++ % LOOK == 0;
    int64_t begun = timed ? distance_clock() : 0;
    uint32_t head = __atomic_load_n(&end->in->head, __ATOMIC_ACQUIRE); /* pairs with memory_tx_burst */
    if (timed && head != end->head_seen) { /* else the line may have been here all the time */
        distance_sample(&end->distance, distance_clock() - begun);
    }
    return head;
}

static uint32_t memory_rx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct memory_end *end = end_of(nic);
    uint32_t claimed = end->in->claimed;
    if (end->head_seen - claimed < 2 * count) { /* this burst, and the next to ask for its lines in time */
        end->head_seen = head_of(end);
    }
    uint32_t ready = end->head_seen - claimed;
    count = ready < count ? ready : count;
    uint32_t fetched = end->fetched - claimed, next = ready < 2 * count ? ready : 2 * count;
    if (fetched < next) {
        fetch(end->in_slots, claimed + fetched, end->mask, next - fetched, 0);
    }
    end->fetched = claimed + next;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = (claimed + i) & end->mask;
        set_frame(&frames[i], end->in_slots, slot);
        uint32_t length = *length_of(slot_of(end->in_slots, slot));
        frames[i].length = length < MEMORY_FRAME ? length : MEMORY_FRAME;
        nic->stats.rx_bytes += frames[i].length;
    }
    if (count) {
        end->in->claimed = claimed + count;
        nic->stats.rx_frames += count;
    }
    return count;
}

/* Frames come back in the order they were given. */
static void memory_release(struct nic *nic, struct frame *frames, uint32_t count) {
    struct memory_end *end = end_of(nic);
    (void)frames;
    __atomic_store_n(&end->in->tail, end->in->tail + count, __ATOMIC_RELEASE); /* pairs with room's acquire */
}

static uint32_t room(struct memory_end *end, uint32_t wanted) {
    uint32_t slots = end->mask + 1;
    uint32_t free_slots = slots - (end->allocated - end->tail_seen);
    if (free_slots < wanted) {
        end->tail_seen = __atomic_load_n(&end->out->tail, __ATOMIC_ACQUIRE); /* pairs with memory_release */
        free_slots = slots - (end->allocated - end->tail_seen);
    }
    return free_slots < wanted ? free_slots : wanted;
}

static uint32_t memory_tx_alloc(struct nic *nic, struct frame *frames, uint32_t count) {
    struct memory_end *end = end_of(nic);
    uint32_t given = room(end, count);
    int own = end->distance.far && end->allocated - end->out->head + given <= OWN;
    uint8_t *slots = own ? end->own : end->out_slots;
    uint32_t mask = own ? OWN - 1 : end->mask;
    if (!own) {
        fetch(slots, end->allocated, mask, given, 1);
    }
    for (uint32_t i = 0; i < given; i++) {
        set_frame(&frames[i], slots, (end->allocated + i) & mask);
        frames[i].length = MEMORY_FRAME;
    }
    end->allocated += given;
    nic->stats.tx_full += given < count;
    return given;
}

/* frames: the oldest of those allocated, in order. */
static void memory_tx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct memory_end *end = end_of(nic);
    uint32_t head = end->out->head, copied = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *built = frames[i].data - MEMORY_FRAME_OFFSET, *slot = slot_of(end->out_slots, (head + i) & end->mask);
        *length_of(built) = (uint16_t)frames[i].length;
        nic->stats.tx_bytes += frames[i].length;
        if (built != slot) {
            far_copy(slot, built, MEMORY_FRAME_OFFSET + frames[i].length);
            copied++;
        }
    }
    nic->stats.tx_frames += count;
    if (copied) {
        far_fence();
    }
    __atomic_store_n(&end->out->head, head + count, __ATOMIC_RELEASE); /* pairs with head_of */
}

static void memory_idle(struct nic *nic, int64_t nanoseconds, int bell) {
    (void)nic; /* the other end wakes nobody */
    struct pollfd rung = {.fd = bell, .events = POLLIN};
    struct timespec pause = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    ppoll(&rung, 1, &pause, NULL);
}

static void memory_limits(struct nic *nic, struct nic_limits *limits) {
    (void)nic;
    *limits = (struct nic_limits){.frame_bytes = MEMORY_FRAME, .burst = NIC_BURST, .partial_checksums = 1};
}

static const struct nic_driver memory_driver = {
    .name = "memory",
    .adopt = memory_adopt,
    .rx_burst = memory_rx_burst,
    .tx_alloc = memory_tx_alloc,
    .tx_burst = memory_tx_burst,
    .release = memory_release,
    .idle = memory_idle,
    .limits = memory_limits,
};

int memory_open(void *base, uint64_t bytes, int side, struct nic **nic) {
    struct memory_wire *wire = base;
    /* pairs with memory_format */
    if (__atomic_load_n(&wire->magic, __ATOMIC_ACQUIRE) != MAGIC || wire->abi != MEMORY_ABI) {
        return -EBADMSG;
    }
    if ((side != 0 && side != 1) || (uintptr_t)base % 64 || bytes < memory_bytes(wire->slots)) {
        return -EINVAL;
    }
    struct memory_end *end = calloc(1, sizeof *end);
    uint8_t *own = aligned_alloc(64, (size_t)OWN * MEMORY_SLOT);
    if (!end || !own) {
        free(end);
        free(own);
        return -ENOMEM;
    }
    memset(own, 0, (size_t)OWN * MEMORY_SLOT); /* the loop takes no page fault */
    end->own = own;
    distance_begin(&end->distance);
    uint8_t *slots = (uint8_t *)base + SLOTS_OFFSET;
    size_t half = (size_t)wire->slots * MEMORY_SLOT;
    end->out = &wire->directions[side];
    end->in = &wire->directions[1 - side];
    end->out_slots = slots + half * (size_t)side;
    end->in_slots = slots + half * (size_t)(1 - side);
    end->mask = wire->slots - 1;
    end->nic = (struct nic){.driver = &memory_driver, .queue = end, .address = {2, 'S', 'P', 'L', 'T', (uint8_t)side}};
    end->allocated = end->out->head;
    end->tail_seen = end->out->tail;
    end->head_seen = end->in->claimed;
    *nic = &end->nic;
    return 0;
}

void memory_distance(struct nic *nic, enum memory_distance distance) {
    distance_set(&end_of(nic)->distance, distance);
}

void memory_close(struct nic *nic) {
    free(end_of(nic)->own);
    free(nic->queue);
}
