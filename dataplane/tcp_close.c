/* From FIN to nothing: FIN in every order, TIME-WAIT, burial of a record at the end of the turn.
 * RFC 9293 sections 3.6 and 3.10.7.4, RFC 6191, RFC 1337. Owned by the core. */
#include "actor.h"
#include "buffer.h"
#include "crash.h"
#include "relay.h"
#include "stats.h"
#include "stream.h"
#include "table.h"
#include "tcp_inside.h"
#include "time_wait.h"
#include "timer.h"

void close_finish(struct core *core, uint32_t index, int reason) {
    struct record *record = &core->records[index];
    if (record->state == STATE_SYN_RECEIVED) {
        half_open_leave(core, index);
    }
    if (!record->close_reason) {
        record->close_reason = (uint8_t)(reason + 1);
    }
    record->state = STATE_CLOSED;
    actor_pend(core, index);
}

/* Nothing is in flight any more. */
static void rest(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    timer_clear(core, index, TIMER_TRANSPORT);
    if (busy) {
        busy->rto_deadline = busy->ack_deadline = busy->persist_deadline = 0;
        busy_release(core, index);
    }
}

static void give_back(struct core *core, uint32_t index) {
    stream_drop(core, index);
    islands_drop(core, index);
    rest(core, index);
}

void close_bury(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->state == STATE_SYN_RECEIVED) {
        half_open_leave(core, index);
    }
    int reason = record->close_reason ? record->close_reason - 1 : CLOSE_ABORTED;
    record->state = STATE_CLOSED;
    CRASH_POINT(bury_named);
    actor_close(core, index, reason);
    CRASH_POINT(bury_told);
    give_back(core, index);
    CRASH_POINT(bury_emptied);
    timer_clear(core, index, TIMER_APPLICATION);
    table_delete(core, index);
}

/* In FIN-WAIT-2, when nobody reads any more. */
void close_wait_for_fin(struct core *core, uint32_t index) {
    give_back(core, index); /* nothing is in flight */
    timer_set(core, index, TIMER_TRANSPORT, later(core, FIN_WAIT_2_MOST));
}

void close_fin_acked(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->state == STATE_FIN_WAIT_1) {
        record->state = STATE_FIN_WAIT_2;
        if (relay_listens(core, index)) {
            rest(core, index);
        } else {
            close_wait_for_fin(core, index);
        }
    } else if (record->state == STATE_CLOSING) {
        record->state = STATE_TIME_WAIT;
    } else {
        close_finish(core, index, CLOSE_PEER);
    }
}

/* Flag, state and rcv_nxt move together or not at all; adoption does it again while the journal stands. */
void close_fin_received(struct core *core, uint32_t index) {
    struct core_state *state = core->state;
    state->end_next = core->records[index].rcv_nxt + 1;
    STORES_STAY();
    state->end_index = index;
    CRASH_POINT(end_journaled);
    close_end(core);
    state->end_index = RECORD_NONE;
    CRASH_POINT(end_done);
    actor_end(core, index);
}

void close_end(struct core *core) {
    struct record *record = &core->records[core->state->end_index];
    record->flags |= FLAG_FIN_RECEIVED | FLAG_ACK_NOW;
    CRASH_POINT(end_flagged);
    if (record->state == STATE_ESTABLISHED) {
        record->state = STATE_CLOSE_WAIT;
    } else if (record->state == STATE_FIN_WAIT_1) {
        record->state = STATE_CLOSING;
    } else if (record->state == STATE_FIN_WAIT_2) {
        record->state = STATE_TIME_WAIT;
    }
    CRASH_POINT(end_stated);
    record->rcv_nxt = core->state->end_next;
    CRASH_POINT(end_counted);
}

void close_time_wait(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->flags & FLAG_ACK_NOW) {
        segment_of_record(core, index, record->snd_nxt, TCP_ACK, 0, 0); /* lost, it is asked for again */
    }
    struct time_wait entry = {
        .flow = record->flow,
        .snd_nxt = record->snd_nxt,
        .rcv_nxt = record->rcv_nxt,
        .ts_recent = record->ts_recent,
        .expires = later(core, TIME_WAIT_MILLISECONDS),
        .next_flags = record->flags & FLAG_TIMESTAMPS ? (uint32_t)TIME_WAIT_TIMESTAMPS << 24 : 0,
    };
    if (!record->close_reason) {
        record->close_reason = CLOSE_LOCAL + 1;
    }
    time_wait_insert(core, &entry, record->hash); /* first: killed in between, the record is buried by adoption */
    CRASH_POINT(time_wait_entered);
    close_bury(core, index);
}

static int timestamps_of(const struct time_wait *waiting) {
    return waiting->next_flags >> 24 & TIME_WAIT_TIMESTAMPS;
}

/* RFC 6191 section 2: a SYN that can't be an old one opens the flow anew. */
static int may_reuse(const struct time_wait *waiting, const struct segment *segment) {
    if ((segment->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN) {
        return 0;
    }
    if (timestamps_of(waiting) && segment->timestamps && segment->ts_value != waiting->ts_recent) {
        return seq_diff(segment->ts_value, waiting->ts_recent) > 0;
    }
    return seq_diff(segment->seq, waiting->rcv_nxt) > 0;
}

static void answer(struct core *core, const struct time_wait *waiting, uint32_t hash, const struct segment *segment) {
    struct outgoing outgoing = {
        .flow = &waiting->flow,
        .next_hop = segment->source,
        .seq = waiting->snd_nxt,
        .ack = waiting->rcv_nxt,
        .flags = TCP_ACK,
        .scale = NO_SCALE,
        .timestamps = (uint8_t)timestamps_of(waiting),
        .ts_value = timestamp_now(core, hash),
        .ts_echo = waiting->ts_recent,
    };
    segment_put(core, &outgoing, RECORD_NONE, 0, 0);
}

void close_in_time_wait(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment) {
    struct time_wait *waiting = time_wait_find(core, flow, hash);
    if (may_reuse(waiting, segment)) {
        uint32_t above = waiting->snd_nxt;
        time_wait_remove(core, waiting, hash);
        core->counters[COUNTER_TIME_WAIT_REUSED]++;
        open_passive(core, flow, hash, segment, above ? above : 1);
    } else if (segment->flags & TCP_RST) {
        core->counters[COUNTER_DROP_RST]++; /* RFC 1337: a reset must not cut TIME-WAIT short */
    } else if (segment->length || segment->flags & (TCP_SYN | TCP_FIN)) {
        core->counters[COUNTER_DROP_DUPLICATE]++;
        if (tcp_may_challenge(core)) {
            answer(core, waiting, hash, segment); /* our last ACK was lost */
        }
    }
}
