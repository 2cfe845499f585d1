/* A burst of frames: checked layer by layer, each drop counted by its reason; ARP and echo answered; TCP segments
 * looked up together and handed on. Owned by the core. Knows nothing of what a segment does. */
#include "handover.h"
#include "inline.h"
#include "stats.h"
#include "table.h"
#include "tcp_inside.h"
#include "time_wait.h"

_Static_assert((int)TABLE_BURST >= (int)NIC_BURST, "one look-up a burst");

enum { PIECE = 8 }; /* segments read while the lines of those before are on their way */

struct burst {
    struct segment segments[NIC_BURST];
    struct flow flows[NIC_BURST];
    uint32_t hashes[NIC_BURST], found[NIC_BURST];
    uint32_t count, asked, matched, done; /* as far as each step has come */
    uint32_t absent, epoch;
    uint32_t hops; /* cores of the group that have not seen these frames */
};

static void drop(struct core *core, enum counter reason) {
    core->counters[reason]++;
}

static int answerable(const struct core *core, const uint8_t *address) {
    /* Not ourselves, "this network", loopback, multicast, or broadcast (RFC 1122 section 3.2.1.3). */
    return memcmp(address, &core->config.local_address, 4) != 0 && address[0] != 0 && address[0] != 127 &&
           address[0] < 224;
}

static void input_arp(struct core *core, const struct frame *frame) {
    const uint8_t *arp = frame->data + ETHERNET_HEADER;
    if (frame->length < ETHERNET_HEADER + ARP_BYTES) {
        drop(core, COUNTER_DROP_TRUNCATED);
        return;
    }
    if (wire_get16(arp + ARP_HARDWARE) != 1 || wire_get16(arp + ARP_PROTOCOL) != TYPE_IPV4 ||
        wire_get16(arp + ARP_LENGTHS) != 0x0604 || wire_get16(arp + ARP_OPERATION) != ARP_REQUEST ||
        memcmp(arp + ARP_TARGET_IP, &core->config.local_address, 4) != 0) {
        drop(core, COUNTER_DROP_ARP);
        return;
    }
    uint32_t sender;
    memcpy(&sender, arp + ARP_SENDER_IP, 4);
    neighbour_doubt(core, sender, arp + ARP_SENDER_MAC); /* Linux doesn't hear who asks for an address of our own */
    uint8_t *out = frame_take(core);
    if (!out) {
        return;
    }
    uint8_t *reply = out + ETHERNET_HEADER;
    memcpy(out + ETHERNET_DESTINATION, arp + ARP_SENDER_MAC, 6);
    memcpy(out + ETHERNET_SOURCE, core->nic->address, 6);
    wire_put16(out + ETHERNET_TYPE, TYPE_ARP);
    memcpy(reply, arp, ARP_OPERATION);
    wire_put16(reply + ARP_OPERATION, ARP_REPLY);
    memcpy(reply + ARP_SENDER_MAC, core->nic->address, 6);
    memcpy(reply + ARP_SENDER_IP, &core->config.local_address, 4);
    memcpy(reply + ARP_TARGET_MAC, arp + ARP_SENDER_MAC, 10); /* and its address */
    frame_put(core, ETHERNET_HEADER + ARP_BYTES);
    core->counters[COUNTER_ARP_REPLIES]++;
}

