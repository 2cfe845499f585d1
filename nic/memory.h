/* Driver `memory`: a virtual wire between two cores, in a memfd both map. Each direction is a ring of frame
 * slots with one producer and one consumer; frames are read in place, and built there or, for a core that is far away,
 * in memory of the sender's own (memory_far.h); no system call but in idle.
 * What must survive a killed worker stands in the memfd; a slot is never lost, whoever dies where. */
#pragma once

#include <stdint.h>

/* A slot is a frame's length in 2 bytes and the frame: a small one takes as few cache lines as can be. An odd number of
 * lines, so that the slots don't share a few sets of the caches. */
enum { MEMORY_SLOT = 2112, MEMORY_FRAME_OFFSET = 2, MEMORY_FRAME = 2110, MEMORY_ABI = 2 };

struct memory_direction { /* side s sends in direction s */
    uint32_t head;        /* frames published by the producer */
    uint32_t head_rest[15];
    uint32_t tail;    /* frames given back by the consumer */
    uint32_t claimed; /* frames the consumer has looked at */
    uint32_t adopted; /* tail found by the last adoption */
    uint32_t tail_rest[13];
};

struct memory_wire {
    uint64_t magic; /* "SPLTWIRE" */
    uint32_t abi;
    uint32_t slots; /* in each direction, a power of two */
    uint32_t rest[12];
    struct memory_direction directions[2];
};

struct nic;
uint64_t memory_bytes(uint32_t slots); /* of the whole memfd */
/* base: mapped, zeroed, memory_bytes(slots) long, on a line of 64 bytes. 0, or -EINVAL: slots is no power of two. */
int memory_format(void *base, uint32_t slots);
/* One end of a formatted wire. side: 0 or 1. The NIC goes on where the last holder of this side stopped once its
 * adopt has run. 0, -EBADMSG: no wire, -EINVAL: side, size or place, -ENOMEM. */
int memory_open(void *base, uint64_t bytes, int side, struct nic **nic);
/* How far the other end's core is from ours, in the time that a line takes between their caches: measured all the time
 * unless told. Says where frames are built (memory_far.h). */
enum memory_distance { MEMORY_MEASURED, MEMORY_NEAR, MEMORY_FAR };
void memory_distance(struct nic *nic, enum memory_distance distance);
void memory_close(struct nic *nic);
