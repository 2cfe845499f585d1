/* One deadline in the record stands for the retransmission, the delayed-ACK and the persist timers of the busy block.
 * RFC 6298 section 5, RFC 9293 section 3.8.6. Owned by the core. */
#include "actor.h"
#include "buffer.h"
#include "stats.h"
#include "stream.h"
#include "tcp_inside.h"
#include "timer.h"

static uint32_t earlier(uint32_t left, uint32_t right) {
    if (!left || !right) {
        return left | right;
    }
    return seq_diff(left, right) < 0 ? left : right;
}

/* Bytes wait and either nothing is in flight that could bring news of the window, or the window is shut. */
static int must_probe(const struct record *record, uint32_t queued) {
    return queued && (record->snd_una == record->snd_nxt || !record->snd_wnd);
}

static void arm(const struct core *core, const struct record *record, struct busy *busy, uint32_t queued, int blocked) {
    if (must_probe(record, queued) && !blocked) {
        busy->rto_deadline = 0;
        if (!busy->persist_deadline) {
            busy->persist_deadline = later(core, lesser(busy->rto << lesser(busy->persists, 10), RTO_MOST));
        }
    } else {
        busy->persist_deadline = 0;
        busy->persists = 0;
        if (record->snd_una == record->snd_nxt) {
            busy->rto_deadline = 0;
        } else if (!busy->rto_deadline) {
            busy->rto_deadline = later(core, busy->rto);
        }
    }
}

/* Without a use for the block it is given back, and only the ACK's deadline is left. */
static uint32_t put_down(struct core *core, uint32_t index, struct busy *busy) {
    uint32_t deadline = busy->ack_deadline;
    busy->rto_deadline = busy->ack_deadline = busy->persist_deadline = 0;
    busy->persists = 0;
    core->records[index].transport_deadline = deadline; /* first: what is left of it is the record's from here on */
    busy_release(core, index);
    return deadline;
}

/* The earliest of the block's deadlines. */
static uint32_t busy_deadline(struct core *core, uint32_t index, struct busy *busy, uint32_t queued, int blocked) {
    const struct record *record = &core->records[index];
    if (record->flags & FLAG_ACK_DELAYED && !busy->ack_deadline) {
        busy->ack_deadline = earlier(record->transport_deadline, later(core, ACK_DELAY));
    }
    if (!queued && record->snd_una == record->snd_nxt && !blocked) {
        return put_down(core, index, busy);
    }
    arm(core, record, busy, queued, blocked);
    return earlier(earlier(busy->rto_deadline, busy->ack_deadline), busy->persist_deadline);
}

/* Milliseconds since the peer was heard of; -1: no keepalives, or other timers watch over it. RFC 9293 section 3.8.4.
 */
static int64_t silence(const struct core *core, const struct record *record, uint32_t queued) {
    int idle = record->state == STATE_ESTABLISHED || record->state == STATE_CLOSE_WAIT;
    if (!core->config.keepalive || !idle || record->snd_una != record->snd_nxt || queued) {
        return -1;
    }
    return core->tick - record->last_activity;
}

/* How many probes are due after so long a silence: no byte counts them. */
static uint32_t keepalives(const struct core *core, int64_t silent) {
    int64_t beyond = silent - core->config.keepalive * 1000ll;
    return beyond < 0 ? 0 : 1 + (uint32_t)(beyond / KEEPALIVE_EACH);
}

/* When the next one is due, 0: never. */
static uint32_t keepalive_deadline(const struct core *core, const struct record *record, uint32_t queued) {
    int64_t silent = silence(core, record, queued);
    if (silent < 0) {
        return 0;
    }
    uint32_t after = core->config.keepalive * 1000 + keepalives(core, silent) * KEEPALIVE_EACH;
    return later(core, after - (uint32_t)silent);
}

