/* A segment for a connection, in the order of RFC 9293 section 3.10.7.4: timestamps, sequence, RST, SYN, ACK, text,
 * FIN; with the blind-attack rules of RFC 5961 and PAWS of RFC 7323. Owned by the core; sends through the others. */
#include "actor.h"
#include "buffer.h"
#include "crash.h"
#include "inline.h"
#include "stats.h"
#include "stream.h"
#include "tcp_inside.h"

enum fit { FIT_WHOLE, FIT_ACK_ONLY, FIT_OLD, FIT_OUTSIDE };

enum {
    DAYS_24 = 24 * 24 * 3600 * 1000, /* milliseconds: TS.Recent's age limit, RFC 7323 section 5.5 */
    RECENT = 65536,                  /* bytes: so far back a duplicate is taken for one of ours, not for a guess */
};

int tcp_may_challenge(struct core *core) {
    struct tcp *tcp = tcp_of(core);
    uint32_t second = core->tick / 1000;
    if (second != tcp->challenge_second) {
        tcp->challenge_second = second;
        /* A number of its own each second, so that nobody can count what is left over a side channel. */
        tcp->challenges = CHALLENGES_PER_SECOND / 2 + (uint32_t)(core->state->key[3] * (second | 1) >> 54);
    }
    if (!tcp->challenges) {
        return 0;
    }
    tcp->challenges--;
    return 1;
}

void tcp_challenge(struct core *core, uint32_t index) {
    if (tcp_may_challenge(core)) {
        core->counters[COUNTER_CHALLENGE_ACKS]++;
        core->records[index].flags |= FLAG_ACK_NOW;
        actor_pend(core, index);
    }
}

static int paws_refuses(struct core *core, struct record *record, const struct segment *segment, uint32_t idle) {
    if (!(record->flags & FLAG_TIMESTAMPS) || segment->flags & TCP_RST) {
        return 0;
    }
    if (!segment->timestamps) { /* RFC 7323 section 3.2: agreed upon, so it is not our peer's */
        core->counters[COUNTER_DROP_TIMESTAMP]++;
        return 1;
    }
    if (seq_diff(segment->ts_value, record->ts_recent) >= 0 || idle > DAYS_24) {
        return 0;
    }
    core->counters[COUNTER_DROP_TIMESTAMP]++;
    record->flags |= FLAG_ACK_NOW;
    return 1;
}

/* RFC 7323 section 4.3: only a segment that reaches back to the last ACK sent may be echoed. While an ACK is owed, that
 * lies before rcv_nxt, and the timestamp to echo is already in hand. */
static void paws_remember(struct record *record, const struct segment *segment) {
    int32_t ahead = seq_diff(segment->seq, record->rcv_nxt);
    int owed = record->flags & (FLAG_ACK_NOW | FLAG_ACK_DELAYED);
    if (segment->timestamps && (ahead < 0 || (ahead == 0 && !owed)) &&
        seq_diff(segment->ts_value, record->ts_recent) >= 0) {
        record->ts_recent = segment->ts_value;
    }
}

static enum fit fit_of(const struct record *record, const struct segment *segment) {
    int64_t start = seq_diff(segment->seq, record->rcv_nxt);
    int64_t window = greater((uint32_t)seq_diff(record->rcv_edge, record->rcv_nxt), 0);
    int64_t length = (int64_t)segment->length + !!(segment->flags & TCP_SYN) + !!(segment->flags & TCP_FIN);
    if (length == 0) { /* at the edge itself stands the ACK of a peer that has filled the window */
        return start < 0 ? FIT_OLD : start <= window ? FIT_WHOLE : FIT_OUTSIDE;
    }
    if (start + length <= 0) {
        return FIT_OLD;
    }
    if (start == 0 && window == 0) { /* a probe: what it acknowledges counts, its text has no room; a FIN needs none */
        return segment->length ? FIT_ACK_ONLY : FIT_WHOLE;
    }
    return start < window ? FIT_WHOLE : FIT_OUTSIDE;
}

/* RFC 5961 section 3.2. */
static void input_reset(struct core *core, uint32_t index, const struct segment *segment, enum fit fit) {
    struct record *record = &core->records[index];
    if (segment->seq == record->rcv_nxt) {
        core->counters[COUNTER_RESET_RECEIVED]++;
        close_finish(core, index, CLOSE_RESET);
        return;
    }
    core->counters[COUNTER_DROP_RST]++;
    if (fit == FIT_WHOLE) {
        tcp_challenge(core, index);
    }
}

