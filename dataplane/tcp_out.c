/* A connection's output at the end of a turn: data within both windows, FIN, ACK, window update; or its burial.
 * RFC 9293 section 3.8, RFC 5681. Owned by the core. */
#include "actor.h"
#include "buffer.h"
#include "crash.h"
#include "inline.h"
#include "relay.h"
#include "stats.h"
#include "stream.h"
#include "tcp_inside.h"

static int has_sent_fin(const struct record *record) {
    return (record->flags & FLAG_FIN_SENT) != 0;
}

uint32_t tcp_mss(const struct core *core, const struct record *record) {
    const struct tcp *tcp = tcp_of(core);
    uint32_t most = core->mtu, headers = IP_HEADER + TCP_HEADER;
    if (tcp->paths_until && !passed(core, tcp->paths_until)) {
        most = lesser(most, path_mtu(core, record->flow.remote_address));
    }
    headers += record->flags & FLAG_TIMESTAMPS ? TIMESTAMPS_BYTES : 0;
    return lesser(record->mss, most - headers);
}

struct busy *tcp_busy(struct core *core, uint32_t index) {
    struct busy *busy = busy_take(core, index);
    if (busy && !busy->cwnd) {
        congestion_start(&core->records[index], busy);
    }
    return busy;
}

static uint32_t max_unconsumed(const struct core *core, const struct record *record) {
    return core->listeners[record->listener].actor->max_unconsumed;
}

/* The right edge to advertise: never moves left, and not in small steps (RFC 9293 section 3.8.6.2.2). */
static uint32_t edge_now(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    uint32_t most = max_unconsumed(core, record), least = lesser(most / 2, record->mss);
    uint32_t field_most = 65535u << record->rcv_scale;
    if (seq_diff(record->rcv_nxt + lesser(most, field_most), record->rcv_edge) < (int32_t)least) {
        return record->rcv_edge; /* however much room there is */
    }
    uint32_t edge = record->rcv_nxt + lesser(actor_window(core, index), field_most);
    return seq_diff(edge, record->rcv_edge) < (int32_t)least ? record->rcv_edge : edge;
}

uint16_t tcp_window(struct core *core, uint32_t index, uint8_t scale) {
    struct record *record = &core->records[index];
    int32_t ahead = seq_diff(edge_now(core, index), record->rcv_nxt);
    uint32_t window = ahead > 0 ? (uint32_t)ahead : 0;
    /* Rounded up: rounded down the edge would move left with each ACK. */
    uint32_t field = lesser((window + (1u << scale) - 1) >> scale, 65535);
    record->rcv_edge = record->rcv_nxt + lesser(window, field << scale);
    return (uint16_t)field;
}

/* An ACK goes with everything that goes. */
static void ack_went(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    core->records[index].flags &= (uint16_t) ~(FLAG_ACK_NOW | FLAG_ACK_DELAYED);
    if (busy) {
        busy->ack_deadline = 0;
    } else if (core->records[index].state != STATE_FIN_WAIT_2) {
        core->records[index].transport_deadline = 0;
    }
}

/* FIN's place in the states; its sequence number has been counted before: adoption makes up for the rest. */
static void fin_goes(struct record *record) {
    record->flags |= FLAG_FIN_SENT;
    CRASH_POINT(fin_flagged);
    if (record->state == STATE_ESTABLISHED) {
        record->state = STATE_FIN_WAIT_1;
    } else if (record->state == STATE_CLOSE_WAIT) {
        record->state = STATE_LAST_ACK;
    }
    CRASH_POINT(fin_stated);
}

