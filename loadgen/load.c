/* Orders to the clients: which connection is next, when, how many at a time, and what went unanswered too long.
 * Owned by the generator's core. Knows no header. */
#include "load_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "../dataplane/core.h"

enum { REPEAT = 500000000, SWEEP = 50000000 /* nanoseconds */, TRIES = 20 };

int load_open(struct nic *nic, const struct load_config *config, struct load **result) {
    uint32_t flight = config->flight;
    if (config->payload < LOAD_PAYLOAD_LEAST || config->payload > LOAD_PAYLOAD_MOST || flight < 2 ||
        (flight & (flight - 1))) {
        return -EINVAL;
    }
    struct load *load = calloc(1, sizeof *load);
    struct flight *flights = calloc(flight, sizeof *flights);
    if (!load || !flights) {
        free(load);
        free(flights);
        return -ENOMEM;
    }
    load->nic = nic;
    load->config = *config;
    load->flights = flights;
    *result = load;
    return 0;
}

void load_close(struct load *load) {
    free(load->flights);
    free(load);
}

void load_begin(struct load *load, const struct load_order *order) {
    memset(&load->result, 0, sizeof load->result);
    load->order = *order;
    load->next = load->place = load->round = load->finish = load->stop = 0;
    load->half_bits = 1;
    while (load->half_bits < 16 && 1ull << 2 * load->half_bits < order->count) {
        load->half_bits++;
    }
    load->began = load->swept = load->now = clock_now();
}

void load_finish(struct load *load) {
    load->finish = 1;
}

void load_stop(struct load *load) {
    load->stop = 1;
}

const struct load_result *load_result(const struct load *load) {
    return &load->result;
}

static uint32_t stirred(uint32_t half, uint64_t key, uint32_t bits) {
    uint64_t word = (half + key) * 0x9e3779b97f4a7c15u;
    return (uint32_t)((word ^ word >> 29) * 0xbf58476d1ce4e5b9u >> (64 - bits));
}

/* A permutation of 0 .. count-1: a Feistel network over the next power of four, walked until it falls inside. */
static uint32_t shuffled(const struct load *load, uint32_t place) {
    uint32_t bits = load->half_bits, mask = (1u << bits) - 1;
    do {
        uint32_t left = place >> bits, right = place & mask;
        for (uint32_t turn = 0; turn < 3; turn++) {
            uint32_t other = left ^ stirred(right, load->config.key[0] + load->round * 4ull + turn, bits);
            left = right;
            right = other;
        }
        place = left << bits | right;
    } while (place >= load->order.count);
    return place;
}

/* Also when it goes again: then with the server's number, if that is known, for nothing else opens a connection whose
 * first request was lost (RFC 9293 section 3.10.7.4, SYN-RECEIVED). */
static void send_first(struct load *load, struct flight *flight) {
    struct client client;
    load_client(load, flight->client, &client);
    if (flight->state == FLIGHT_SYN) {
        load_put(load, &client, client.iss, 0, TCP_SYN);
        return;
    }
    uint32_t said = flight->asked * load->config.payload, seq = client.iss + 1 + said;
    uint32_t ack = flight->heard ? flight->ack : load_guess(load, &client) + said;
    if (flight->state == FLIGHT_ANSWER) {
        load_ask(load, &client, seq, ack, flight);
    } else { /* in a life, the request before was the first */
        uint32_t more = load_is_life(load) ? load->config.payload : 0;
        load_put(load, &client, seq + more, ack, TCP_ACK | TCP_FIN);
    }
}

