/* Builds outgoing segments: Ethernet, IPv4, TCP, options, bytes from the send buffer, full checksums; and gathers them
 * for the end of the turn. Decides nothing. */
#include "inline.h"
#include "neighbour.h"
#include "stats.h"
#include "stream.h"
#include "tcp_inside.h"

uint32_t timestamp_now(const struct core *core, uint32_t hash) {
    /* RFC 7323 section 5.4 wants an offset per connection; neither factor of this one is known outside. */
    return core->tick + (uint32_t)((hash * (core->state->key[2] | 1)) >> 32);
}

static ALWAYS_INLINE void put_ip(uint8_t *ip, const struct flow *flow, uint32_t total) {
    uint64_t sum = wire_add32(ip + IP_VERSION_LENGTH, 0x4500u << 16 | total, 0);
    sum = wire_add32(ip + IP_IDENTIFICATION, IP_DONT_FRAGMENT, sum); /* so the identification is 0: RFC 6864 */
    sum = wire_add32(ip + IP_TTL, 64u << 24 | PROTOCOL_TCP << 16, sum);
    sum = wire_add_raw(ip + IP_SOURCE, flow->local_address, sum);
    sum = wire_add_raw(ip + IP_DESTINATION, flow->remote_address, sum);
    wire_put_sum(ip + IP_CHECKSUM, sum);
}

/* Everything but the checksum; adds it to *sum and returns its length. */
static ALWAYS_INLINE uint32_t put_tcp(uint8_t *tcp, const struct outgoing *outgoing, uint64_t *sum) {
    uint32_t ports;
    memcpy(&ports, &outgoing->flow->local_port, 4); /* and the remote one */
    uint32_t header = TCP_HEADER;
    if (outgoing->timestamps | outgoing->mss | outgoing->block_count) { /* what has none of these has no other */
        header += options_write(tcp + TCP_HEADER, outgoing, sum);
    }
    *sum = wire_add_raw(tcp + TCP_SOURCE, ports, *sum);
    *sum = wire_add32(tcp + TCP_SEQUENCE, outgoing->seq, *sum);
    *sum = wire_add32(tcp + TCP_ACKNOWLEDGEMENT, outgoing->flags & TCP_ACK ? outgoing->ack : 0, *sum);
    *sum = wire_add32(tcp + TCP_OFFSET, header / 4 << 28 | (uint32_t)outgoing->flags << 16 | outgoing->window, *sum);
    wire_put32(tcp + TCP_CHECKSUM, 0); /* and the urgent pointer */
    return header;
}

/* Returns the bytes' part of the checksum. */
static ALWAYS_INLINE uint64_t put_bytes(struct core *core, uint8_t *at, uint32_t index, uint32_t offset,
                                        uint32_t length) {
    uint64_t sum = 0;
    for (uint32_t done = 0, piece; done < length; done += piece) {
        const uint8_t *bytes = stream_peek(core, index, offset + done, &piece);
        piece = lesser(piece, length - done);
        memcpy(at + done, bytes, piece);
        uint64_t part = wire_sum(bytes, piece, 0);
        sum += done & 1 ? wire_odd(part) : part;
    }
    return sum;
}

static ALWAYS_INLINE int put(struct core *core, const struct outgoing *outgoing, uint32_t index, uint32_t offset,
                             uint32_t length) {
    if (!outgoing->next_hop) {
        core->counters[COUNTER_DROP_NO_NEIGHBOUR]++;
        return 1; /* lost as on any wire: its timer sends it again */
    }
    uint8_t *frame = frame_take(core);
    if (!frame) {
        return 0;
    }
    uint8_t *ip = frame + ETHERNET_HEADER, *tcp = ip + IP_HEADER;
    memcpy(frame + ETHERNET_DESTINATION, outgoing->next_hop, 6);
    memcpy(frame + ETHERNET_SOURCE, core->nic->address, 6);
    wire_put16(frame + ETHERNET_TYPE, TYPE_IPV4);
    uint64_t sum = 0;
    uint32_t bytes = put_tcp(tcp, outgoing, &sum);
    sum += put_bytes(core, tcp + bytes, index, offset, length);
    bytes += length;
    put_ip(ip, outgoing->flow, IP_HEADER + bytes);
    sum += wire_pseudo(outgoing->flow->local_address, outgoing->flow->remote_address, bytes);
    wire_put_sum(tcp + TCP_CHECKSUM, sum);
    frame_put(core, ETHERNET_HEADER + IP_HEADER + bytes);
    return 1;
}

