/* What TCP's files share: the checked segment, the process-local part of its state, and each file's door.
 * Everything runs on the owning core. Sequence numbers are compared by signed difference (RFC 9293 section 3.4). */
#pragma once

#include <stdint.h>
#include "core.h"
#include "neighbour.h"
#include "../nic/nic.h"
#include "islands.h"
#include "path.h"
#include "record.h"
#include "wire.h"

enum {                   /* milliseconds unless said otherwise */
       RTO_FIRST = 1000, /* RFC 6298 section 2 */
       RTO_LEAST = 200,
       RTO_MOST = 60000,
       ACK_DELAY = 40,
       FIN_WAIT_2_MOST = 60000,
       SYN_RETRIES = 7, /* 3 minutes (RFC 9293 section 3.8.3) */
       SYN_ACK_RETRIES = 5,
       RETRIES = 12,           /* more than R2 of 100 s at the least RTO */
       KEEPALIVE_EACH = 75000, /* between unanswered probes, as Linux */
       KEEPALIVE_PROBES = 9,
       DOUBTFUL = 2, /* so many in a row: perhaps the next hop has gone */
       MSS_DEFAULT = 536,
       MSS_LEAST = 64,
       MTU_LEAST = 68,        /* RFC 791 */
       INITIAL_SEGMENTS = 10, /* RFC 6928 */
       CHALLENGES_PER_SECOND = 1000,
       NO_SCALE = 255,
       SCALE_MOST = 14, /* RFC 7323 section 2.3 */
};

struct segment {           /* of one frame, checked, in host byte order; valid while the frame is */
    const uint8_t *source; /* MAC it came from */
    const uint8_t *data;
    uint32_t length; /* of data */
    uint32_t seq, ack;
    uint32_t ts_value, ts_echo;
    uint16_t window; /* as it stands in the header */
    uint16_t mss;    /* 0 = no option */
    uint8_t flags;
    uint8_t scale; /* NO_SCALE = no option */
    uint8_t timestamps, sack_permitted;
};

struct outgoing { /* a segment's header, in host byte order */
    const struct flow *flow;
    const uint8_t *next_hop;
    uint32_t seq, ack;
    uint32_t ts_value, ts_echo;
    uint16_t window;
    uint16_t mss; /* 0 = no option */
    uint8_t flags;
    uint8_t scale; /* NO_SCALE = no option */
    uint8_t timestamps, sack_permitted;
    uint8_t block_count;
    struct island blocks[SACK_BLOCKS];
};

struct tcp { /* struct core.transport_private */
    struct nic_limits limits;
    struct frame gathered[NIC_BURST]; /* from tx_alloc: the first `filled` are ready to go */
    uint32_t allocated, filled;
    uint32_t challenge_second, challenges;
    uint32_t next_port;
    uint32_t drain_cursor;
    uint32_t half_open_oldest, half_open_newest; /* record indexes, 0 = there is none */
    struct path *paths;                          /* PATHS of them */
    uint32_t paths_until;                        /* tick at which the last one expires, 0 = there is none */
    struct neighbour_sweep sweep;
};

static inline struct tcp *tcp_of(const struct core *core) {
    return core->transport_private;
}

static inline uint32_t later(const struct core *core, uint32_t milliseconds) {
    uint32_t tick = core->tick + milliseconds;
    return tick ? tick : 1;
}

static inline int passed(const struct core *core, uint32_t deadline) {
    return deadline && (int32_t)(core->tick - deadline) >= 0;
}

static inline int32_t seq_diff(uint32_t left, uint32_t right) {
    return (int32_t)(left - right);
}

static inline uint32_t lesser(uint32_t left, uint32_t right) {
    return left < right ? left : right;
}

static inline uint32_t greater(uint32_t left, uint32_t right) {
    return left > right ? left : right;
}