/* Operation `next`, if its place is free and it isn't too early; 0: not now. */
static int begin_one(struct load *load, uint64_t allowed) {
    const struct load_order *order = &load->order;
    struct flight *flight = load_flight(load, load->next);
    if (load->next >= allowed || flight->state) {
        return 0;
    }
    if (load->place == order->count) { /* each connection has one request out at most, so rounds don't overlap */
        if (load->in_flight) {
            return 0;
        }
        load->place = 0;
        load->round++;
    }
    uint32_t place = (uint32_t)load->place++;
    int random = order->kind == LOAD_REQUEST && order->sequence == LOAD_RANDOM;
    flight->client = order->first + (random ? shuffled(load, place) : place);
    flight->asked = order->asked + (order->kind == LOAD_REQUEST ? load->round : 0);
    flight->state = order->kind == LOAD_REQUEST ? FLIGHT_ANSWER : order->kind == LOAD_CLOSE ? FLIGHT_FIN : FLIGHT_SYN;
    flight->tries = flight->heard = 0;
    flight->sent = load->now;
    /* Late ones count from when they were due, or a stall would hide all but one. */
    flight->began = order->rate > 0 ? load->began + (int64_t)((double)load->next * 1e9 / order->rate) : load->now;
    load->next++;
    load->in_flight++;
    send_first(load, flight);
    return 1;
}

/* How many operations may have begun by now: none before the first order. */
static uint64_t allowance(const struct load *load) {
    const struct load_order *order = &load->order;
    uint64_t most = UINT64_MAX;
    if (load->stop || !order->count) {
        return 0;
    }
    if (order->rounds) {
        most = (uint64_t)order->rounds * order->count;
    } else if (load->finish) {
        most = ((uint64_t)load->round + 1) * order->count;
    }
    if (order->rate > 0) {
        uint64_t due = 1 + (uint64_t)((double)(load->now - load->began) * 1e-9 * order->rate);
        return due < most ? due : most;
    }
    return most;
}

/* At least one is let through before anything else is looked at. */
static uint32_t begin_more(struct load *load) {
    uint64_t allowed = allowance(load);
    uint32_t room = load_room(load), begun = 0;
    while (begun < room && begin_one(load, allowed)) {
        begun++;
    }
    load->result.started += begun;
    return begun;
}

/* Now and then: what has gone unanswered too long is sent again, in the end given up. */
static void sweep(struct load *load) {
    if (load->now - load->swept < SWEEP) {
        return;
    }
    load->swept = load->now;
    for (uint32_t i = 0; i < load->config.flight; i++) {
        struct flight *flight = &load->flights[i];
        if (!flight->state || load->now - flight->sent < REPEAT) {
            continue;
        }
        if (flight->tries++ == TRIES) {
            load_end(load, flight, &load->result.lost);
        } else if (load_room(load)) {
            flight->sent = load->now;
            load->result.repeated++;
            send_first(load, flight);
            load_flush(load);
        }
    }
}

static int done(struct load *load) {
    uint64_t most = (uint64_t)load->order.rounds * load->order.count;
    if (load->finish && !load->order.rounds) {
        most = ((uint64_t)load->round + 1) * load->order.count;
    }
    return !load->in_flight && (load->stop || (most && load->next >= most));
}

int load_run(struct load *load, int64_t nanoseconds) {
    load->now = clock_now();
    int64_t last = load->now, end = last + nanoseconds;
    int finished;
    do {
        uint32_t work = load_input(load);
        work += begin_more(load);
        load_flush(load);
        sweep(load);
        load->now = clock_now();
        load->nic->now = load->now;
        load->result.idle += work ? 0 : load->now - last;
        load->result.nanoseconds += load->now - last;
        last = load->now;
        finished = done(load);
    } while (!finished && load->now < end);
    load->result.rounds = load->next / (load->order.count ? load->order.count : 1);
    return finished;
}

/* 16 buckets an octave; below 16 ns one each. */
uint32_t load_bucket(uint64_t nanoseconds) {
    if (nanoseconds < 16) {
        return (uint32_t)nanoseconds;
    }
    uint32_t shift = 59 - (uint32_t)__builtin_clzll(nanoseconds);
    uint32_t bucket = (shift + 1) * 16 + (uint32_t)(nanoseconds >> shift) - 16;
    return bucket < LOAD_BUCKETS ? bucket : LOAD_BUCKETS - 1;
}

uint64_t load_bucket_least(uint32_t bucket) {
    return bucket < 16 ? bucket : (uint64_t)(bucket % 16 + 16) << (bucket / 16 - 1);
}
