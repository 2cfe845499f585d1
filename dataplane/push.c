/* Pushes: taken in, then queued to their receivers a few a turn, in the order in which they came. Owned by the core. A
 * receiver counts as served once its queue holds the push, which the cursor follows: adoption looks at the one between.
 */
#include "push.h"

#include <string.h>
#include "buffer.h"
#include "core.h"
#include "count.h"
#include "crash.h"
#include "handler.h"
#include "record.h"
#include "record_pool.h"
#include "relief.h"
#include "share.h"
#include "stream.h"
#include "table.h"
#include "topic.h"

/* Receivers and records looked at a turn; records fetched ahead; milliseconds without progress after which a push goes
 * on without those it finds no memory for. */
enum { RECEIVERS = 64, LOOKS = 512, AHEAD = 8, PATIENCE = 1000 };
enum served { WAIT, SERVED };

_Static_assert(sizeof(struct push_state) <= PUSH_STATE_BYTES && PUSH_STATE_BYTES % 64 == 0, "subscriptions follow it");
_Static_assert(sizeof(struct push_part) == PUSH_PART_HEADER, "the bytes follow it");

static struct push_job *job_at(const struct core *core, uint32_t number) {
    return &core->push->jobs[(core->push->job_first + number) % PUSH_JOBS];
}

static void store_jobs(struct core *core, uint32_t first, uint32_t count) {
    STORES_STAY();
    __atomic_store_n((uint64_t *)(void *)&core->push->job_first, (uint64_t)count << 32 | first % PUSH_JOBS,
                     __ATOMIC_RELEASE);
    STORES_STAY();
}

/* Whether memory has been short for so long that one must go on without. */
static int patience_over(struct core *core) {
    if (!core->push_short_since)
        core->push_short_since = core->tick;
    return core->tick - core->push_short_since > PATIENCE;
}

static void part_forget(struct core *core) {
    uint32_t share = core->push->part_share;
    core->push->part_share = 0;
    STORES_STAY();
    if (share)
        share_drop(core, share);
}

/* 1, or 0: not now; *share 0: never. */
static int part_begin(struct core *core, const struct push_part *part, uint32_t *share) {
    part_forget(core); /* of a sender that died half-way */
    *share = share_make(core, part->total);
    if (!*share) {
        relief_want(core);
        return patience_over(core);
    }
    core->push_short_since = 0;
    core->push->part_sequence = part->sequence;
    core->push->part_have = 0;
    CRASH_POINT(push_part_begun);
    core->push->part_share = *share;
    STORES_STAY();
    return 1;
}

static void job_add(struct core *core, const struct push_part *part) {
    struct push_state *push = core->push;
    *job_at(core, push->job_count) = (struct push_job){
        .to = part->to,
        .kind = part->kind,
        .share = push->part_share,
        .sequence = part->sequence,
    };
    CRASH_POINT(push_job_written);
    store_jobs(core, push->job_first, push->job_count + 1);
    CRASH_POINT(push_job_added);
    push->sequence = part->sequence;
    STORES_STAY();
    push->part_share = 0;
}

/* What can't be pushed is over for the sender as if it had been. */
static int refuse(struct core *core, const struct push_part *part) {
    count(core, COUNTER_PUSH_NO_ROOM, 1);
    part_forget(core);
    core->push->sequence = part->sequence;
    return 1;
}

int push_receive(struct core *core, const uint8_t *payload, uint32_t length) {
    struct push_state *push = core->push;
    struct push_part part;
    if (length < sizeof part)
        return 1;
    memcpy(&part, payload, sizeof part);
    uint32_t bytes = length - PUSH_PART_HEADER;
    if ((int32_t)(part.sequence - push->sequence) <= 0)
        return 1; /* it came before, to a worker that died */
    if (!part.total || part.total > SHARE_MOST || part.offset > part.total || bytes > part.total - part.offset)
        return refuse(core, &part);
    if (push->job_count == PUSH_JOBS)
        return 0;
    uint32_t share = push->part_share;
    if (!share || push->part_sequence != part.sequence) {
        if (!part_begin(core, &part, &share))
            return 0;
        if (!share || part.offset)
            return refuse(core, &part);
    }
    if (part.offset == push->part_have) { /* else a worker died behind this */
        memcpy(share_bytes(core, share) + part.offset, payload + PUSH_PART_HEADER, bytes);
        CRASH_POINT(push_part_copied);
        push->part_have = part.offset + bytes;
        STORES_STAY();
    }
    if (push->part_have == part.total)
        job_add(core, &part);
    return 1;
}

/* A peer that doesn't read: what the layout says becomes of it. */
static enum served slow(struct core *core, uint32_t index, const struct actor *actor) {
    count(core, actor->push_reset ? COUNTER_PUSH_RESET : COUNTER_PUSH_SLOW, 1);
    if (actor->push_reset)
        connection_abort(core, index, CLOSE_OVERFLOW);
    return SERVED;
}