/* frames.c: what leaves in this turn */
uint8_t *frame_more(struct core *core); /* when all that were allocated are filled */
/* NULL: the driver has no room (counted) */
static inline uint8_t *frame_take(struct core *core) {
    const struct tcp *tcp = tcp_of(core);
    return tcp->filled < tcp->allocated ? tcp->gathered[tcp->filled].data : frame_more(core);
}
void frame_put(struct core *core, uint32_t length); /* the frame taken last is ready */
void frames_flush(struct core *core);
/* input.c */
uint32_t input_poll(struct core *core);
void input_handed(struct core *core, const uint8_t *data, uint32_t length, uint32_t hops);
/* tcp_options.c: into a segment that has none so far; 0, or -1: malformed */
int options_read(const uint8_t *options, uint32_t length, struct segment *segment);
/* Returns the bytes, a multiple of 4, and adds them to the checksum `sum`. */
uint32_t options_write(uint8_t *at, const struct outgoing *outgoing, uint64_t *sum);
/* tcp_segment.c: build and gather one segment; 0: no room */
int segment_put(struct core *core, const struct outgoing *outgoing, uint32_t index, uint32_t offset, uint32_t length);
int segment_of_record(struct core *core, uint32_t index, uint32_t seq, uint8_t flags, uint32_t offset, uint32_t length);
void segment_refuse(struct core *core, const struct flow *flow, const struct segment *segment);
int segment_reset(struct core *core, uint32_t index);
uint32_t timestamp_now(const struct core *core, uint32_t hash);
/* tcp_error.c: an ICMP error, its header at `icmp`; hops: how many cores have not seen it yet */
void error_input(struct core *core, const uint8_t *frame, const uint8_t *icmp, uint32_t length, uint32_t hops);
/* tcp_secret.c */
uint64_t secret_keyed(const uint64_t *key, const struct flow *flow, uint64_t salt);
uint64_t secret_hash(const struct core *core, const struct flow *flow, uint64_t salt);
uint32_t secret_sequence(const struct core *core, const struct flow *flow); /* RFC 6528 */
/* tcp_open.c */
void open_passive(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment,
                  uint32_t above);
void open_no_connection(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment);
int open_established(struct core *core, uint32_t index, const struct segment *segment);
void open_syn_sent(struct core *core, uint32_t index, const struct segment *segment);
void open_repeat(struct core *core, uint32_t index); /* SYN or SYN-ACK again */
void open_timer(struct core *core, uint32_t index);
/* half_open.c */
void half_open_add(struct core *core, uint32_t index);
void half_open_leave(struct core *core, uint32_t index); /* before its state moves on */
int half_open_evict(struct core *core);
void half_open_recover(struct core *core);
/* tcp_in.c */
void tcp_input(struct core *core, uint32_t index, const struct segment *segment);
void tcp_challenge(struct core *core, uint32_t index);
int tcp_may_challenge(struct core *core);
/* tcp_ack.c: 1: go on with the segment's text */
int ack_input(struct core *core, uint32_t index, const struct segment *segment);
void ack_window(struct core *core, struct record *record, const struct segment *segment);
/* tcp_congestion.c */
void congestion_start(struct record *record, struct busy *busy);
int congestion_duplicate(struct record *record, struct busy *busy); /* 1: send snd_una again now */
int congestion_acked(struct record *record, struct busy *busy, uint32_t acked);
void congestion_timeout(struct record *record, struct busy *busy);
/* tcp_rtt.c */
void rtt_sample(struct record *record, uint32_t microseconds);
uint32_t rtt_rto(const struct record *record); /* milliseconds */
/* tcp_out.c */
void tcp_output(struct core *core, uint32_t index);
/* After a segment that was but an acknowledgement: if that leaves nothing to send, all is done at once and the end of
 * the turn needs no look at the record. */
void tcp_acknowledged(struct core *core, uint32_t index);
uint32_t tcp_mss(const struct core *core, const struct record *record); /* bytes a segment may carry now */
void tcp_retransmit_first(struct core *core, uint32_t index);
void tcp_probe(struct core *core, uint32_t index);
struct busy *tcp_busy(struct core *core, uint32_t index); /* the block, taken and started if need be; NULL: none */
/* The window field of a segment about to go; moves rcv_edge. */
uint16_t tcp_window(struct core *core, uint32_t index, uint8_t scale);
/* tcp_timer.c */
void tcp_timer(struct core *core, uint32_t index);
void tcp_schedule(struct core *core, uint32_t index, int blocked);
void tcp_schedule_idle(struct core *core, uint32_t index); /* established, with nothing sent, queued or owed */
/* tcp_close.c */
void close_wait_for_fin(struct core *core, uint32_t index);
void close_fin_acked(struct core *core, uint32_t index);
void close_fin_received(struct core *core, uint32_t index);
void close_end(struct core *core);                                /* what the journal of a FIN says */
void close_finish(struct core *core, uint32_t index, int reason); /* bury at the end of the turn */
void close_bury(struct core *core, uint32_t index);
void close_time_wait(struct core *core, uint32_t index);
void close_in_time_wait(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment);
/* tcp_adopt.c */
int tcp_adopt(struct core *core);