static void set_deadline(struct core *core, uint32_t index, uint32_t deadline) {
    if (deadline) {
        timer_set(core, index, TIMER_TRANSPORT, deadline);
    } else if (core->records[index].transport_deadline) {
        timer_clear(core, index, TIMER_TRANSPORT);
    }
}

void tcp_schedule_idle(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    uint32_t deadline = busy ? put_down(core, index, busy) : 0;
    set_deadline(core, index, deadline ? deadline : keepalive_deadline(core, &core->records[index], 0));
}

void tcp_schedule(struct core *core, uint32_t index, int blocked) {
    struct record *record = &core->records[index];
    if (record->state == STATE_FIN_WAIT_2) {
        return; /* its own deadline is set */
    }
    struct busy *busy = busy_of(core, index);
    uint32_t deadline = 0, queued = stream_queued(core, index);
    if (busy) {
        deadline = busy_deadline(core, index, busy, queued, blocked);
    } else if (record->flags & FLAG_ACK_DELAYED) {
        deadline = earlier(record->transport_deadline, later(core, ACK_DELAY));
    }
    if (blocked) {
        deadline = later(core, 1);
    }
    if (!deadline) {
        deadline = keepalive_deadline(core, record, queued);
    }
    set_deadline(core, index, deadline);
}

static void give_up(struct core *core, uint32_t index) {
    core->counters[COUNTER_TIMED_OUT]++;
    segment_reset(core, index);
    close_finish(core, index, CLOSE_TIMEOUT);
}

static void retransmission_due(struct core *core, uint32_t index, struct busy *busy) {
    struct record *record = &core->records[index];
    busy->rto_deadline = 0;
    if (busy->retransmits >= RETRIES) {
        give_up(core, index);
        return;
    }
    core->counters[COUNTER_TIMEOUTS]++;
    congestion_timeout(record, busy);
    if (++busy->retransmits >= DOUBTFUL) {
        neighbour_doubt(core, record->flow.remote_address, NULL);
    }
    busy->rto = lesser(busy->rto * 2, RTO_MOST);
}

static void probe_due(struct core *core, uint32_t index, struct busy *busy) {
    busy->persist_deadline = 0;
    if (busy->retransmits >= RETRIES) {
        give_up(core, index);
        return;
    }
    busy->retransmits++; /* until any answer comes; a peer that answers may keep its window shut for ever */
    if (busy->persists < UINT8_MAX) {
        busy->persists++;
    }
    tcp_probe(core, index);
}

/* The sequence number before the next lies outside the window: any TCP answers it (RFC 1122 section 4.2.3.6). */
static void keepalive_due(struct core *core, uint32_t index) {
    const struct record *record = &core->records[index];
    int64_t silent = silence(core, record, stream_queued(core, index));
    uint32_t due = silent < 0 ? 0 : keepalives(core, silent);
    if (due > KEEPALIVE_PROBES) {
        give_up(core, index);
    } else if (due) {
        core->counters[COUNTER_KEEPALIVE_PROBES]++;
        segment_of_record(core, index, record->snd_nxt - 1, TCP_ACK, 0, 0);
    }
}

void tcp_timer(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct busy *busy = busy_of(core, index);
    if (record->state == STATE_SYN_SENT || record->state == STATE_SYN_RECEIVED) {
        open_timer(core, index);
        return;
    }
    if (record->state == STATE_FIN_WAIT_2) {
        core->counters[COUNTER_TIMED_OUT]++;
        close_finish(core, index, CLOSE_TIMEOUT);
        return;
    }
    if (record->flags & FLAG_ACK_DELAYED && (!busy || !busy->ack_deadline || passed(core, busy->ack_deadline))) {
        record->flags |= FLAG_ACK_NOW;
    }
    if (busy && passed(core, busy->rto_deadline)) {
        retransmission_due(core, index, busy);
    } else if (busy && passed(core, busy->persist_deadline)) {
        probe_due(core, index, busy);
    } else {
        keepalive_due(core, index);
    }
    actor_pend(core, index);
}