static void input_echo(struct core *core, const struct frame *frame, uint32_t header, uint32_t total) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER, *icmp = ip + header;
    uint32_t length = total - header;
    if (length < ICMP_HEADER || icmp[ICMP_TYPE] != ICMP_ECHO || icmp[ICMP_CODE] != 0 ||
        wire_fold(wire_sum(icmp, length, 0)) != 0xffff) {
        drop(core, COUNTER_DROP_ICMP);
        return;
    }
    uint8_t *out = frame_take(core);
    if (!out) {
        return;
    }
    uint8_t *reply = out + ETHERNET_HEADER;
    memcpy(out + ETHERNET_DESTINATION, frame->data + ETHERNET_SOURCE, 6);
    memcpy(out + ETHERNET_SOURCE, core->nic->address, 6);
    wire_put16(out + ETHERNET_TYPE, TYPE_IPV4);
    memcpy(reply, ip, IP_HEADER);
    reply[IP_VERSION_LENGTH] = 0x45; /* options aren't echoed */
    wire_put16(reply + IP_TOTAL, IP_HEADER + length);
    reply[IP_TTL] = 64;
    memcpy(reply + IP_SOURCE, ip + IP_DESTINATION, 4);
    memcpy(reply + IP_DESTINATION, ip + IP_SOURCE, 4);
    wire_put16(reply + IP_CHECKSUM, 0);
    wire_put_sum(reply + IP_CHECKSUM, wire_sum(reply, IP_HEADER, 0));
    memcpy(reply + IP_HEADER, icmp, length);
    reply[IP_HEADER + ICMP_TYPE] = ICMP_ECHO_REPLY;
    wire_adjust(reply + IP_HEADER + ICMP_CHECKSUM, ICMP_ECHO << 8, ICMP_ECHO_REPLY << 8);
    frame_put(core, ETHERNET_HEADER + IP_HEADER + length);
    core->counters[COUNTER_ICMP_REPLIES]++;
}

static void input_icmp(struct core *core, const struct frame *frame, uint32_t header, uint32_t total, uint32_t hops) {
    const uint8_t *icmp = frame->data + ETHERNET_HEADER + header;
    uint8_t type = total > header ? icmp[ICMP_TYPE] : ICMP_ECHO;
    if (type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM) {
        error_input(core, frame->data, icmp, total - header, hops);
    } else {
        input_echo(core, frame, header, total);
    }
}

static ALWAYS_INLINE int checksum_good(struct core *core, const uint8_t *ip, const uint8_t *tcp, uint32_t length) {
    uint64_t pseudo = wire_pseudo_read(ip, length);
    uint64_t sum = length == TCP_HEADER ? pseudo + wire_sum_header(tcp) : wire_sum(tcp, length, pseudo);
    if (wire_fold(sum) == 0xffff) {
        return 1;
    }
    /* A sender on the same machine may leave the sum to hardware that isn't there: then it is the pseudo-header's. */
    uint16_t partial = wire_fold(pseudo), stored;
    memcpy(&stored, tcp + TCP_CHECKSUM, 2);
    if (!tcp_of(core)->limits.partial_checksums || stored != partial) {
        return 0;
    }
    core->counters[COUNTER_PARTIAL_CHECKSUM]++;
    return 1;
}

static ALWAYS_INLINE enum counter read_tcp(struct core *core, const uint8_t *ip, const uint8_t *tcp, uint32_t length,
                                           struct segment *segment) {
    if (length < TCP_HEADER) {
        return COUNTER_DROP_TCP_HEADER;
    }
    uint32_t header = (uint32_t)(tcp[TCP_OFFSET] >> 4) * 4;
    if (header < TCP_HEADER || header > length) {
        return COUNTER_DROP_TCP_HEADER;
    }
    if (!checksum_good(core, ip, tcp, length)) {
        return COUNTER_DROP_TCP_CHECKSUM;
    }
    uint8_t flags = tcp[TCP_FLAGS];
    if (!(flags & (TCP_SYN | TCP_RST | TCP_ACK)) || ((flags & TCP_SYN) && (flags & (TCP_FIN | TCP_RST)))) {
        return COUNTER_DROP_TCP_FLAGS;
    }
    *segment = (struct segment){
        .data = tcp + header,
        .length = length - header,
        .seq = wire_get32(tcp + TCP_SEQUENCE),
        .ack = wire_get32(tcp + TCP_ACKNOWLEDGEMENT),
        .window = wire_get16(tcp + TCP_WINDOW),
        .flags = flags,
        .scale = NO_SCALE,
    };
    if (header > TCP_HEADER && options_read(tcp + TCP_HEADER, header - TCP_HEADER, segment) != 0) {
        return COUNTER_DROP_TCP_OPTIONS;
    }
    return COUNTER_TURNS; /* no reason to drop it */
}

