/* Builds outgoing segments: Ethernet, IPv4, TCP, options, bytes from the send buffer, full checksums; and gathers them
 * for the end of the turn. Decides nothing. */
#include "neighbour.h"
#include "stats.h"
#include "stream.h"
#include "tcp_inside.h"

uint32_t timestamp_now(const struct core *core, uint32_t hash) {
    /* RFC 7323 section 5.4 wants an offset per connection; neither factor of this one is known outside. */
    return core->tick + (uint32_t)((hash * (core->state->key[2] | 1)) >> 32);
}

static void put_ip(uint8_t *ip, const struct flow *flow, uint32_t total) {
    wire_put16(ip + IP_VERSION_LENGTH, 0x4500);
    wire_put16(ip + IP_TOTAL, total);
    wire_put16(ip + IP_IDENTIFICATION, 0); /* never fragmented, so it means nothing: RFC 6864 */
    wire_put16(ip + IP_FRAGMENT, IP_DONT_FRAGMENT);
    ip[IP_TTL] = 64;
    ip[IP_PROTOCOL] = PROTOCOL_TCP;
    wire_put16(ip + IP_CHECKSUM, 0);
    memcpy(ip + IP_SOURCE, &flow->local_address, 4);
    memcpy(ip + IP_DESTINATION, &flow->remote_address, 4);
    wire_put_sum(ip + IP_CHECKSUM, wire_sum(ip, IP_HEADER, 0));
}

static uint32_t put_tcp(uint8_t *tcp, const struct outgoing *outgoing) {
    memcpy(tcp + TCP_SOURCE, &outgoing->flow->local_port, 2);
    memcpy(tcp + TCP_DESTINATION, &outgoing->flow->remote_port, 2);
    wire_put32(tcp + TCP_SEQUENCE, outgoing->seq);
    wire_put32(tcp + TCP_ACKNOWLEDGEMENT, outgoing->flags & TCP_ACK ? outgoing->ack : 0);
    uint32_t header = TCP_HEADER + options_write(tcp + TCP_HEADER, outgoing);
    tcp[TCP_OFFSET] = (uint8_t)(header / 4 << 4);
    tcp[TCP_FLAGS] = outgoing->flags;
    wire_put16(tcp + TCP_WINDOW, outgoing->window);
    wire_put16(tcp + TCP_CHECKSUM, 0);
    wire_put16(tcp + TCP_URGENT, 0);
    return header;
}

static void put_bytes(struct core *core, uint8_t *at, uint32_t index, uint32_t offset, uint32_t length) {
    while (length) {
        uint32_t piece;
        const uint8_t *bytes = stream_peek(core, index, offset, &piece);
        piece = lesser(piece, length);
        memcpy(at, bytes, piece);
        at += piece;
        offset += piece;
        length -= piece;
    }
}

int segment_put(struct core *core, const struct outgoing *outgoing, uint32_t index, uint32_t offset, uint32_t length) {
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
    uint32_t bytes = put_tcp(tcp, outgoing);
    put_bytes(core, tcp + bytes, index, offset, length);
    bytes += length;
    put_ip(ip, outgoing->flow, IP_HEADER + bytes);
    wire_put_sum(tcp + TCP_CHECKSUM, wire_sum(tcp, bytes, wire_pseudo(ip, bytes)));
    frame_put(core, ETHERNET_HEADER + IP_HEADER + bytes);
    return 1;
}

int segment_of_record(struct core *core, uint32_t index, uint32_t seq, uint8_t flags, uint32_t offset,
                      uint32_t length) {
    struct record *record = &core->records[index];
    struct outgoing outgoing = {
        .flow = &record->flow,
        .next_hop = neighbour_of(core, record),
        .seq = seq,
        .ack = record->rcv_nxt,
        .flags = flags,
        .scale = NO_SCALE,
        .timestamps = (record->flags & FLAG_TIMESTAMPS) != 0,
        .ts_value = timestamp_now(core, record->hash),
        .ts_echo = flags & TCP_ACK ? record->ts_recent : 0,
    };
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
    return segment_put(core, &outgoing, index, offset, length);
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