/* What the control plane serves as a stream is no receiver. */
static int takes(const struct core *core, uint32_t index) {
    const struct record *record = &core->records[index];
    return (record->flags & (FLAG_OPENED | FLAG_CLOSING | FLAG_ABORTING)) == FLAG_OPENED &&
           !core->listeners[record->listener].actor->relays;
}

static enum served serve(struct core *core, struct push_job *job, uint32_t index) {
    const struct actor *actor = core->listeners[core->records[index].listener].actor;
    uint32_t length = share_length(core, job->share);
    if (job->adopted && share_has(core, index, job->share))
        return SERVED;
    if (stream_queued(core, index) + length > actor->push_queue && stream_queued(core, index))
        return slow(core, index, actor);
    if (share_append(core, index, job->share)) {
        if (!patience_over(core))
            return WAIT;
        count(core, COUNTER_PUSH_NO_ROOM, 1);
        return SERVED;
    }
    CRASH_POINT(push_served);
    core->push_short_since = 0;
    count(core, COUNTER_PUSHED, 1);
    count(core, COUNTER_SENT_BYTES, length);
    actor_pend(core, index);
    return SERVED;
}

/* What a turn may still do. */
struct budget {
    uint32_t receivers, looks;
};

/* Each returns 1 once the push is through. */
static int send_one(struct core *core, struct push_job *job, struct budget *budget) {
    uint32_t index = record_of_handle(core, (int64_t)job->to);
    if (index == RECORD_NONE || !takes(core, index)) {
        count(core, COUNTER_PUSH_STALE, 1);
        return 1;
    }
    if (serve(core, job, index) == WAIT)
        return 0;
    budget->receivers--;
    return 1;
}

static void fetch(const struct core *core, uint32_t index) {
    __builtin_prefetch(&core->records[index], 1);
    __builtin_prefetch(&core->records[index].application, 1);
}

static int broadcast(struct core *core, struct push_job *job, struct budget *budget) {
    uint32_t end = core->state->record_fresh;
    while (job->cursor + 1 < end && budget->looks && budget->receivers) {
        uint32_t index = job->cursor + 1;
        fetch(core, index + AHEAD < end ? index + AHEAD : index);
        if (takes(core, index) && (job->to == PUSH_EVERY_LISTENER || job->to == core->records[index].listener)) {
            if (serve(core, job, index) == WAIT)
                return 0;
            budget->receivers--;
        }
        budget->looks--;
        job->cursor = index;
        CRASH_POINT(push_cursor_moved);
        job->adopted = 0;
    }
    return job->cursor + 1 >= end;
}

/* Those that had subscribed when the push came: `sequence` says so, whatever the order of the ring has become. */
static int publish(struct core *core, struct push_job *job, struct budget *budget) {
    if (!job->begun) {
        job->cursor = topic_first(core, job->to);
        job->begun = 1;
    }
    while (job->cursor && budget->looks && budget->receivers) {
        struct subscription *one = topic_at(core, job->cursor);
        if ((int32_t)(one->sequence - job->sequence) < 0) {
            if (takes(core, one->index)) {
                if (serve(core, job, one->index) == WAIT)
                    return 0;
                budget->receivers--;
            }
            one->sequence = job->sequence;
            CRASH_POINT(push_marked);
        }
        budget->looks--;
        job->cursor = topic_next(core, job->cursor);
    }
    return !job->cursor;
}

static int run(struct core *core, struct push_job *job, struct budget *budget) {
    switch (job->kind) {
    case PUSH_SEND:
        return send_one(core, job, budget);
    case PUSH_BROADCAST:
        return broadcast(core, job, budget);
    case PUSH_PUBLISH:
        return publish(core, job, budget);
    default:
        return 1;
    }
}

uint32_t push_turn(struct core *core) {
    struct budget budget = {RECEIVERS, LOOKS};
    uint32_t through = 0;
    while (core->push->job_count && budget.receivers && budget.looks) {
        struct push_job *job = job_at(core, 0);
        if (!run(core, job, &budget))
            break;
        uint32_t share = job->share;
        store_jobs(core, core->push->job_first + 1, core->push->job_count - 1);
        CRASH_POINT(push_job_done);
        share_drop(core, share);
        through++;
    }
    return RECEIVERS - budget.receivers + LOOKS - budget.looks + through;
}

uint32_t push_waiting(const struct core *core) {
    return core->push->job_count;
}

void push_recover(struct core *core) {
    struct push_state *push = core->push;
    const struct push_job *newest = push->job_count ? job_at(core, push->job_count - 1) : NULL;
    if (newest)
        push->sequence = newest->sequence;
    if (push->part_sequence == push->sequence)
        push->part_share = 0; /* it has become a job */
    topic_recover(core);
    for (uint32_t i = 0; i < push->job_count; i++)
        share_zero(core, job_at(core, i)->share);
    if (push->part_share)
        share_zero(core, push->part_share);
    for (uint32_t i = 0; i < push->job_count; i++) {
        struct push_job *job = job_at(core, i);
        job->adopted = 1;
        job->begun = 0;
        share_count_one(core, job->share);
    }
    if (push->part_share)
        share_count_one(core, push->part_share);
}