static void refuse_unfit(struct core *core, uint32_t index, const struct segment *segment, enum fit fit) {
    struct record *record = &core->records[index];
    if (fit == FIT_OLD && seq_diff(record->rcv_nxt, segment->seq) < RECENT) {
        paws_remember(record, segment); /* what was sent again tells the sender its round-trip time */
    }
    core->counters[fit == FIT_OLD ? COUNTER_DROP_DUPLICATE : COUNTER_DROP_OUT_OF_WINDOW]++;
    if (segment->length || segment->flags & TCP_FIN) {
        record->flags |= FLAG_ACK_NOW; /* our ACK was lost, or the peer probes */
        actor_pend(core, index);
    } else {
        tcp_challenge(core, index); /* a bare ACK: two ends must not answer each other for ever */
    }
}

/* New bytes in order: as many as the actor takes. Returns 1 if that was all of them. */
static int input_text(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    struct record *record = &core->records[index];
    uint32_t room = actor_window(core, index);
    uint32_t taken = lesser(length, room);
    if (taken < length) {
        core->counters[COUNTER_DROP_WINDOW_FULL]++;
        record->flags |= FLAG_ACK_NOW;
    }
    if (!taken) {
        return 0;
    }
    /* RFC 9293 section 3.8.6.3; FIN-WAIT-2's only deadline is its own. */
    int at_once = record->flags & FLAG_ACK_DELAYED || record->state == STATE_FIN_WAIT_2;
    record->flags |= at_once ? FLAG_ACK_NOW : FLAG_ACK_DELAYED;
    if (record->flags & (FLAG_CLOSING | FLAG_ABORTING)) {
        core->counters[COUNTER_DROP_CLOSED]++;
    }
    /* From here until the handler is through a crash resets this connection: no byte is lost or seen twice. */
    core->state->current = index;
    CRASH_POINT(text_named);
    record->rcv_nxt += taken;
    CRASH_POINT(text_counted);
    actor_deliver(core, index, data, taken);
    CRASH_POINT(text_delivered);
    core->state->current = RECORD_NONE;
    CRASH_POINT(text_done);
    return taken == length;
}

static int has_islands(struct core *core, uint32_t index) {
    const struct busy *busy = busy_of(core, index);
    return busy && busy->islands;
}

/* A hole was filled, or part of one: what lies behind it follows, and the peer hears of it at once (RFC 5681 section
 * 4.2). What the actor doesn't take now is thrown away, and comes again. */
static NEVER_INLINE void input_islands(struct core *core, uint32_t index) {
    core->records[index].flags |= FLAG_ACK_NOW;
    const uint8_t *data;
    uint32_t length;
    while ((data = islands_next(core, index, &length))) {
        if (!input_text(core, index, data, length)) {
            islands_drop(core, index);
        }
    }
}

/* Beyond a hole. The sender counts duplicate ACKs, so each segment gets its own (RFC 5681 section 4.2); one that knows
 * SACK learns as much from the last of a turn. */
static void input_beyond(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    int kept = !(segment->flags & TCP_FIN) && islands_keep(core, index, segment->seq, segment->data, segment->length);
    core->counters[kept ? COUNTER_OUT_OF_ORDER : COUNTER_DROP_OUT_OF_ORDER]++;
    if ((kept && record->flags & FLAG_SACK) || !segment_of_record(core, index, record->snd_nxt, TCP_ACK, 0, 0)) {
        record->flags |= FLAG_ACK_NOW;
    }
}

static void input_order(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    int32_t ahead = seq_diff(segment->seq, record->rcv_nxt);
    int fin = segment->flags & TCP_FIN;
    if (!segment->length && !fin) {
        return;
    }
    if (record->flags & FLAG_FIN_RECEIVED) { /* nothing may follow a FIN */
        record->flags |= FLAG_ACK_NOW;
        return;
    }
    if (ahead > 0) {
        input_beyond(core, index, segment);
        return;
    }
    uint32_t skip = (uint32_t)-ahead;
    if (skip < segment->length && !input_text(core, index, segment->data + skip, segment->length - skip)) {
        return;
    }
    if (!fin) {
        if (has_islands(core, index)) {
            input_islands(core, index);
        }
    } else if (!(record->flags & FLAG_ABORTING)) {
        islands_drop(core, index); /* nothing may follow a FIN */
        close_fin_received(core, index);
    }
}