/* `length` bytes at `offset` from snd_una, with FIN if that ends the stream. 0: the driver has no room. */
static ALWAYS_INLINE int send_one(struct core *core, uint32_t index, struct busy *busy, uint32_t queued,
                                  uint32_t offset, uint32_t length) {
    struct record *record = &core->records[index];
    int last = offset + length == queued;
    int fin = last && record->flags & FLAG_CLOSING;
    uint32_t seq = record->snd_una + offset, end = seq + length + (uint32_t)fin;
    uint8_t flags = (uint8_t)(TCP_ACK | (last && length ? TCP_PSH : 0) | (fin ? TCP_FIN : 0));
    if (!segment_of_record(core, index, seq, flags, offset, length)) {
        return 0;
    }
    ack_went(core, index);
    if (seq_diff(seq, record->snd_nxt) < 0) {
        core->counters[COUNTER_RETRANSMITTED]++;
    } else if (!busy->rtt_start) {
        busy->rtt_start = greater((uint32_t)(core->now / 1000), 1);
        busy->rtt_seq = end;
    }
    CRASH_POINT(segment_put);
    if (seq_diff(end, record->snd_nxt) > 0) {
        record->snd_nxt = end;
    }
    CRASH_POINT(segment_counted);
    if (fin && !has_sent_fin(record)) {
        fin_goes(record);
    }
    if (!busy->rto_deadline) {
        busy->rto_deadline = later(core, busy->rto);
    }
    return 1;
}

static NEVER_INLINE int send_again(struct core *core, uint32_t index, struct busy *busy, uint32_t length) {
    return send_one(core, index, busy, stream_queued(core, index), 0, length);
}

void tcp_retransmit_first(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct busy *busy = busy_of(core, index);
    uint32_t flight = record->snd_nxt - record->snd_una;
    uint32_t length = lesser(lesser(stream_queued(core, index), flight), tcp_mss(core, record));
    busy->rtt_start = 0;
    if (send_again(core, index, busy, length)) {
        busy->rto_deadline = later(core, busy->rto);
    }
}

/* RFC 9293 sections 3.8.6.1 and 3.8.6.2.1: one byte beyond the closed window, or what a window too small to be worth a
 * segment takes. A byte beyond leaves snd_nxt, or our bare ACKs would lie outside the window and be ignored; ack_input
 * takes an ACK of that byte for what it is. */
void tcp_probe(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct busy *busy = busy_of(core, index);
    busy->rtt_start = 0;
    if (record->snd_wnd && record->snd_una == record->snd_nxt) {
        uint32_t length = lesser(lesser(record->snd_wnd, tcp_mss(core, record)), stream_queued(core, index));
        if (send_again(core, index, busy, length)) {
            busy->resend = record->snd_nxt;
        }
        return;
    }
    core->counters[COUNTER_ZERO_WINDOW_PROBES]++;
    if (segment_of_record(core, index, record->snd_una, TCP_ACK, 0, 1)) {
        ack_went(core, index);
    }
}

/* How much of `left` may go at once: full segments, the end of the stream, or half the peer's largest window,
 * known to within a factor of two
 * (RFC 9293 section 3.8.6.2.1; Nagle's algorithm is off). */
static uint32_t sendable(const struct record *record, const struct busy *busy, uint32_t mss, uint32_t offset,
                         uint32_t left) {
    uint32_t window = lesser(record->snd_wnd, busy->cwnd);
    uint32_t most = lesser(offset < window ? window - offset : 0, mss);
    uint32_t flight = record->snd_nxt - record->snd_una;
    if (offset < flight) {
        return lesser(lesser(most, left), flight - offset); /* once more, in whatever pieces */
    }
    if (left <= most) {
        return left;
    }
    return most == mss || most >= (1u << record->snd_wnd_bits) / 4 ? most : 0;
}

