/* Who wants which topic on this core: subscriptions, found by topic and by connection. They lie in the arena's push
 * section behind its state; a subscription counts once it names its record. Links are rebuilt by adoption. Owned by the
 * core. Knows records and their generations, no stream. */
#pragma once

#include <stdint.h>

struct subscription {
    uint64_t topic;
    uint32_t index, generation; /* of the record; index 0: nobody's */
    uint32_t next, previous;    /* round the topic's ring; next alone: free list */
    uint32_t leader_next;       /* first of a topic's ring: the next topic with this hash */
    uint32_t of_record;         /* the record's next subscription */
    uint32_t sequence;          /* of the push it got last */
    uint32_t spare;
};

struct core;
uint64_t topic_bytes(uint64_t connections, uint64_t subscriptions); /* what the arena sets aside, behind push_state */
void topic_attach(struct core *core, void *memory);
/* 1, or 0: no room (counted). Subscribed already: 1. */
int topic_subscribe(struct core *core, uint32_t index, uint64_t topic);
int topic_unsubscribe(struct core *core, uint32_t index, uint64_t topic); /* 1, or 0: it had not subscribed */
void topic_forget(struct core *core, uint32_t index);                     /* all of a record's */
uint32_t topic_first(const struct core *core, uint64_t topic);            /* 0 = nobody */
uint32_t topic_next(const struct core *core, uint32_t number);            /* 0 = round */
struct subscription *topic_at(const struct core *core, uint32_t number);
void topic_recover(struct core *core);