int segment_put(struct core *core, const struct outgoing *outgoing, uint32_t index, uint32_t offset, uint32_t length) {
    return put(core, outgoing, index, offset, length);
}

int segment_of_record(struct core *core, uint32_t index, uint32_t seq, uint8_t flags, uint32_t offset,
                      uint32_t length) {
    struct record *record = &core->records[index];
    struct outgoing outgoing; /* without its blocks, which nobody reads beyond block_count */
    outgoing.flow = &record->flow;
    outgoing.next_hop = neighbour_of(core, record);
    outgoing.seq = seq;
    outgoing.ack = record->rcv_nxt;
    outgoing.mss = 0;
    outgoing.flags = flags;
    outgoing.scale = NO_SCALE;
    outgoing.timestamps = (record->flags & FLAG_TIMESTAMPS) != 0;
    outgoing.sack_permitted = outgoing.block_count = 0;
    if (outgoing.timestamps) {
        outgoing.ts_value = timestamp_now(core, record->hash);
        outgoing.ts_echo = flags & TCP_ACK ? record->ts_recent : 0;
    }
    if (flags & TCP_SYN) {
        int offer = !(flags & TCP_ACK); /* in a SYN-ACK only what the SYN had */
        outgoing.mss = (uint16_t)(core->mtu - IP_HEADER - TCP_HEADER);
        if (offer || record->snd_scale || record->rcv_scale) {
            outgoing.scale = record->rcv_scale;
        }
        outgoing.sack_permitted = offer || record->flags & FLAG_SACK;
    } else if (!length && record->flags & FLAG_SACK) { /* the MSS has no room for them beside bytes */
        outgoing.block_count = (uint8_t)islands_blocks(core, index, outgoing.blocks);
    }
    if (!frame_take(core)) { /* before the window is promised */
        return 0;
    }
    outgoing.window = tcp_window(core, index, flags & TCP_SYN ? 0 : record->rcv_scale); /* RFC 7323 section 2.2 */
    return put(core, &outgoing, index, offset, length);
}

int segment_reset(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct outgoing outgoing = {
        .flow = &record->flow,
        .next_hop = neighbour_of(core, record),
        .seq = record->snd_nxt,
        .ack = record->rcv_nxt,
        .flags = TCP_RST | TCP_ACK,
        .scale = NO_SCALE,
        .timestamps = (record->flags & FLAG_TIMESTAMPS) != 0,
        .ts_value = timestamp_now(core, record->hash),
        .ts_echo = record->ts_recent,
    };
    core->counters[COUNTER_RESET_SENT]++;
    return segment_put(core, &outgoing, index, 0, 0);
}

/* RFC 9293 section 3.10.7.1: what belongs to no connection gets a reset that its sender accepts. */
void segment_refuse(struct core *core, const struct flow *flow, const struct segment *segment) {
    if (segment->flags & TCP_RST) {
        return;
    }
    struct outgoing outgoing = {.flow = flow, .next_hop = segment->source, .flags = TCP_RST, .scale = NO_SCALE};
    if (segment->flags & TCP_ACK) {
        outgoing.seq = segment->ack;
    } else {
        outgoing.flags |= TCP_ACK;
        outgoing.ack = segment->seq + segment->length + !!(segment->flags & TCP_SYN) + !!(segment->flags & TCP_FIN);
    }
    core->counters[COUNTER_RESET_SENT]++;
    segment_put(core, &outgoing, RECORD_NONE, 0, 0);
}
