/* A client or server end for tests, generators and tools: an actor in C on a core of its own, which collects what it
 * receives for whoever polls that core. Process-local; not for data-plane cores: it keeps bytes in ordinary memory. */
#pragma once

#include <stdint.h>

struct peer_connection {
    uint32_t index;  /* record, 0 = none any more */
    uint32_t length; /* bytes received and not yet taken */
    uint8_t opened, ended, closed;
    uint8_t reason; /* enum close_reason, once closed */
    uint8_t used;
    uint8_t rest[3];
};

struct core;
struct peer;
/* Adds a listener for `port` (network byte order; 0: for tcp_connect only) to `core`. connections: at most so many at a
 * time; room: bytes each may have received and not taken, beyond which the window closes. answer_end: a FIN is answered
 * with ours. NULL: no memory, or too many listeners. */
struct peer *peer_open(struct core *core, uint16_t port, uint32_t connections, uint32_t room, int answer_end);
void peer_free(struct peer *peer);
/* A new connection's number, or -ENOBUFS. Addresses as in tcp_connect. */
int peer_connect(struct peer *peer, uint32_t remote_address, uint16_t remote_port, uint16_t local_port,
                 const uint8_t *next_hop);
/* The next passively opened connection nobody has asked for yet, or -EAGAIN. */
int peer_accept(struct peer *peer);
struct peer_connection *peer_at(struct peer *peer, int number);
/* Bytes taken into the send buffer: fewer than length when it is full. -ENOTCONN. */
int64_t peer_send(struct peer *peer, int number, const uint8_t *data, uint32_t length);
int64_t peer_receive(struct peer *peer, int number, uint8_t *into, uint32_t most);
void peer_close(struct peer *peer, int number);
void peer_abort(struct peer *peer, int number);
void peer_forget(struct peer *peer, int number); /* the number may be given again */
