/* From nothing to ESTABLISHED: passive open, active open, simultaneous open, and what reaches no connection.
 * RFC 9293 sections 3.10.7.1-3.10.7.3, RFC 7323, RFC 6528. Until the handshake is through a connection has no busy
 * block: record.rttvar counts its retransmissions and last_activity is when it began. Owned by the core. */
#include "actor.h"
#include "crash.h"
#include "neighbour.h"
#include "routes.h"
#include "stats.h"
#include "table.h"
#include "tcp.h"
#include "tcp_inside.h"
#include "time_wait.h"
#include "timer.h"

enum { PORT_FIRST = 32768, PORT_COUNT = 28232, PORT_TRIES = 256 };

static struct listener *listener_of(struct core *core, uint16_t port, uint32_t *number) {
    for (*number = 0; *number < core->listener_count; ++*number) {
        if (core->listeners[*number].port == port && core->listeners[*number].open) {
            return &core->listeners[*number];
        }
    }
    return NULL;
}

/* Just large enough for all that the actor keeps: RFC 7323 section 2.3. */
static uint8_t scale_for(uint32_t window) {
    uint8_t scale = 0;
    while (scale < SCALE_MOST && window >> scale > 65535) {
        scale++;
    }
    return scale;
}

static void agree_options(struct core *core, struct record *record, const struct segment *syn) {
    uint32_t ours = core->mtu - IP_HEADER - TCP_HEADER;
    uint32_t mss = lesser(greater(syn->mss ? syn->mss : MSS_DEFAULT, MSS_LEAST), ours);
    if (syn->timestamps) {
        record->flags |= FLAG_TIMESTAMPS;
        record->ts_recent = syn->ts_value;
        mss -= TIMESTAMPS_BYTES;
    } else {
        record->flags &= (uint16_t)~FLAG_TIMESTAMPS;
    }
    if (syn->sack_permitted) {
        record->flags |= FLAG_SACK;
    }
    record->mss = (uint16_t)mss;
    if (syn->scale == NO_SCALE) {
        record->snd_scale = record->rcv_scale = 0;
    } else {
        record->snd_scale = syn->scale;
    }
}

/* Everything but the state, which the caller stores last: until then adoption takes the record for unused. */
static void prepare(struct core *core, uint32_t index, uint32_t listener, uint16_t neighbour, uint32_t iss) {
    struct record *record = &core->records[index];
    record->snd_una = iss;
    record->snd_nxt = iss + 1;
    record->snd_wnd = record->snd_wl1 = 0;
    record->snd_wnd_bits = 0;
    record->listener = (uint8_t)listener;
    record->flags = 0;
    record->snd_scale = 0;
    record->rcv_scale = scale_for(core->listeners[listener].actor->max_unconsumed);
    record->ts_recent = 0;
    record->srtt = record->rttvar = 0;
    record->neighbour = neighbour;
    record->close_reason = 0;
    record->last_activity = core->tick;
    record->rcv_nxt = record->rcv_edge = 0;
}

static void begin(struct core *core, uint32_t index, enum record_state state, uint8_t flags) {
    struct record *record = &core->records[index];
    CRASH_POINT(open_prepared);
    record->state = (uint8_t)state;
    CRASH_POINT(open_stated);
    segment_of_record(core, index, record->snd_una, flags, 0, 0);
    timer_set(core, index, TIMER_TRANSPORT, later(core, RTO_FIRST));
}

static uint32_t half_open_limit(const struct core *core) {
    uint32_t limit = core->config.half_open_limit;
    return limit ? limit : greater(core->capacity / 8, 1);
}

void open_passive(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment,
                  uint32_t above) {
    uint32_t number;
    if (!listener_of(core, flow->local_port, &number)) {
        core->counters[COUNTER_DROP_NO_LISTENER]++;
        segment_refuse(core, flow, segment);
        return;
    }
    if (core->state->half_open >= half_open_limit(core) && !half_open_evict(core)) {
        core->counters[COUNTER_DROP_HALF_OPEN]++;
        return;
    }
    uint16_t neighbour = neighbour_learn(core, segment->source);
    if (neighbour == NEIGHBOUR_NONE && !routes_hop(core, flow->remote_address)) {
        core->counters[COUNTER_DROP_NO_NEIGHBOUR]++;
        return;
    }
    uint32_t index = table_insert(core, flow, hash);
    if (!index) {
        core->counters[COUNTER_DROP_TABLE_FULL]++;
        return;
    }
    uint32_t iss = secret_sequence(core, flow);
    if (above && seq_diff(iss, above) <= 0) {
        iss = above + 1; /* RFC 6191: beyond what the last connection of this flow sent */
    }
    prepare(core, index, number, neighbour, iss);
    struct record *record = &core->records[index];
    record->rcv_nxt = record->rcv_edge = segment->seq + 1;
    agree_options(core, record, segment);
    ack_window(core, record, segment);
    begin(core, index, STATE_SYN_RECEIVED, TCP_SYN | TCP_ACK);
    half_open_add(core, index);
}

