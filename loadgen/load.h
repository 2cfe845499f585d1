/* Stateless TCP clients that load a server: who a client is, its sequence numbers and what it says follow from its
 * number and a keyed hash, the rest from the frame in hand. Memory is held per operation in flight, none per
 * connection. Runs on one core, over any NIC driver; needs the server's key, so the server is one of ours. */
#pragma once

#include <stdint.h>

enum load_kind {
    LOAD_OPEN,    /* SYN, first request, its answer; the connection stays */
    LOAD_REQUEST, /* a request on a connection that is there, and its answer */
    LOAD_LIFE,    /* SYN, request, answer, FIN both ways */
    LOAD_SERVED,  /* the same, but the server's FIN comes first, so that TIME-WAIT is its own */
    LOAD_CLOSE,   /* FIN both ways */
};

enum load_sequence {
    LOAD_ROBIN,  /* one after the other */
    LOAD_RANDOM, /* each once a round, in another random order each round */
};

enum { LOAD_PAYLOAD_LEAST = 24, LOAD_PAYLOAD_MOST = 1400, LOAD_BUCKETS = 1024 };

struct load_config {
    uint64_t key[2];                       /* the clients' */
    uint64_t server_key[2];                /* the second half of core_state.key: its initial sequence numbers */
    int64_t began;                         /* nanoseconds of CLOCK_MONOTONIC, before the first connection */
    uint32_t server_address, first_client; /* host byte order */
    uint16_t server_port, payload;         /* host byte order; bytes a request and its answer */
    uint8_t server_mac[6];
    uint16_t flight; /* most operations in flight, a power of two */
};

struct load_order {
    uint32_t kind;     /* enum load_kind */
    uint32_t sequence; /* enum load_sequence; everything but requests goes robin */
    uint32_t first;    /* number of the first connection */
    uint32_t count;    /* how many connections */
    uint32_t asked;    /* requests each of them has already had answered */
    uint32_t rounds;   /* over all of them; 0: until told to finish */
    double rate;       /* operations a second, 0: as fast as they are answered */
};

struct load_result {
    uint64_t started, done; /* operations */
    uint64_t wrong;         /* answers, or segments, with another byte or number than they must have */
    uint64_t lost;          /* operations given up without an answer */
    uint64_t duplicates;    /* answers that the server gave twice: each had its own place in the stream */
    uint64_t again;         /* answers that came again, as of a TCP that saw no acknowledgement */
    uint64_t resets;        /* operations that the server ended with a reset */
    uint64_t late;          /* resets and SYN-ACKs to nothing in flight */
    uint64_t bad;           /* of our connections, but cut short or with a wrong checksum */
    uint64_t foreign;       /* frames of anything else: a wire through Linux carries its questions too */
    uint64_t repeated;      /* segments sent again for want of an answer */
    uint64_t tx_frames, rx_frames;
    uint64_t rounds;                /* completed */
    int64_t nanoseconds;            /* since the order began, while it ran */
    int64_t idle;                   /* of them, without anything to do */
    uint64_t latency[LOAD_BUCKETS]; /* answers by load_bucket of their nanoseconds */
};

struct nic;
struct load;
/* 0, -EINVAL: a size out of range, -ENOMEM. */
int load_open(struct nic *nic, const struct load_config *config, struct load **load);
void load_close(struct load *load);
/* Only when nothing is in flight; result starts at zero. */
void load_begin(struct load *load, const struct load_order *order);
/* Works so long, or until the order is done; 1: it is done. */
int load_run(struct load *load, int64_t nanoseconds);
void load_finish(struct load *load); /* end with the round that runs; then asked has grown by result.rounds */
void load_stop(struct load *load);   /* start nothing more; an unfinished round leaves connections of two kinds */
const struct load_result *load_result(const struct load *load);
uint32_t load_bucket(uint64_t nanoseconds);
uint64_t load_bucket_least(uint32_t bucket);
/* A server without TCP: sends each request back under good checksums, for the ceiling of clients and driver. Returns
 * frames received. */
uint64_t load_mirror(struct nic *nic, int64_t nanoseconds);
/* Spins so long; how many gaps of more than `gap` nanoseconds there were between two looks at the clock. */
uint64_t load_spin_gaps(int64_t nanoseconds, int64_t gap);
