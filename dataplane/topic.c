/* Subscriptions: a ring for each topic, whose first stands in a hash table, and a chain for each record. Owned by the
 * core. */
#include "topic.h"

#include <string.h>
#include "core.h"
#include "count.h"
#include "crash.h"
#include "push.h"
#include "record.h"
#include "record_pool.h"

_Static_assert(sizeof(struct subscription) == 40, "topics.md's arithmetic");

static uint64_t buckets_for(uint64_t subscriptions) {
    uint64_t buckets = 1;
    while (buckets < subscriptions)
        buckets *= 2;
    return buckets;
}

uint64_t topic_bytes(uint64_t connections, uint64_t subscriptions) {
    if (!subscriptions)
        return 0;
    return (subscriptions + 1) * sizeof(struct subscription) +
           (buckets_for(subscriptions) + connections + 1) * sizeof(uint32_t);
}

void topic_attach(struct core *core, void *memory) {
    core->subscribed = memory;
    core->topic_leaders = (void *)&core->subscribed[core->subscriptions + 1];
    core->topics_of = core->topic_leaders + buckets_for(core->subscriptions);
}

struct subscription *topic_at(const struct core *core, uint32_t number) {
    return &core->subscribed[number];
}

/* The multiplication spreads numbers that differ in their low or high bits alone. */
static uint32_t *leader_of(const struct core *core, uint64_t topic) {
    uint64_t mixed = (topic ^ core->state->key[3]) * 0x9e3779b97f4a7c15ull;
    return &core->topic_leaders[(mixed >> 32) & (buckets_for(core->subscriptions) - 1)];
}

static uint32_t *leader_link(const struct core *core, uint64_t topic) {
    uint32_t *link = leader_of(core, topic);
    while (*link && topic_at(core, *link)->topic != topic)
        link = &topic_at(core, *link)->leader_next;
    return link;
}

uint32_t topic_first(const struct core *core, uint64_t topic) {
    return core->subscriptions ? *leader_link(core, topic) : 0;
}

uint32_t topic_next(const struct core *core, uint32_t number) {
    const struct subscription *one = topic_at(core, number);
    __builtin_prefetch(topic_at(core, topic_at(core, one->next)->next));
    __builtin_prefetch(&core->records[topic_at(core, one->next)->index], 1);
    return one->next == topic_first(core, one->topic) ? 0 : one->next;
}

/* Right behind the first: a push under way is beyond that. */
static void link_in(struct core *core, uint32_t number) {
    struct subscription *one = topic_at(core, number);
    uint32_t *link = leader_link(core, one->topic);
    if (!*link) {
        one->next = one->previous = number;
        one->leader_next = 0;
        *link = number;
    } else {
        struct subscription *first = topic_at(core, *link);
        one->next = first->next;
        one->previous = *link;
        topic_at(core, first->next)->previous = number;
        first->next = number;
    }
    one->of_record = core->topics_of[one->index];
    core->topics_of[one->index] = number;
}

static void pass_by(struct core *core, uint32_t number) {
    for (uint32_t i = 0; i < core->push->job_count; i++) {
        struct push_job *job = &core->push->jobs[(core->push->job_first + i) % PUSH_JOBS];
        if (job->kind == PUSH_PUBLISH && job->cursor == number)
            job->cursor = topic_next(core, number);
    }
}

/* Out of its topic's ring, onto the free list. The record's chain is the caller's. */
static void remove_one(struct core *core, uint32_t number) {
    struct subscription *one = topic_at(core, number);
    pass_by(core, number);
    one->index = RECORD_NONE;
    CRASH_POINT(topic_left);
    uint32_t *link = leader_link(core, one->topic);
    if (*link == number) {
        uint32_t heir = one->next == number ? one->leader_next : one->next;
        if (one->next != number)
            topic_at(core, heir)->leader_next = one->leader_next;
        *link = heir;
    }
    topic_at(core, one->previous)->next = one->next;
    topic_at(core, one->next)->previous = one->previous;
    CRASH_POINT(topic_unlinked);
    one->next = core->push->topic_free;
    core->push->topic_free = number;
}

static uint32_t take(struct core *core) {
    uint32_t number = core->push->topic_free;
    if (number)
        core->push->topic_free = topic_at(core, number)->next;
    else if (core->push->topic_fresh < core->subscriptions)
        number = ++core->push->topic_fresh;
    else
        count(core, COUNTER_SUBSCRIPTIONS_FULL, 1);
    return number;
}

static uint32_t *find(struct core *core, uint32_t index, uint64_t topic) {
    uint32_t *link = &core->topics_of[index];
    while (*link && topic_at(core, *link)->topic != topic)
        link = &topic_at(core, *link)->of_record;
    return link;
}

int topic_subscribe(struct core *core, uint32_t index, uint64_t topic) {
    if (core->subscriptions && *find(core, index, topic))
        return 1;
    uint32_t number = take(core);
    if (!number)
        return 0;
    struct subscription *one = topic_at(core, number);
    one->topic = topic;
    one->sequence = core->push->sequence;
    one->generation = core->records[index].generation;
    CRASH_POINT(topic_filled);
    one->index = index;
    CRASH_POINT(topic_entered);
    link_in(core, number);
    return 1;
}

int topic_unsubscribe(struct core *core, uint32_t index, uint64_t topic) {
    uint32_t *link = core->subscriptions ? find(core, index, topic) : NULL;
    if (!link || !*link)
        return 0;
    uint32_t number = *link;
    *link = topic_at(core, number)->of_record;
    remove_one(core, number);
    return 1;
}

void topic_forget(struct core *core, uint32_t index) {
    if (!core->subscriptions)
        return;
    uint32_t number = core->topics_of[index];
    core->topics_of[index] = 0;
    while (number) {
        uint32_t following = topic_at(core, number)->of_record;
        remove_one(core, number);
        number = following;
    }
}

static int is_live(const struct core *core, const struct subscription *one) {
    return record_taken(core, one->index) && core->records[one->index].generation == one->generation &&
           core->records[one->index].flags & FLAG_OPENED;
}

void topic_recover(struct core *core) {
    struct push_state *push = core->push;
    if (!core->subscriptions)
        return;
    memset(core->topic_leaders, 0, (buckets_for(core->subscriptions) + core->capacity + 1) * sizeof(uint32_t));
    push->topic_free = 0;
    for (uint32_t number = push->topic_fresh; number; number--) {
        struct subscription *one = topic_at(core, number);
        if (is_live(core, one)) {
            link_in(core, number);
            continue;
        }
        one->index = RECORD_NONE;
        one->next = push->topic_free;
        push->topic_free = number;
    }
}
