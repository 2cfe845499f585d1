/* Whatever arrives, at whatever time, in whatever state: our TCP reads no byte it wasn't given (ASan, UBSan), every
 * frame it sends is well-formed, and once drained it holds nothing. An input is a list of operations: frames bare,
 * frames with their checksums mended, segments near a connection's sequence numbers, time, the actor's own acts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../dataplane/actor.h"
#include "../../dataplane/buffer.h"
#include "../../dataplane/core.h"
#include "../../dataplane/loop.h"
#include "../../dataplane/record.h"
#include "../../dataplane/routes.h"
#include "../../dataplane/stats.h"
#include "../../dataplane/stream.h"
#include "../../dataplane/table.h"
#include "../../dataplane/tcp.h"
#include "../../dataplane/transport.h"
#include "../../dataplane/wire.h"
#include "../../nic/memory.h"
#include "../../nic/nic.h"
#include "../../runtime/arena.h"

#define DEMAND(truth) ((truth) ? (void)0 : __builtin_trap())

enum { SLOTS = 64, FLOWS = 4, TCP_AT = ETHERNET_HEADER + IP_HEADER };

struct input {
    const uint8_t *bytes;
    size_t left;
};

static struct core *core;
static struct nic *theirs;
static int64_t now;

static uint32_t take(struct input *input, uint32_t bytes) {
    uint32_t value = 0;
    for (; bytes && input->left; bytes--, input->bytes++, input->left--) {
        value = value << 8 | *input->bytes;
    }
    return value;
}

static void on_data(struct call *call) {
    int64_t whole = call->length - call->length % 3; /* keeps something */
    call->result = call_send(call, call->record, call->data, whole) ? whole : 0;
    call->ok = 1;
}

static void on_close(struct call *call) {
    call->ok = 1;
}

static void check_frame(const uint8_t *frame, uint32_t length) {
    const uint8_t *ip = frame + ETHERNET_HEADER, *tcp = ip + IP_HEADER;
    if (wire_get16(frame + ETHERNET_TYPE) != TYPE_IPV4) {
        DEMAND(wire_get16(frame + ETHERNET_TYPE) == TYPE_ARP);
        return;
    }
    uint32_t total = wire_get16(ip + IP_TOTAL);
    DEMAND(total + ETHERNET_HEADER == length && total <= core->config.mtu);
    DEMAND(wire_fold(wire_sum(ip, IP_HEADER, 0)) == 0xffff);
    if (ip[IP_PROTOCOL] == PROTOCOL_TCP) {
        DEMAND(total >= IP_HEADER + TCP_HEADER && (tcp[TCP_OFFSET] >> 4) * 4u <= total - IP_HEADER);
        DEMAND(wire_fold(wire_sum(tcp, total - IP_HEADER, wire_pseudo_read(ip, total - IP_HEADER))) == 0xffff);
    }
}

static void run(void) {
    struct frame frames[NIC_BURST];
    for (int turns = 0; turns < 50; turns++) {
        uint32_t work = loop_turn(core), count;
        while ((count = theirs->driver->rx_burst(theirs, frames, NIC_BURST)) > 0) {
            for (uint32_t i = 0; i < count; i++) {
                check_frame(frames[i].data, frames[i].length);
            }
            theirs->driver->release(theirs, frames, count);
        }
        if (!work) {
            return;
        }
    }
}

static void put(const uint8_t *bytes, uint32_t length) {
    struct frame frame;
    if (theirs->driver->tx_alloc(theirs, &frame, 1)) {
        memcpy(frame.data, bytes, length);
        frame.length = length;
        theirs->driver->tx_burst(theirs, &frame, 1);
    }
    run();
}

