/* The sender's half of an incoming segment: what it acknowledges and the window it offers.
 * RFC 9293 section 3.10.7.4 "fifth", RFC 5961 section 5.2, RFC 5681, 6582, 6298. Owned by the core. */
#include "actor.h"
#include "buffer.h"
#include "crash.h"
#include "inline.h"
#include "stats.h"
#include "stream.h"
#include "tcp_inside.h"

static uint8_t bit_length(uint32_t value) {
    return value ? (uint8_t)(32 - __builtin_clz(value)) : 0;
}

void ack_window(struct core *core, struct record *record, const struct segment *segment) {
    (void)core;
    uint32_t window = (uint32_t)segment->window << (segment->flags & TCP_SYN ? 0 : record->snd_scale);
    record->snd_wl1 = segment->seq;
    if (window == record->snd_wnd) {
        return;
    }
    record->snd_wnd = window;
    uint8_t bits = bit_length(window);
    record->snd_wnd_bits = bits > record->snd_wnd_bits ? bits : record->snd_wnd_bits;
}

/* The running sample to the microsecond; after a retransmission only the echoed timestamp tells which one was
 * acknowledged (Karn; RFC 7323 section 4). */
static void sample(struct core *core, struct record *record, struct busy *busy, const struct segment *segment) {
    if (busy->rtt_start && seq_diff(record->snd_una, busy->rtt_seq) >= 0) {
        rtt_sample(record, (uint32_t)(core->now / 1000) - busy->rtt_start);
        busy->rtt_start = 0;
        busy->rto = rtt_rto(record);
    } else if (!busy->rtt_start && segment->timestamps) {
        int32_t milliseconds = seq_diff(timestamp_now(core, record->hash), segment->ts_echo);
        if (milliseconds >= 0 && milliseconds < RTO_MOST) {
            rtt_sample(record, (uint32_t)milliseconds * 1000);
            busy->rto = rtt_rto(record);
        }
    }
}

/* snd_una and the send buffer move together or not at all: the journal lets adoption finish it (tcp_adopt.c). */
static void move_una(struct core *core, uint32_t index, uint32_t ack, uint32_t queued, uint32_t bytes) {
    struct core_state *state = core->state;
    state->ack_una = ack;
    state->ack_left = queued - bytes;
    STORES_STAY();
    state->ack_index = index; /* the journal is whole */
    CRASH_POINT(ack_journaled);
    core->records[index].snd_una = ack;
    CRASH_POINT(ack_moved);
    if (bytes) {
        stream_acknowledge(core, index, bytes);
    }
    CRASH_POINT(ack_freed);
    state->ack_index = RECORD_NONE;
    CRASH_POINT(ack_done);
}

static void advance(struct core *core, uint32_t index, const struct segment *segment, struct busy *busy) {
    struct record *record = &core->records[index];
    uint32_t ack = segment->ack, acked = ack - record->snd_una, queued = stream_queued(core, index);
    int fin = record->flags & FLAG_FIN_SENT && ack == record->snd_nxt &&
              (record->state == STATE_FIN_WAIT_1 || record->state == STATE_CLOSING || record->state == STATE_LAST_ACK);
    move_una(core, index, ack, queued, lesser(acked - (uint32_t)fin, queued));
    if (busy) {
        sample(core, record, busy, segment);
        busy->retransmits = 0;
        if (seq_diff(busy->resend, ack) < 0) {
            busy->resend = ack;
        }
        int again = congestion_acked(record, busy, acked);
        busy->rto_deadline = ack == record->snd_nxt ? 0 : later(core, busy->rto);
        if (again) {
            tcp_retransmit_first(core, index);
        }
    }
    if (fin) {
        close_fin_acked(core, index);
    }
}

/* RFC 5681 section 2, "duplicate acknowledgment". */
static void duplicate(struct core *core, uint32_t index, const struct segment *segment, struct busy *busy,
                      uint32_t old_window) {
    struct record *record = &core->records[index];
    busy->retransmits = busy->persist_deadline ? 0 : busy->retransmits; /* a probe was answered */
    if (segment->length || segment->flags & TCP_FIN || record->snd_una == record->snd_nxt ||
        record->snd_wnd != old_window || !record->snd_wnd) {
        return;
    }
    core->counters[COUNTER_DUPLICATE_ACKS]++;
    if (congestion_duplicate(record, busy)) {
        core->counters[COUNTER_FAST_RETRANSMITS]++;
        tcp_retransmit_first(core, index);
    }
}

static void window_opened(const struct record *record, struct busy *busy) {
    if (busy->persist_deadline) {
        busy->persist_deadline = 0;
        busy->persists = 0;
        busy->resend = record->snd_una; /* what lay in flight was thrown away */
    }
}

/* The peer has taken the byte of a probe, which snd_nxt doesn't count. */
static void probe_taken(struct record *record, const struct busy *busy, uint32_t ack) {
    if (ack == record->snd_nxt + 1 && record->snd_una == record->snd_nxt && busy && busy->persists) {
        record->snd_nxt = ack;
    }
}

/* RFC 9293 keeps the old window when an acknowledgement comes with an old sequence number, and so lets it slide beyond
 * the edge the peer gave. Here a new acknowledgement always brings its window. That leaves SEG.ACK = SND.UNA, which
 * SND.WL2 never exceeds (docs/records.md, "Derived"), so the comparison with it is always true. */
static int window_is_newer(const struct record *record, const struct segment *segment, int acknowledges) {
    return acknowledges || seq_diff(segment->seq, record->snd_wl1) >= 0;
}

/* It acknowledges something, or what the last one did; or something that can't be. */
static NEVER_INLINE int input_new(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    struct busy *busy = busy_of(core, index);
    int32_t behind = seq_diff(record->snd_una, segment->ack);
    probe_taken(record, busy, segment->ack);
    if (behind > 0 || seq_diff(segment->ack, record->snd_nxt) > 0) {
        core->counters[COUNTER_DROP_BAD_ACK]++;
        tcp_challenge(core, index);
        return 0;
    }
    uint32_t old_window = record->snd_wnd;
    if (window_is_newer(record, segment, behind < 0)) {
        ack_window(core, record, segment);
    }
    if (behind < 0) {
        advance(core, index, segment, busy);
    } else if (busy) {
        duplicate(core, index, segment, busy, old_window);
    }
    busy = busy_of(core, index);
    if (busy && record->snd_wnd > 0 && record->state != STATE_CLOSED) {
        window_opened(record, busy);
    }
    return 1;
}

int ack_input(struct core *core, uint32_t index, const struct segment *segment) {
    const struct record *record = &core->records[index];
    int64_t behind = seq_diff(record->snd_una, segment->ack);
    if (behind > 0 && behind <= 1ll << record->snd_wnd_bits) {
        return 1; /* an old ACK; its text may be new */
    }
    return input_new(core, index, segment);
}
