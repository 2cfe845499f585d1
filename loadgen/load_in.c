/* What the server sends: each segment checked against what its number and acknowledgement say it must be, each answer
 * byte by byte, and acknowledged at once. Keeps nothing but the operations in flight. */
#include "../dataplane/core.h"
#include "load_inside.h"

struct arrived {
    uint32_t client, seq, ack, length;
    const uint8_t *data;
    uint8_t flags;
};

void load_end(struct load *load, struct flight *flight, uint64_t *why) {
    flight->state = FLIGHT_FREE;
    load->in_flight--;
    ++*why;
}

/* Everything but requests is begun in the order of the clients' numbers, so that its place follows from the number.
 * NULL: nothing of that client is in flight. */
static struct flight *flight_of(struct load *load, uint32_t client) {
    struct flight *flight = load_flight(load, client - load->order.first);
    if (load->order.kind == LOAD_REQUEST) {
        flight = load->flights;
        while (flight < load->flights + load->config.flight && (!flight->state || flight->client != client)) {
            flight++;
        }
        return flight < load->flights + load->config.flight ? flight : NULL;
    }
    return flight->state && flight->client == client ? flight : NULL;
}

static int read_frame(struct load *load, const struct frame *frame, struct arrived *arrived) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER, *tcp = ip + IP_HEADER;
    if (frame->length < ETHERNET_HEADER + IP_HEADER + TCP_HEADER ||
        wire_get16(frame->data + ETHERNET_TYPE) != TYPE_IPV4 || ip[0] != 0x45 || ip[IP_PROTOCOL] != PROTOCOL_TCP) {
        return 0;
    }
    uint32_t total = wire_get16(ip + IP_TOTAL), header = (uint32_t)(tcp[TCP_OFFSET] >> 4) * 4;
    if (total + ETHERNET_HEADER > frame->length || header < TCP_HEADER || IP_HEADER + header > total ||
        !load_number(load, ip, tcp, &arrived->client) || !load_checksums_good(ip, total - IP_HEADER)) {
        return 0;
    }
    arrived->seq = wire_get32(tcp + TCP_SEQUENCE);
    arrived->ack = wire_get32(tcp + TCP_ACKNOWLEDGEMENT);
    arrived->flags = tcp[TCP_FLAGS];
    arrived->data = tcp + header;
    arrived->length = total - IP_HEADER - header;
    return 1;
}

static void input_reset(struct load *load, const struct arrived *arrived) {
    struct flight *flight = flight_of(load, arrived->client);
    if (flight) {
        load_end(load, flight, &load->result.resets);
    } else {
        load->result.late++;
    }
}

/* The first request goes with the acknowledgement. A SYN-ACK that comes again is answered by what it lacks. */
static void input_syn_ack(struct load *load, const struct client *client, const struct arrived *arrived) {
    struct flight *flight = flight_of(load, arrived->client);
    if (arrived->ack != client->iss + 1) {
        load->result.wrong++;
    } else if (flight && flight->state == FLIGHT_SYN) {
        flight->state = FLIGHT_ANSWER;
        flight->sent = load->now;
        flight->tries = 0;
        load_ask(load, client, client->iss + 1, arrived->seq + 1, flight);
    } else {
        load->result.late += !flight;
        load_put(load, client, client->iss + 1, arrived->seq + 1, TCP_ACK);
    }
}

static void answered(struct load *load, struct flight *flight) {
    load->result.latency[load_bucket((uint64_t)(load->now - flight->began))]++;
    if (load->order.kind != LOAD_LIFE) {
        load_end(load, flight, &load->result.done);
        return;
    }
    flight->state = FLIGHT_FIN;
    flight->sent = load->now;
    flight->tries = 0;
}

/* The operation is over all the same: what it waited for has come, and was something else. */
static void input_lie(struct load *load, const struct arrived *arrived) {
    struct flight *flight = flight_of(load, arrived->client);
    if (flight && flight->state == FLIGHT_ANSWER) {
        load_end(load, flight, &load->result.wrong);
    } else {
        load->result.wrong++;
    }
}

/* One request is out at a time, so what the server has acknowledged says which answer this is. */
static void input_answer(struct load *load, const struct client *client, const struct arrived *arrived) {
    uint32_t place, asked;
    uint8_t flags = TCP_ACK;
    if (arrived->length != load->config.payload ||
        !load_answer_good(load, client, arrived->data, arrived->client, &place, &asked) ||
        arrived->ack != client->iss + 1 + (asked + 1) * load->config.payload) {
        input_lie(load, arrived);
    } else {
        struct flight *flight = &load->flights[place];
        if (flight->state == FLIGHT_ANSWER && flight->client == arrived->client && flight->asked == asked) {
            answered(load, flight);
            flags |= flight->state == FLIGHT_FIN ? TCP_FIN : 0;
        } else {
            load->result.duplicates++;
        }
    }
    load_put(load, client, arrived->ack, arrived->seq + arrived->length, flags);
}

static void input_fin(struct load *load, const struct client *client, const struct arrived *arrived) {
    struct flight *flight = flight_of(load, arrived->client);
    load_put(load, client, arrived->ack, arrived->seq + arrived->length + 1, TCP_ACK);
    if (flight && flight->state == FLIGHT_FIN) {
        load_end(load, flight, &load->result.done);
    }
}

static void input_frame(struct load *load, const struct frame *frame) {
    struct arrived arrived;
    if (!read_frame(load, frame, &arrived)) {
        load->result.bad++;
        return;
    }
    struct client client;
    load_client(load, arrived.client, &client);
    if (arrived.flags & TCP_RST) {
        input_reset(load, &arrived);
    } else if (arrived.flags & TCP_SYN) {
        input_syn_ack(load, &client, &arrived);
    } else if (arrived.length) {
        input_answer(load, &client, &arrived);
    } else if (arrived.flags & TCP_FIN) {
        input_fin(load, &client, &arrived);
    }
}

/* No more than can be acknowledged: each frame asks for one at most. */
uint32_t load_input(struct load *load) {
    struct frame frames[NIC_BURST];
    uint32_t room = load_room(load);
    uint32_t count = room ? load->nic->driver->rx_burst(load->nic, frames, room) : 0;
    if (count) {
        load->now = clock_now();
    }
    for (uint32_t i = 0; i < count; i++) {
        input_frame(load, &frames[i]);
    }
    if (count) {
        load->nic->driver->release(load->nic, frames, count);
        load->result.rx_frames += count;
    }
    return count;
}
