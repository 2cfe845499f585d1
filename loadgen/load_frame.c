/* The clients' frames: who a client is, what it asks, and whether an answer is right. Follows from the client's number
 * and the key alone. Knows no operation. */
#include <string.h>

#include "../dataplane/tcp_inside.h"
#include "load_inside.h"

static void client_flow(const struct load *load, uint32_t number, struct flow *flow) {
    uint32_t local = load->config.server_address, remote = load->config.first_client + number / LOAD_PORTS;
    wire_put32((uint8_t *)&flow->local_address, local);
    wire_put32((uint8_t *)&flow->remote_address, remote);
    wire_put16((uint8_t *)&flow->local_port, load->config.server_port);
    wire_put16((uint8_t *)&flow->remote_port, LOAD_PORT_FIRST + number % LOAD_PORTS);
}

void load_client(const struct load *load, uint32_t number, struct client *client) {
    client_flow(load, number, &client->flow);
    client->secret = secret_keyed(load->config.key, &client->flow, 'C');
    client->iss = (uint32_t)client->secret;
}

int load_number(const struct load *load, const uint8_t *ip, const uint8_t *tcp, uint32_t *number) {
    uint32_t address = wire_get32(ip + IP_DESTINATION) - load->config.first_client;
    uint32_t port = wire_get16(tcp + TCP_DESTINATION) - (uint32_t)LOAD_PORT_FIRST;
    *number = address * LOAD_PORTS + port;
    return port < LOAD_PORTS && address <= UINT32_MAX / LOAD_PORTS &&
           wire_get32(ip + IP_SOURCE) == load->config.server_address &&
           wire_get16(tcp + TCP_SOURCE) == load->config.server_port;
}

/* The server's number of a connection opened when this generator began. One opened later has a greater one, by a tick
 * each 4 us (tcp_secret.c): an acknowledgement made of this one is old by less than the largest window we ever
 * offered, and such a segment's text is taken (RFC 5961 section 5.2). */
uint32_t load_guess(const struct load *load, const struct client *client) {
    return (uint32_t)(load->config.began / 4000) + (uint32_t)secret_keyed(load->config.server_key, &client->flow, 'S') +
           1;
}

uint32_t load_room(struct load *load) {
    if (load->allocated < NIC_BURST) {
        load->allocated +=
            load->nic->driver->tx_alloc(load->nic, load->out + load->allocated, NIC_BURST - load->allocated);
    }
    return load->allocated - load->filled;
}

void load_flush(struct load *load) {
    if (!load->filled) {
        return;
    }
    load->nic->driver->tx_burst(load->nic, load->out, load->filled);
    load->result.tx_frames += load->filled;
    load->allocated -= load->filled;
    memmove(load->out, load->out + load->filled, load->allocated * sizeof *load->out);
    load->filled = 0;
}

/* Word `number` of what a client says in its request `asked` (SplitMix64). */
static uint64_t word_of(const struct client *client, uint32_t asked, uint32_t number) {
    uint64_t word = client->secret + ((uint64_t)asked << 32 | number) * 0x9e3779b97f4a7c15u;
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
    word = (word ^ word >> 27) * 0x94d049bb133111ebu;
    return word ^ word >> 31;
}

/* Returns their checksum. */
static uint64_t put_words(uint8_t *at, uint32_t length, const struct client *client, uint32_t asked) {
    uint64_t sum = 0;
    for (uint32_t number = 0; length; number++) {
        uint64_t word = word_of(client, asked, number), kept = 0;
        uint32_t piece = length < 8 ? length : 8;
        memcpy(&kept, &word, piece);
        memcpy(at, &word, piece);
        sum += (kept & UINT32_MAX) + (kept >> 32);
        at += piece;
        length -= piece;
    }
    return sum;
}

static void put_ip(uint8_t *ip, const struct client *client, uint32_t total) {
    uint64_t sum = wire_add32(ip + IP_VERSION_LENGTH, 0x4500u << 16 | total, 0);
    sum = wire_add32(ip + IP_IDENTIFICATION, IP_DONT_FRAGMENT, sum);
    sum = wire_add32(ip + IP_TTL, 64u << 24 | PROTOCOL_TCP << 16, sum);
    sum = wire_add_raw(ip + IP_SOURCE, client->flow.remote_address, sum);
    sum = wire_add_raw(ip + IP_DESTINATION, client->flow.local_address, sum);
    wire_put_sum(ip + IP_CHECKSUM, sum);
}

/* A segment under construction. */
struct draft {
    uint8_t *tcp;
    uint32_t seq, ack;
    uint64_t sum; /* of everything but the pseudo-header, so far */
};

