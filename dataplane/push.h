/* What the control plane pushes to a core's connections: to one, to all, to those that subscribed a topic. A push comes
 * as one or more messages of the ring, lies in the buffer section once (share.h), and is queued to its receivers a few
 * a turn, one push after the other. Lives in the arena's push section: a new worker goes on where the dead one was. */
#pragma once

#include <stdint.h>

enum push_kind {
    PUSH_SEND,      /* to: a handle */
    PUSH_BROADCAST, /* to: a listener of the core, PUSH_EVERY_LISTENER = all */
    PUSH_PUBLISH,   /* to: a topic */
};
enum { PUSH_EVERY_LISTENER = 255, PUSH_PART_HEADER = 24, PUSH_JOBS = 32, PUSH_STATE_BYTES = 1088 };

/* The payload of an EVENT_PUSH message; bytes follow, `total` of them in all parts together. */
struct push_part {
    uint64_t to;
    uint32_t sequence; /* of the push; grows by one */
    uint32_t total, offset;
    uint32_t kind; /* enum push_kind */
};

struct push_job {
    uint64_t to;
    uint32_t kind;
    uint32_t share;    /* what is pushed */
    uint32_t sequence; /* of the push */
    uint32_t cursor;   /* broadcast: the last record looked at; publish: the next subscription, 0 = none */
    uint32_t begun;    /* 1: the cursor is set */
    uint32_t adopted;  /* 1: a new worker goes on with it: its next receiver may have it already */
};

struct push_state {                /* at the start of the push section; subscriptions follow (topic.h) */
    uint32_t job_first, job_count; /* stored at once */
    uint32_t sequence;             /* of the newest push that came whole */
    uint32_t part_share, part_sequence, part_have; /* the one that is coming in parts; 0 = none */
    uint32_t topic_free, topic_fresh;              /* subscriptions: free list, first never used */
    struct push_job jobs[PUSH_JOBS];
};

struct core;
/* A part, as it came: 1, or 0: no room now, hand it in again before anything that came later. */
int push_receive(struct core *core, const uint8_t *payload, uint32_t length);
/* Queues what is to be pushed to the next receivers, bounded; how many. */
uint32_t push_turn(struct core *core);
uint32_t push_waiting(const struct core *core); /* pushes that are not through */
/* Adoption: marks what is yet to be pushed as in use. Between the marking of the blocks and the counting of shares. */
void push_recover(struct core *core);