static void mend_ip(uint8_t *frame, uint32_t length) {
    uint8_t *ip = frame + ETHERNET_HEADER;
    memcpy(frame, core->nic->address, 6);
    wire_put16(frame + ETHERNET_TYPE, TYPE_IPV4);
    ip[IP_VERSION_LENGTH] = 0x45;
    wire_put16(ip + IP_TOTAL, length - ETHERNET_HEADER);
    wire_put16(ip + IP_FRAGMENT, 0);
    ip[IP_SOURCE] = 10;
    memcpy(ip + IP_DESTINATION, &core->config.local_address, 4);
    wire_put16(ip + IP_CHECKSUM, 0);
    wire_put_sum(ip + IP_CHECKSUM, wire_sum(ip, IP_HEADER, 0));
}

static void mend(uint8_t *frame, uint32_t length) {
    uint8_t *ip = frame + ETHERNET_HEADER, *tcp = frame + TCP_AT;
    mend_ip(frame, length);
    wire_put16(tcp + TCP_CHECKSUM, 0);
    wire_put_sum(tcp + TCP_CHECKSUM, wire_sum(tcp, length - TCP_AT, wire_pseudo_read(ip, length - TCP_AT)));
}

static void op_frame(struct input *input, int mended) {
    uint8_t frame[1800] = {0};
    uint32_t length = take(input, 1) * 6;
    for (uint32_t i = 0; i < length; i++) {
        frame[i] = (uint8_t)take(input, 1);
    }
    if (mended && length >= TCP_AT + TCP_HEADER) {
        frame[ETHERNET_HEADER + IP_PROTOCOL] = PROTOCOL_TCP;
        mend(frame, length);
    }
    put(frame, length);
}

static uint32_t put_options(struct input *input, uint8_t *at, const struct record *record) {
    uint32_t kind = take(input, 1);
    if (record ? kind % 8 && record->flags & FLAG_TIMESTAMPS : kind % 8 == 1) {
        memcpy(at, (uint8_t[]){1, 1, 8, 10}, 4);
        wire_put32(at + 4, (record ? record->ts_recent : 0) + (kind >> 3));
        wire_put32(at + 8, core->tick);
        return 12;
    }
    if (kind % 8 == 2) {
        memcpy(at, (uint8_t[]){2, 4, (uint8_t)kind, 200, 1, 3, 3, (uint8_t)(kind >> 4), 1, 1, 8, 10, 0, 0, 0, 9}, 16);
        return 20;
    }
    for (uint32_t i = 0; kind % 8 == 3 && i < 8; i++) {
        at[i] = (uint8_t)take(input, 1);
    }
    return kind % 8 == 3 ? 8 : 0;
}

/* A segment of one of a few flows, its numbers at small distances from what the connection expects. */
static void op_segment(struct input *input) {
    uint8_t frame[1800] = {0}, *tcp = frame + TCP_AT;
    static const uint8_t usual[8] = {TCP_SYN,           TCP_ACK,           TCP_ACK | TCP_PSH, TCP_ACK,
                                     TCP_FIN | TCP_ACK, TCP_RST | TCP_ACK, TCP_SYN | TCP_ACK, TCP_ACK | TCP_PSH};
    uint32_t which = take(input, 1), flags = take(input, 1);
    flags = which & 0x30 ? (flags & 0xc0) | usual[flags % 8] : flags;
    struct flow flow = {.local_address = core->config.local_address, .local_port = core->listeners[0].port};
    memcpy(&flow.remote_address, (uint8_t[]){10, 0, 0, 0}, 4);
    wire_put16((uint8_t *)&flow.remote_port, 5000 + which % FLOWS);
    uint32_t index = table_find_one(core, &flow, table_hash(core, &flow));
    uint32_t seq = index ? core->records[index].rcv_nxt : 100, ack = index ? core->records[index].snd_nxt : 0;
    int8_t seq_off = (int8_t)take(input, 1), ack_off = (int8_t)take(input, 1);
    if (which & 0xc0) { /* mostly what the connection waits for */
        seq_off = which & 0x40 ? 1 : seq_off;
        ack_off = which & 0x80 ? 1 : ack_off;
    }
    wire_put32(tcp + TCP_SEQUENCE, seq + (uint32_t)(seq_off % 8 ? seq_off / 8 : seq_off * 64));
    wire_put32(tcp + TCP_ACKNOWLEDGEMENT, ack + (uint32_t)(ack_off % 8 ? ack_off / 8 : ack_off * 64));
    memcpy(tcp + TCP_SOURCE, &flow.remote_port, 2);
    memcpy(tcp + TCP_DESTINATION, &flow.local_port, 2);
    wire_put16(tcp + TCP_WINDOW, take(input, 2));
    tcp[TCP_FLAGS] = (uint8_t)(flags & 0x3f);
    uint32_t options = put_options(input, tcp + TCP_HEADER, index ? &core->records[index] : NULL),
             length = take(input, 1) * (flags >> 6) * 2;
    tcp[TCP_OFFSET] = (uint8_t)((TCP_HEADER + options) / 4 << 4);
    memset(tcp + TCP_HEADER + options, (int)length, length);
    frame[ETHERNET_HEADER + IP_PROTOCOL] = PROTOCOL_TCP;
    length += TCP_AT + TCP_HEADER + options;
    mend(frame, length);
    put(frame, length);
}

