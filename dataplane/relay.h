/* The relay: the actor of connections that the control plane serves as asyncio streams. It passes bytes both ways over
 * the rings, bounded by credit: either side counts the bytes of its direction from 0, modulo 2^32, and may send up to
 * the limit that it was told last. docs/streams.md has the messages. Knows rings and streams, no transport. */
#pragma once

#include <stdint.h>

enum {
    RELAY_WINDOW = 131072, /* bytes either side may send before it is told of more */
    RELAY_PIECE = 3576,    /* bytes in one message: RING_MESSAGE_MAX less struct relay_head */
    RELAY_ERRNO = 256,     /* RELAY_CLOSED of a connection that never opened: this plus an errno */
};

/* All are EVENT_STREAM messages: `target` is one of these, `tag` the record's index. */
enum relay_up {                   /* to the control plane; relay_head.at: */
                RELAY_OPEN,       /* struct relay_open */
                RELAY_DATA,       /* place of the first byte; the bytes follow */
                RELAY_END,        /* place of the peer's FIN */
                RELAY_CLOSED,     /* enum close_reason: nothing more comes */
                RELAY_CREDIT,     /* it may write up to this place */
                RELAY_GONE,       /* what RELAY_SYNC asked after is no connection of ours */
                RELAY_CONNECTING, /* of RELAY_CONNECT: its cookie; index 0: no, and generation is an errno */
                RELAY_RESYNC,     /* messages may be lost: ask after each connection */
};

enum relay_down {                /* from the control plane; relay_head.at: */
                  RELAY_WRITE,   /* place of the first byte; the bytes follow */
                  RELAY_FINISH,  /* what was written: no more comes, but it reads on */
                  RELAY_CLOSE,   /* what was written: it reads no more either */
                  RELAY_ABORT,   /* anything */
                  RELAY_GRANT,   /* it takes up to this place */
                  RELAY_SYNC,    /* struct relay_sync */
                  RELAY_CONNECT, /* struct relay_connect */
};

struct relay_head {
    uint32_t generation; /* of the record: with another one the message is stale */
    uint32_t at;
};

struct relay_open {
    uint32_t generation;
    uint32_t number;                        /* of the listener in the layout */
    uint32_t remote_address, local_address; /* network byte order, as the ports */
    uint16_t remote_port, local_port;
    uint32_t active; /* 1: RELAY_CONNECT asked for it */
    uint32_t handed; /* so many bytes of RELAY_DATA are hand_over's, and follow at once */
};

enum relay_ending { RELAY_WRITING, RELAY_FINISHED, RELAY_HAS_CLOSED, RELAY_HAS_ABORTED };

struct relay_sync { /* how far the control plane is */
    uint32_t generation;
    uint32_t at;      /* what was written */
    uint32_t granted; /* it takes up to this place */
    uint32_t ending;  /* enum relay_ending */
};

struct relay_connect {
    uint32_t cookie;
    uint32_t address; /* network byte order, as the port */
    uint16_t port;
    uint8_t next_hop[6]; /* MAC; frame transports */
};

/* A relayed connection's state, in its record: it survives the worker. */
struct relay {
    uint32_t taken;    /* bytes given to the control plane */
    uint32_t allowed;  /* it takes up to here */
    uint32_t accepted; /* bytes it wrote */
    uint32_t promised; /* it was told it may write up to here */
    uint32_t number;   /* of the listener in the layout */
    uint8_t known;     /* RELAY_OPEN went */
    uint8_t ended;     /* RELAY_END went */
    uint8_t half;      /* 1: RELAY_FINISH came, and RELAY_CLOSE has not */
    uint8_t spare[9];
};

struct core;
struct call;
struct ring_message;
/* Its handlers. */
void relay_opened(struct call *call);
void relay_data(struct call *call);
void relay_writable(struct call *call);
void relay_end(struct call *call);
void relay_close(struct call *call);
void relay_timer(struct call *call);
/* An EVENT_STREAM message from the control plane. 1: there is an answer in *message and reply. */
int relay_message(struct core *core, struct ring_message *message, const uint8_t *payload, uint8_t *reply);
void relay_turn(struct core *core);                            /* once a turn */
void relay_adopt(struct core *core);                           /* a new worker: both sides compare */
void relay_failed(struct core *core, uint32_t index, int why); /* a connect that never opened; enum close_reason */
/* 1: FIN is asked for or sent, and the peer's bytes are still wanted. */
int relay_listens(const struct core *core, uint32_t index);
/* 1: both have sent FIN, and not all that the peer sent has gone to the control plane: the record must stay. */
int relay_holds(struct core *core, uint32_t index);