static ALWAYS_INLINE void input_tcp(struct core *core, const struct frame *frame, uint32_t header, uint32_t total,
                                    struct burst *burst) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER, *tcp = ip + header;
    struct segment *segment = &burst->segments[burst->count];
    enum counter reason = read_tcp(core, ip, tcp, total - header, segment);
    if (reason != COUNTER_TURNS) {
        drop(core, reason);
        return;
    }
    struct flow *flow = &burst->flows[burst->count++];
    memcpy(&flow->local_address, ip + IP_DESTINATION, 4);
    memcpy(&flow->remote_address, ip + IP_SOURCE, 4);
    memcpy(&flow->local_port, tcp + TCP_DESTINATION, 2);
    memcpy(&flow->remote_port, tcp + TCP_SOURCE, 2);
    segment->source = frame->data + ETHERNET_SOURCE;
}

static ALWAYS_INLINE enum counter check_ip(struct core *core, const struct frame *frame) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER;
    uint32_t room = frame->length - ETHERNET_HEADER;
    if (room < IP_HEADER) {
        return COUNTER_DROP_TRUNCATED;
    }
    if (ip[IP_VERSION_LENGTH] >> 4 != 4) {
        return COUNTER_DROP_IP_VERSION;
    }
    uint32_t header = (ip[IP_VERSION_LENGTH] & 15u) * 4, total = wire_get16(ip + IP_TOTAL);
    if (header < IP_HEADER || total < header) {
        return COUNTER_DROP_IP_HEADER;
    }
    if (total > room) {
        return COUNTER_DROP_TRUNCATED;
    }
    if (total > greater(core->config.mtu, core->mtu)) { /* what was let in before the MTU fell comes in still */
        return COUNTER_DROP_TOO_LONG;
    }
    if (wire_fold(header == IP_HEADER ? wire_sum_header(ip) : wire_sum(ip, header, 0)) != 0xffff) {
        return COUNTER_DROP_IP_CHECKSUM;
    }
    if (memcmp(ip + IP_DESTINATION, &core->config.local_address, 4) != 0) {
        return COUNTER_DROP_NOT_OURS;
    }
    if (!answerable(core, ip + IP_SOURCE)) {
        return COUNTER_DROP_IP_HEADER;
    }
    return wire_get16(ip + IP_FRAGMENT) & IP_FRAGMENT_MASK ? COUNTER_DROP_IP_FRAGMENT : COUNTER_TURNS;
}

static ALWAYS_INLINE void input_ip(struct core *core, const struct frame *frame, struct burst *burst) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER;
    enum counter reason = check_ip(core, frame);
    if (reason != COUNTER_TURNS) {
        drop(core, reason);
        return;
    }
    uint32_t header = (ip[IP_VERSION_LENGTH] & 15u) * 4, total = wire_get16(ip + IP_TOTAL);
    if (ip[IP_PROTOCOL] == PROTOCOL_TCP) {
        input_tcp(core, frame, header, total, burst);
    } else if (ip[IP_PROTOCOL] == PROTOCOL_ICMP) {
        input_icmp(core, frame, header, total, burst->hops);
    } else {
        drop(core, COUNTER_DROP_IP_PROTOCOL);
    }
}

static void input_frame(struct core *core, const struct frame *frame, struct burst *burst) {
    static const uint8_t everyone[6] = {255, 255, 255, 255, 255, 255};
    if (frame->length < ETHERNET_HEADER) {
        drop(core, COUNTER_DROP_TRUNCATED);
        return;
    }
    uint16_t type = wire_get16(frame->data + ETHERNET_TYPE);
    int for_us = memcmp(frame->data + ETHERNET_DESTINATION, core->nic->address, 6) == 0;
    int for_all = type == TYPE_ARP && memcmp(frame->data + ETHERNET_DESTINATION, everyone, 6) == 0;
    if (!for_us && !for_all) {
        drop(core, COUNTER_DROP_NOT_OURS);
    } else if (type == TYPE_IPV4) {
        input_ip(core, frame, burst);
    } else if (type == TYPE_ARP) {
        input_arp(core, frame);
    } else {
        drop(core, type == TYPE_VLAN || type == TYPE_SERVICE ? COUNTER_DROP_VLAN : COUNTER_DROP_ETHERTYPE);
    }
}