/* An ICMP message that quotes one of the flows, its sequence number near what is in flight; now and then damaged. */
static void op_error(struct input *input) {
    uint8_t frame[400] = {0}, *icmp = frame + TCP_AT, *ip = icmp + ICMP_HEADER, *tcp = ip + IP_HEADER;
    static const uint8_t types[4] = {ICMP_UNREACHABLE, ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM};
    uint32_t which = take(input, 1), length = 36 + take(input, 1), damage = take(input, 1);
    struct flow flow = {.local_address = core->config.local_address, .local_port = core->listeners[0].port};
    memcpy(&flow.remote_address, (uint8_t[]){10, 0, 0, 0}, 4);
    wire_put16((uint8_t *)&flow.remote_port, 5000 + which % FLOWS);
    uint32_t index = table_find_one(core, &flow, table_hash(core, &flow));
    frame[ETHERNET_HEADER + IP_PROTOCOL] = PROTOCOL_ICMP;
    icmp[ICMP_TYPE] = types[which >> 2 & 3];
    icmp[ICMP_CODE] = which & 0x10 ? (uint8_t)take(input, 1) : 4;
    wire_put16(icmp + ICMP_NEXT_MTU, take(input, 2));
    ip[IP_VERSION_LENGTH] = 0x45;
    wire_put16(ip + IP_TOTAL, take(input, 2));
    ip[IP_PROTOCOL] = PROTOCOL_TCP;
    memcpy(ip + IP_SOURCE, &flow.local_address, 4);
    memcpy(ip + IP_DESTINATION, &flow.remote_address, 4);
    memcpy(tcp + TCP_SOURCE, &flow.local_port, 2);
    memcpy(tcp + TCP_DESTINATION, &flow.remote_port, 2);
    wire_put32(tcp + TCP_SEQUENCE, (index ? core->records[index].snd_una : 0) + (uint32_t)(int8_t)take(input, 1) * 64);
    if (damage < 64 && damage < length - 4) {
        icmp[4 + damage] ^= (uint8_t)take(input, 1);
    }
    wire_put_sum(icmp + ICMP_CHECKSUM, wire_sum(icmp, length, 0));
    mend_ip(frame, TCP_AT + length);
    put(frame, TCP_AT + length);
}

/* The control plane's table: a gateway or the link, another MTU. */
static void op_routes(struct input *input) {
    struct route_table *table = calloc(1, sizeof *table);
    uint32_t kind = take(input, 1);
    table->mtu = kind & 0x80 ? take(input, 2) : 0;
    table->key = kind;
    struct route route = {.kind = (uint16_t)(kind % 3), .address = {2, 9, 9, 9, 9, 9}};
    struct hop hop = {.address = {2, 8, 8, 8, 8, 8}};
    memcpy(&hop.host, (uint8_t[]){10, 0, 0, 0}, 4);
    DEMAND(route_add(table, &route) == 0 && hop_add(table, &hop) == 0);
    routes_publish(core->routes, table);
    free(table);
    run();
}

