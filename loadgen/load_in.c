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

/* NULL: it is ours, and good. Else what it counts as. */
static uint64_t *read_frame(struct load *load, const struct frame *frame, struct arrived *arrived) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER, *tcp = ip + IP_HEADER;
    if (frame->length < ETHERNET_HEADER + IP_HEADER + TCP_HEADER ||
        wire_get16(frame->data + ETHERNET_TYPE) != TYPE_IPV4 || ip[0] != 0x45 || ip[IP_PROTOCOL] != PROTOCOL_TCP ||
        !load_number(load, ip, tcp, &arrived->client)) {
        return &load->result.foreign;
    }
    uint32_t total = wire_get16(ip + IP_TOTAL), header = (uint32_t)(tcp[TCP_OFFSET] >> 4) * 4;
    if (total + ETHERNET_HEADER > frame->length || header < TCP_HEADER || IP_HEADER + header > total ||
        !load_checksums_good(ip, total - IP_HEADER)) {
        return &load->result.bad;
    }
    arrived->seq = wire_get32(tcp + TCP_SEQUENCE);
    arrived->ack = wire_get32(tcp + TCP_ACKNOWLEDGEMENT);
    arrived->flags = tcp[TCP_FLAGS];
    arrived->data = tcp + header;
    arrived->length = total - IP_HEADER - header;
    return NULL;
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
        flight->ack = arrived->seq + 1;
        flight->heard = 1;
        load_ask(load, client, client->iss + 1, flight->ack, flight);
    } else {
        load->result.late += !flight;
        load_put(load, client, client->iss + 1, arrived->seq + 1, TCP_ACK);
    }
}

static void answered(struct load *load, struct flight *flight, uint32_t seq) {
    load->result.latency[load_bucket((uint64_t)(load->now - flight->began))]++;
    flight->before = (struct answer){flight->client, flight->asked, seq};
    flight->ack = seq + load->config.payload;
    flight->heard = 1;
    if (!load_is_life(load)) {
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

/* The server's FIN, which may come with bytes. Ours has gone, or goes now if the server's is to come first. */
static void input_fin(struct load *load, const struct client *client, const struct arrived *arrived) {
    struct flight *flight = flight_of(load, arrived->client);
    uint32_t next = arrived->seq + arrived->length + 1;
    if (load->order.kind == LOAD_SERVED) {
        if (flight) {
            flight->ack = next;
        }
        load_put(load, client, client->iss + 1 + load->config.payload, next, TCP_ACK | TCP_FIN);
        return;
    }
    load_put(load, client, arrived->ack, next, TCP_ACK);
    if (flight && flight->state == FLIGHT_FIN) {
        load_end(load, flight, &load->result.done);
    }
}

/* An answer to nothing in flight. What the server says twice stands twice in its stream, and arrives right after the
 * first, before this place has another answer; what its TCP sends again for want of an acknowledgement stands where it
 * stood, and may come much later. */
static void input_copy(struct load *load, const struct flight *flight, const struct answer *answer) {
    const struct answer *before = &flight->before;
    int twice = before->client == answer->client && before->asked == answer->asked && before->seq != answer->seq;
    ++*(twice ? &load->result.duplicates : &load->result.again);
}

/* One request is out at a time, so what the server has acknowledged says which answer is the newest. A TCP that saw no
 * acknowledgement sends older ones again, in one segment with newer ones, and may cut the last of them short. */
static void input_answer(struct load *load, const struct client *client, const struct arrived *arrived) {
    uint32_t payload = load->config.payload, said = arrived->ack - client->iss - 1, taken = 0, place;
    struct answer answer = {.client = arrived->client};
    uint8_t flags = TCP_ACK;
    int newest = 0;
    while (!newest && arrived->length - taken >= payload &&
           load_answer_good(load, client, arrived->data + taken, arrived->client, &place, &answer.asked) &&
           (answer.asked + 1) * payload <= said) {
        struct flight *flight = &load->flights[place];
        newest = (answer.asked + 1) * payload == said;
        answer.seq = arrived->seq + taken;
        taken += payload;
        if (flight->state == FLIGHT_ANSWER && flight->client == answer.client && flight->asked == answer.asked) {
            answered(load, flight, answer.seq);
            flags |= flight->state == FLIGHT_FIN && load->order.kind == LOAD_LIFE ? TCP_FIN : 0;
        } else {
            input_copy(load, flight, &answer);
        }
    }
    if (!taken || (newest && taken < arrived->length)) {
        input_lie(load, arrived);
        taken = arrived->length;
    }
    if (arrived->flags & TCP_FIN && taken == arrived->length) {
        input_fin(load, client, arrived);
    } else {
        load_put(load, client, arrived->ack, arrived->seq + taken, flags);
    }
}

/* Nothing but an acknowledgement: of our FIN, the last that is to come of a connection that the server closed. */
static void input_ack(struct load *load, const struct client *client, const struct arrived *arrived) {
    struct flight *flight = load->order.kind == LOAD_SERVED ? flight_of(load, arrived->client) : NULL;
    if (flight && flight->state == FLIGHT_FIN && arrived->ack == client->iss + load->config.payload + 2) {
        load_end(load, flight, &load->result.done);
    }
}

static void input_frame(struct load *load, const struct frame *frame) {
    struct arrived arrived;
    uint64_t *other = read_frame(load, frame, &arrived);
    if (other) {
        ++*other;
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
    } else {
        input_ack(load, &client, &arrived);
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