static void burst_begin(const struct core *core, struct burst *burst, uint32_t hops) {
    burst->count = burst->asked = burst->matched = burst->done = burst->absent = 0;
    burst->epoch = core->state->epoch;
    burst->hops = hops;
}

/* The segments up to `to`, whose records have been asked for. */
static void input_segments(struct core *core, struct burst *burst, uint32_t to) {
    uint32_t from = burst->done;
    table_verify(core, burst->flows + from, burst->hashes + from, burst->found + from, burst->absent >> from,
                 to - from);
    for (uint32_t i = from; i < to; i++) {
        const struct flow *flow = &burst->flows[i];
        if (core->state->epoch != burst->epoch) { /* an earlier segment opened a connection, perhaps this one's */
            burst->found[i] = table_find_one(core, flow, burst->hashes[i]);
        }
        if (burst->found[i] != RECORD_NONE) {
            tcp_input(core, burst->found[i], &burst->segments[i]);
        } else if (!handover_send(core, flow, burst->hashes[i], &burst->segments[i], burst->hops)) {
            open_no_connection(core, flow, burst->hashes[i], &burst->segments[i]);
        }
    }
    burst->done = to;
}

/* One step for each piece under way: the buckets of what has been read since the last one are asked for; the records of
 * the piece before, whose buckets have come meanwhile; the segments of the one before that, whose records have come, go
 * to TCP. */
static void burst_step(struct core *core, struct burst *burst) {
    uint32_t asked = burst->asked, matched = burst->matched;
    if (asked < burst->count) {
        table_ask(core, burst->flows + asked, burst->hashes + asked, burst->count - asked);
        burst->asked = burst->count;
    }
    if (matched < asked) {
        burst->absent |= table_match(core, burst->hashes + matched, burst->found + matched, asked - matched) << matched;
        for (uint32_t i = matched; i < asked; i++) { /* the table looks at the first line of each record only */
            __builtin_prefetch(&core->records[burst->found[i]].application, 1);
        }
        burst->matched = asked;
    }
    if (burst->done < matched) {
        input_segments(core, burst, matched);
    }
}

static void burst_end(struct core *core, struct burst *burst) {
    while (burst->done < burst->count) {
        burst_step(core, burst);
    }
}

uint32_t input_poll(struct core *core) {
    struct frame frames[NIC_BURST];
    struct burst burst;
    burst_begin(core, &burst, core->group_cores ? core->group_cores - 1 : 0);
    core->nic->now = core->now;
    uint32_t count = core->nic->driver->rx_burst(core->nic, frames, NIC_BURST);
    core->counters[COUNTER_VLAN_PASSED] = core->nic->stats.vlan_passed;
    core->counters[COUNTER_RX_FRAMES] += count;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += frames[i].length;
        input_frame(core, &frames[i], &burst);
        if (burst.count - burst.asked == PIECE) {
            burst_step(core, &burst);
        }
    }
    core->counters[COUNTER_RX_BYTES] += bytes;
    burst_end(core, &burst);
    if (count) {
        core->nic->driver->release(core->nic, frames, count);
    }
    return count;
}

void input_handed(struct core *core, const uint8_t *data, uint32_t length, uint32_t hops) {
    struct frame frame = {.data = (uint8_t *)data, .length = length};
    struct burst burst;
    burst_begin(core, &burst, hops);
    if (length > ETHERNET_HEADER) {
        input_ip(core, &frame, &burst);
    }
    burst_end(core, &burst);
}