/* RFC 5961 section 4.2; a SYN sent again in the handshake means that our answer was lost. */
static void input_syn(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    if (record->state == STATE_SYN_RECEIVED && !(segment->flags & TCP_ACK) && segment->seq + 1 == record->rcv_nxt) {
        open_repeat(core, index);
    } else {
        core->counters[COUNTER_DROP_TCP_FLAGS]++;
        tcp_challenge(core, index);
    }
}

static ALWAYS_INLINE void input_done(struct core *core, uint32_t index, const struct segment *segment) {
    if (core->records[index].flags & (FLAG_PAUSED | FLAG_WRITABLE_WANTED)) {
        actor_resume(core, index);
    }
    if (segment->length || segment->flags & TCP_FIN) {
        actor_pend(core, index);
    } else {
        tcp_acknowledged(core, index);
    }
}

/* What a segment that passed the checks brings: its ACK, its text, its FIN. */
static void input_accepted(struct core *core, uint32_t index, const struct segment *segment, enum fit fit) {
    struct record *record = &core->records[index];
    paws_remember(record, segment);
    if (record->state == STATE_SYN_RECEIVED && !open_established(core, index, segment)) {
        return;
    }
    if (!ack_input(core, index, segment) || record->state == STATE_CLOSED) {
        return;
    }
    if (record->neighbour == NEIGHBOUR_NONE) { /* it was opened by routes.h alone */
        record->neighbour = neighbour_learn(core, segment->source);
    }
    if (fit == FIT_ACK_ONLY) {
        core->counters[COUNTER_DROP_WINDOW_FULL]++;
        record->flags |= FLAG_ACK_NOW;
    } else {
        input_order(core, index, segment);
    }
    input_done(core, index, segment);
}

/* Nearly every segment: an acknowledgement, perhaps with the next bytes in order that the window has room for, of a
 * connection in which nothing special goes on. Then none of the checks below would find anything. */
static int is_predicted(const struct record *record, const struct segment *segment) {
    return record->state == STATE_ESTABLISHED && !(record->flags & (FLAG_ABORTING | FLAG_FIN_RECEIVED)) &&
           (segment->flags & ~TCP_PSH) == TCP_ACK && segment->seq == record->rcv_nxt &&
           segment->length <= record->rcv_edge - record->rcv_nxt && record->neighbour != NEIGHBOUR_NONE &&
           (!(record->flags & FLAG_TIMESTAMPS) ||
            (segment->timestamps && seq_diff(segment->ts_value, record->ts_recent) >= 0));
}

static void input_predicted(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    record->last_activity = core->tick;
    paws_remember(record, segment);
    if (segment->ack == record->snd_una && !record->busy) {
        ack_window(core, record, segment); /* it acknowledges nothing, and nothing waits for that */
    } else if (!ack_input(core, index, segment)) {
        return;
    }
    if (segment->length && input_text(core, index, segment->data, segment->length) && has_islands(core, index)) {
        input_islands(core, index);
    }
    input_done(core, index, segment);
}

static NEVER_INLINE void input_any(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    if (record->state == STATE_CLOSED || record->state == STATE_TIME_WAIT || record->flags & FLAG_ABORTING) {
        core->counters[COUNTER_DROP_CLOSED]++; /* it goes at the end of this turn */
        return;
    }
    if (record->state == STATE_SYN_SENT) {
        open_syn_sent(core, index, segment);
        return;
    }
    uint32_t idle = core->tick - record->last_activity;
    if (paws_refuses(core, record, segment, idle)) {
        actor_pend(core, index);
        return;
    }
    enum fit fit = fit_of(record, segment);
    if (segment->flags & TCP_RST) {
        input_reset(core, index, segment, fit);
    } else if (segment->flags & TCP_SYN) {
        input_syn(core, index, segment);
    } else if (fit == FIT_OLD || fit == FIT_OUTSIDE) {
        refuse_unfit(core, index, segment, fit);
    } else if (!(segment->flags & TCP_ACK)) {
        core->counters[COUNTER_DROP_TCP_FLAGS]++;
    } else {
        if (record->state != STATE_SYN_RECEIVED) {
            record->last_activity = core->tick; /* in the handshake it is when the SYN came: the first RTT sample */
        }
        input_accepted(core, index, segment, fit);
    }
}

void tcp_input(struct core *core, uint32_t index, const struct segment *segment) {
    if (is_predicted(&core->records[index], segment)) {
        input_predicted(core, index, segment);
    } else {
        input_any(core, index, segment);
    }
}