/* 0: the driver has no room, or no busy block is free. */
static int send_stream(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    uint32_t queued = stream_queued(core, index);
    int fin = (record->flags & FLAG_CLOSING) && !has_sent_fin(record);
    if (!queued && !fin && record->snd_una == record->snd_nxt) {
        return 1;
    }
    struct busy *busy = tcp_busy(core, index);
    if (!busy) {
        return 0;
    }
    uint32_t mss = tcp_mss(core, record);
    for (;;) {
        uint32_t offset = busy->resend - record->snd_una;
        uint32_t left = offset < queued ? queued - offset : 0;
        int fin_left = record->flags & FLAG_CLOSING && (!has_sent_fin(record) || busy->resend != record->snd_nxt);
        uint32_t length = left ? sendable(record, busy, mss, offset, left) : 0;
        if (!length && (left || !fin_left || offset > queued)) {
            return 1;
        }
        if (!send_one(core, index, busy, queued, offset, length)) {
            return 0;
        }
        busy->resend += length + (offset + length == queued && record->flags & FLAG_CLOSING);
        if (length == left && !(record->flags & FLAG_CLOSING)) {
            return 1;
        }
    }
}

static NEVER_INLINE int grows_enough(struct core *core, uint32_t index, uint32_t open, uint32_t half) {
    struct record *record = &core->records[index];
    uint32_t step = edge_now(core, index) - record->rcv_edge;
    return step && (!open || step >= lesser(half, 2u * record->mss));
}

/* A window that was small and has grown enough to be worth a segment of its own; a larger one goes with the next ACK.
 */
static int window_news(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    uint32_t open = record->rcv_edge - record->rcv_nxt, half = max_unconsumed(core, record) / 2;
    return open <= lesser(half, 32768) && !(record->flags & FLAG_FIN_RECEIVED) && grows_enough(core, index, open, half);
}

static int send_ack(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (!(record->flags & FLAG_ACK_NOW) && !window_news(core, index)) {
        return 1;
    }
    if (!segment_of_record(core, index, record->snd_nxt, TCP_ACK, 0, 0)) {
        return 0;
    }
    ack_went(core, index);
    return 1;
}

/* 1: it was. */
static int buried(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->state == STATE_CLOSED) {
        close_bury(core, index);
        return 1;
    }
    if (record->flags & FLAG_ABORTING) {
        if (record->state != STATE_SYN_SENT) {
            segment_reset(core, index);
        }
        close_bury(core, index);
        return 1;
    }
    if (record->state == STATE_TIME_WAIT && !relay_holds(core, index)) {
        close_time_wait(core, index);
        return 1;
    }
    return 0;
}

/* In the handshake, while it closes, or at its end. 1: there is no more to do. */
static int output_unsettled(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (buried(core, index)) {
        return 1;
    }
    if (record->state == STATE_SYN_SENT || record->state == STATE_SYN_RECEIVED) {
        if (record->flags & FLAG_ACK_NOW && segment_of_record(core, index, record->snd_nxt, TCP_ACK, 0, 0)) {
            record->flags &= (uint16_t)~FLAG_ACK_NOW;
        }
        return 1;
    }
    if (record->state == STATE_FIN_WAIT_2 && !record->transport_deadline && !relay_listens(core, index)) {
        close_wait_for_fin(core, index);
    }
    return 0;
}

static int is_settled(const struct record *record) {
    return record->state == STATE_ESTABLISHED && !(record->flags & FLAG_ABORTING);
}

void tcp_acknowledged(struct core *core, uint32_t index) {
    const struct record *record = &core->records[index];
    const uint16_t wants =
        FLAG_ACK_NOW | FLAG_ACK_DELAYED | FLAG_PENDING | FLAG_CLOSING | FLAG_PAUSED | FLAG_WRITABLE_WANTED;
    if (!is_settled(record) || record->flags & wants || record->snd_una != record->snd_nxt ||
        stream_queued(core, index) || window_news(core, index)) {
        actor_pend(core, index);
    } else {
        tcp_schedule_idle(core, index);
    }
}

void tcp_output(struct core *core, uint32_t index) {
    if (!is_settled(&core->records[index]) && output_unsettled(core, index)) {
        return;
    }
    int blocked = !send_stream(core, index);
    blocked |= !send_ack(core, index);
    tcp_schedule(core, index, blocked);
}