static void op_act(struct input *input) {
    uint32_t index = 1 + take(input, 1) % core->capacity, act = take(input, 1);
    struct record *record = &core->records[index];
    if (!(record->flags & FLAG_OPENED) || record->flags & (FLAG_CLOSING | FLAG_ABORTING)) {
        if (act % 4 == 3) {
            tcp_connect(core, 0, core->config.local_address + 0x01000000, 80, 0, theirs->address);
        }
        run();
        return;
    }
    static const uint8_t text[4000];
    if (act % 4 == 0) {
        record->flags |= FLAG_CLOSING;
    } else if (act % 4 == 1) {
        record->flags |= FLAG_ABORTING;
    } else {
        stream_send(core, index, text, act * 15);
    }
    actor_pend(core, index);
    run();
}

static void op_time(struct input *input) {
    static const uint32_t steps[] = {1, 10, 50, 250, 1000, 5000, 70000, 600000};
    now += steps[take(input, 1) % 8] * 1000000ll;
    core_clock(core, now);
    for (int turns = 0; turns < 20; turns++) {
        run();
    }
}

static void *open_core(void **arena, void *wire) {
    struct arena_config config = {
        .connections = 12, .busy_blocks = 6, .buffer_bytes = 1 << 17, .time_wait = 4, .page_size = 4096};
    struct arena_header plan;
    DEMAND(arena_plan(&config, &plan) == 0);
    *arena = aligned_alloc(4096, plan.bytes);
    memset(*arena, 0, plan.bytes);
    DEMAND(arena_format(*arena, &plan) == 0);
    struct core_config core_config = {.core_id = 1, .half_open_limit = 3, .mtu = 1500};
    memcpy(&core_config.local_address, (uint8_t[]){10, 0, 0, 1}, 4);
    DEMAND(core_open(*arena, &core_config, 0, &core) == 0);
    memset(core->state->key, 7, sizeof core->state->key);
    uint16_t port;
    wire_put16((uint8_t *)&port, 80);
    struct actor *actor = core_listen(core, port, -1);
    actor->reporting[ON_DATA] = actor->quiet[ON_DATA] = on_data;
    actor->reporting[ON_CLOSE] = actor->quiet[ON_CLOSE] = on_close;
    actor->max_unconsumed = 3000;
    actor->reply_reserve = 2000;
    actor->calls_per_turn = 4;
    struct nic *ours;
    memset(wire, 0, sizeof(struct memory_wire));
    DEMAND(memory_format(wire, SLOTS) == 0 && memory_open(wire, memory_bytes(SLOTS), 0, &ours) == 0 &&
           memory_open(wire, memory_bytes(SLOTS), 1, &theirs) == 0 && tcp_attach(core, ours) == 0);
    now = 1000000000000;
    core_clock(core, now);
    return ours;
}

static void close_core(void *arena, struct nic *ours, uint64_t buffers) {
    for (int round = 0; round < 3; round++) {
        core->transport->drain(core, 1);
        run();
    }
    DEMAND(core->state->live == 0 && core->state->half_open == 0 && buffer_free_bytes(core) == buffers);
    for (uint32_t index = 1; index <= core->capacity; index++) {
        DEMAND(core->records[index].busy == 0);
    }
    tcp_detach(core);
    core_close(core);
    memory_close(ours);
    memory_close(theirs);
    free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static void *wire;
    if (!wire) {
        wire = aligned_alloc(4096, memory_bytes(SLOTS));
    }
    void *arena;
    struct nic *ours = open_core(&arena, wire);
    uint64_t buffers = buffer_free_bytes(core);
    struct input input = {bytes, size};
    while (input.left) {
        uint32_t op = take(&input, 1) % 64;
        if (op < 2) {
            op_frame(&input, op == 1);
        } else if (op < 8) {
            op_time(&input);
        } else if (op < 14) {
            op_act(&input);
        } else if (op < 18) {
            op_error(&input);
        } else if (op < 19) {
            op_routes(&input);
        } else {
            op_segment(&input);
        }
    }
    close_core(arena, ours, buffers);
    return 0;
}