/* RFC 9293 sections 3.10.7.1 and 3.10.7.2. */
void open_no_connection(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment) {
    struct time_wait *waiting = time_wait_find(core, flow, hash);
    if (waiting) {
        close_in_time_wait(core, flow, hash, segment);
    } else if ((segment->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
        open_passive(core, flow, hash, segment, 0);
    } else {
        core->counters[COUNTER_DROP_NO_CONNECTION]++;
        segment_refuse(core, flow, segment);
    }
}

static void establish(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    uint32_t repeated = record->rttvar;
    timer_clear(core, index, TIMER_TRANSPORT);
    record->rttvar = 0;
    if (!repeated) { /* Karn */
        rtt_sample(record, (core->tick - record->last_activity) * 1000);
    }
    record->last_activity = core->tick;
    ack_window(core, record, segment);
    CRASH_POINT(open_agreed);
    record->state = STATE_ESTABLISHED;
    CRASH_POINT(open_established);
    record->snd_una = segment->ack; /* after the state: a SYN-ACK sent again needs the old one */
    CRASH_POINT(open_counted);
    actor_open(core, index);
    CRASH_POINT(open_told);
    actor_pend(core, index);
}

int open_established(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    if (segment->ack != record->snd_nxt) {
        core->counters[COUNTER_DROP_BAD_ACK]++;
        segment_refuse(core, &record->flow, segment);
        return 0;
    }
    half_open_leave(core, index);
    establish(core, index, segment);
    return !(record->flags & FLAG_ABORTING);
}

/* RFC 9293 section 3.10.7.3. */
void open_syn_sent(struct core *core, uint32_t index, const struct segment *segment) {
    struct record *record = &core->records[index];
    int acks = segment->flags & TCP_ACK;
    if (acks && segment->ack != record->snd_nxt) {
        core->counters[COUNTER_DROP_BAD_ACK]++;
        segment_refuse(core, &record->flow, segment);
        return;
    }
    if (segment->flags & TCP_RST) {
        core->counters[acks ? COUNTER_RESET_RECEIVED : COUNTER_DROP_RST]++;
        if (acks) {
            close_finish(core, index, CLOSE_RESET);
        }
        return;
    }
    if (!(segment->flags & TCP_SYN)) {
        core->counters[COUNTER_DROP_TCP_FLAGS]++;
        return;
    }
    record->rcv_nxt = record->rcv_edge = segment->seq + 1;
    agree_options(core, record, segment);
    if (acks) {
        record->flags |= FLAG_ACK_NOW;
        establish(core, index, segment);
        return;
    }
    ack_window(core, record, segment); /* both called at once */
    record->rttvar = 1;
    begin(core, index, STATE_SYN_RECEIVED, TCP_SYN | TCP_ACK);
    half_open_add(core, index);
}

void open_repeat(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    uint8_t flags = record->state == STATE_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK;
    record->rttvar++;
    core->counters[COUNTER_RETRANSMITTED]++;
    segment_of_record(core, index, record->snd_una, flags, 0, 0);
}

void open_timer(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    uint32_t most = record->state == STATE_SYN_SENT ? SYN_RETRIES : SYN_ACK_RETRIES;
    if (record->rttvar >= most) {
        core->counters[COUNTER_TIMED_OUT]++;
        close_finish(core, index, CLOSE_TIMEOUT);
        return;
    }
    open_repeat(core, index);
    timer_set(core, index, TIMER_TRANSPORT, later(core, lesser(RTO_FIRST << record->rttvar, RTO_MOST)));
}

/* RFC 6056 algorithm 3: the ports of one destination follow each other, those of another start elsewhere. */
static int choose_port(struct core *core, struct flow *flow, uint32_t *hash) {
    uint64_t start = secret_hash(core, flow, 'P');
    for (uint32_t try = 0; try < PORT_TRIES; try++) {
        uint32_t port = PORT_FIRST + (uint32_t)((start + tcp_of(core)->next_port++) % PORT_COUNT);
        wire_put16((uint8_t *)&flow->local_port, port);
        *hash = table_hash(core, flow);
        if (!table_find_one(core, flow, *hash) && !time_wait_find(core, flow, *hash)) {
            return 1;
        }
    }
    return 0;
}

uint32_t tcp_connect(struct core *core, uint32_t listener, uint32_t remote_address, uint16_t remote_port,
                     uint16_t local_port, const uint8_t *next_hop) {
    struct flow flow = {core->config.local_address, remote_address, local_port, remote_port};
    uint32_t hash = table_hash(core, &flow);
    if (local_port ? table_find_one(core, &flow, hash) != RECORD_NONE : !choose_port(core, &flow, &hash)) {
        return RECORD_NONE;
    }
    uint16_t neighbour = next_hop ? neighbour_learn(core, next_hop) : NEIGHBOUR_NONE;
    int reachable = neighbour != NEIGHBOUR_NONE || routes_hop(core, remote_address);
    uint32_t index = reachable ? table_insert(core, &flow, hash) : RECORD_NONE;
    if (!index) {
        return RECORD_NONE;
    }
    struct time_wait *waiting = time_wait_find(core, &flow, hash);
    uint32_t iss = secret_sequence(core, &flow);
    if (waiting) {
        iss = seq_diff(iss, waiting->snd_nxt) <= 0 ? waiting->snd_nxt + 1 : iss;
        time_wait_remove(core, waiting, hash);
    }
    prepare(core, index, listener, neighbour, iss);
    core->records[index].flags = FLAG_ACTIVE | FLAG_TIMESTAMPS;
    begin(core, index, STATE_SYN_SENT, TCP_SYN);
    return index;
}
