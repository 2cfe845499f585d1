/* One socket of the kernel transport, and the lists they share. Private to kernel.c and kernel_socket.c. */
#pragma once

#include <stdint.h>
#include <sys/epoll.h>
#include "../dataplane/actor.h"

enum {
    KERNEL_EVENTS = 32,      /* taken from epoll a turn */
    KERNEL_READY = 32,       /* sockets known to be readable, read a turn */
    KERNEL_READ = 65536,     /* bytes a connection may hand in a turn */
    KERNEL_ACCEPTS = 32,     /* a listener a turn */
    KERNEL_PIECES = 16,      /* of what a connection sends, handed to Linux at once */
    KERNEL_LINGER = 5000,    /* milliseconds that the peer has to agree to our FIN */
    KERNEL_UNREAD = 60000,   /* milliseconds that it has to read what was sent before the actor closed */
    KERNEL_ACCEPT_WAIT = 50, /* milliseconds until accept is tried again after it ran out of something */
};

struct socket {         /* of a record, at its index */
    int32_t descriptor; /* -1 = none */
    uint8_t ready;      /* on the ready list */
    uint8_t ended;      /* epoll saw the peer's end: a short read is not the last */
    uint8_t failed;     /* epoll saw an error */
    uint8_t blocked;    /* Linux took nothing more: it will tell of space */
};

struct kernel {
    int epoll;
    uint32_t live;
    struct socket *sockets;
    uint32_t *ready; /* ring of capacity + 1 record indexes: readable, but not read to the end */
    uint32_t ready_next, ready_count;
    int waiting;                     /* events that idle took already */
    int empty;                       /* the last look at epoll found nothing */
    uint32_t accept_again;           /* tick at which paused listeners listen again, 0 = none is paused */
    uint32_t sweep;                  /* drain: the next record to look at */
    uint8_t *buffer;                 /* KERNEL_READ bytes */
    uint32_t local[ACTOR_LISTENERS]; /* the address a listener is bound to, network byte order, 0 = any */
    struct epoll_event events[KERNEL_EVENTS];
};

struct core;
int socket_keepalive(const struct core *core, int descriptor); /* by core.config; accepted sockets inherit it */
uint32_t socket_accept(struct core *core, uint32_t listener);
/* 1 if it took anything from the socket. */
uint32_t socket_read(struct core *core, uint32_t index);
void socket_write(struct core *core, uint32_t index);
void socket_expire(struct core *core, uint32_t index); /* the transport's timer */
/* on_close, then the descriptor goes (reset: with RST); the record follows at the end of the turn. */
void socket_finish(struct core *core, uint32_t index, int reason, int reset);
/* kernel_connect.c: struct transport.connect; and events of a socket that connects. 1 once it is open. */
int64_t kernel_connect(struct core *core, uint32_t listener, uint32_t address, uint16_t port, const uint8_t *next_hop);
int kernel_connected(struct core *core, uint32_t index, uint32_t events);
void listeners_watch(struct core *core, uint32_t events);