static void put_headers(struct load *load, const struct client *client, struct draft *draft, uint32_t header,
                        uint8_t flags) {
    uint8_t *frame = load->out[load->filled].data, *tcp = frame + ETHERNET_HEADER + IP_HEADER;
    memcpy(frame + ETHERNET_DESTINATION, load->config.server_mac, 6);
    memcpy(frame + ETHERNET_SOURCE, load->nic->address, 6);
    wire_put16(frame + ETHERNET_TYPE, TYPE_IPV4);
    memcpy(tcp + TCP_SOURCE, &client->flow.remote_port, 2);
    memcpy(tcp + TCP_DESTINATION, &client->flow.local_port, 2);
    uint64_t sum = (uint64_t)client->flow.remote_port + client->flow.local_port;
    sum = wire_add32(tcp + TCP_SEQUENCE, draft->seq, sum);
    sum = wire_add32(tcp + TCP_ACKNOWLEDGEMENT, draft->ack, sum);
    sum = wire_add32(tcp + TCP_OFFSET, header / 4 << 28 | (uint32_t)flags << 16 | LOAD_WINDOW, sum);
    wire_put32(tcp + TCP_CHECKSUM, 0);
    draft->tcp = tcp;
    draft->sum = sum;
}

static void finish(struct load *load, const struct client *client, const struct draft *draft, uint32_t length) {
    put_ip(draft->tcp - IP_HEADER, client, IP_HEADER + length);
    uint64_t pseudo = wire_pseudo(client->flow.remote_address, client->flow.local_address, length);
    wire_put_sum(draft->tcp + TCP_CHECKSUM, draft->sum + pseudo);
    load->out[load->filled++].length = ETHERNET_HEADER + IP_HEADER + length;
}

/* A SYN offers a window scale, the largest, for load_guess; and an MSS. */
static void put_options(struct draft *draft) {
    uint8_t *at = draft->tcp + TCP_HEADER;
    draft->sum = wire_add32(at, OPTION_MSS << 24 | 4 << 16 | LOAD_MSS, draft->sum);
    draft->sum = wire_add32(at + 4, OPTION_NOP << 24 | OPTION_SCALE << 16 | 3 << 8 | LOAD_SCALE, draft->sum);
}

void load_put(struct load *load, const struct client *client, uint32_t seq, uint32_t ack, uint8_t flags) {
    struct draft draft = {.seq = seq, .ack = ack};
    uint32_t header = TCP_HEADER + (flags & TCP_SYN ? 8 : 0);
    put_headers(load, client, &draft, header, flags);
    if (flags & TCP_SYN) {
        put_options(&draft);
    }
    finish(load, client, &draft, header);
}

void load_ask(struct load *load, const struct client *client, uint32_t seq, uint32_t ack, const struct flight *flight) {
    struct draft draft = {.seq = seq, .ack = ack};
    put_headers(load, client, &draft, TCP_HEADER, TCP_ACK | TCP_PSH);
    uint32_t head[4] = {flight->client, flight->asked, (uint32_t)(flight - load->flights), load->config.payload};
    uint8_t *data = draft.tcp + TCP_HEADER;
    memcpy(data, head, sizeof head);
    draft.sum += (uint64_t)head[0] + head[1] + head[2] + head[3];
    draft.sum += put_words(data + sizeof head, load->config.payload - (uint32_t)sizeof head, client, flight->asked);
    finish(load, client, &draft, (uint32_t)TCP_HEADER + load->config.payload);
}

int load_answer_good(const struct load *load, const struct client *client, const uint8_t *data, uint32_t client_number,
                     uint32_t *place, uint32_t *asked) {
    uint32_t head[4], length = load->config.payload - (uint32_t)sizeof head;
    uint64_t different = 0;
    memcpy(head, data, sizeof head);
    *asked = head[1];
    *place = head[2];
    data += sizeof head;
    for (uint32_t number = 0; length; number++) {
        uint32_t piece = length < 8 ? length : 8;
        uint64_t word = word_of(client, *asked, number), found = word;
        memcpy(&found, data, piece);
        different |= word ^ found;
        data += piece;
        length -= piece;
    }
    return !different && head[0] == client_number && head[2] < load->config.flight && head[3] == load->config.payload;
}

int load_checksums_good(const uint8_t *ip, uint32_t length) {
    return wire_fold(wire_sum(ip, IP_HEADER, 0)) == 0xffff &&
           wire_fold(wire_sum(ip + IP_HEADER, length, wire_pseudo_read(ip, length))) == 0xffff;
}
