/* What the load generator's files share. Everything runs on the generator's core. */
#pragma once

#include "../dataplane/record.h"
#include "../dataplane/wire.h"
#include "../nic/nic.h"
#include "load.h"

enum { LOAD_PORT_FIRST = 1024, LOAD_PORTS = 60000, LOAD_WINDOW = 65535, LOAD_SCALE = 14, LOAD_MSS = 1460 };

enum flight_state { FLIGHT_FREE, FLIGHT_SYN, FLIGHT_ANSWER, FLIGHT_FIN };

struct answer {
    uint32_t client, asked, seq;
};

struct flight {          /* one operation */
    int64_t sent, began; /* its last segment; its first */
    uint32_t client;
    uint32_t asked;       /* requests before this one */
    uint32_t ack;         /* the server's next byte, if a frame has said it */
    uint8_t state;        /* enum flight_state */
    uint8_t tries;        /* since something came */
    uint8_t heard;        /* 1: `ack` is known */
    struct answer before; /* the last answer that an operation in this place got */
};

struct client {       /* what is known of one without having seen a frame */
    struct flow flow; /* as the server keeps it */
    uint64_t secret;
    uint32_t iss; /* initial sequence number */
};

struct load {
    struct nic *nic;
    struct load_config config;
    struct load_order order;
    struct load_result result;
    struct flight *flights; /* operation n is in place n modulo flight */
    uint64_t next;          /* operations begun since the order was */
    uint64_t place;         /* in the round */
    uint32_t in_flight, round;
    uint32_t finish, stop;
    int64_t now, began, swept;
    uint32_t half_bits; /* of the permutation's domain */
    uint64_t stir;
    struct frame out[NIC_BURST];
    uint32_t allocated, filled;
};

static inline struct flight *load_flight(struct load *load, uint64_t number) {
    return &load->flights[number & (load->config.flight - 1u)];
}

/* Whether connections of this order come, ask once and go. */
static inline int load_is_life(const struct load *load) {
    return load->order.kind == LOAD_LIFE || load->order.kind == LOAD_SERVED;
}

/* load_frame.c */
void load_client(const struct load *load, uint32_t number, struct client *client);
int load_number(const struct load *load, const uint8_t *ip, const uint8_t *tcp, uint32_t *number); /* 0: not ours */
uint32_t load_guess(const struct load *load, const struct client *client); /* the server's first byte, or before it */
uint32_t load_room(struct load *load); /* frames that may be put now, at most a burst */
void load_put(struct load *load, const struct client *client, uint32_t seq, uint32_t ack, uint8_t flags);
void load_ask(struct load *load, const struct client *client, uint32_t seq, uint32_t ack, const struct flight *flight);
void load_flush(struct load *load);
/* Is this `length` bytes long answer that to a request? Its place and number of requests before go to the last two. */
int load_answer_good(const struct load *load, const struct client *client, const uint8_t *data, uint32_t client_number,
                     uint32_t *place, uint32_t *asked);
int load_checksums_good(const uint8_t *ip, uint32_t length);
/* load_in.c */
uint32_t load_input(struct load *load);
void load_end(struct load *load, struct flight *flight, uint64_t *why);
