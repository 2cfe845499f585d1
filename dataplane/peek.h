/* A core's connections and pools as any process sees them through a read-only mapping of its arena. Stores nothing
 * there; the core goes on meanwhile, so what is read may be some stores old, and one field older than the next. */
#pragma once

#include <stdint.h>

enum { PEEK_NEVER = -1 };

struct peek_row { /* one connection; addresses and ports in host byte order, times in milliseconds */
    int64_t handle;
    uint32_t local_address, remote_address;
    uint16_t local_port, remote_port;
    uint8_t core;
    uint8_t state;    /* enum record_state */
    uint8_t listener; /* index into the group's listeners */
    uint8_t retransmits;
    uint16_t flags;              /* enum record_flag */
    uint16_t mss;                /* bytes; 0: driver kernel */
    uint32_t idle;               /* since something was heard of the peer */
    uint32_t age;                /* since on_open; before, since the handshake began */
    uint32_t kept;               /* bytes received that on_data has left */
    uint32_t need;               /* bytes on_data waits for, 0 = any */
    uint32_t queued;             /* bytes to send, those in flight and those pushed included */
    uint32_t in_flight;          /* sequence numbers sent and not acknowledged; frame drivers, as all that follow */
    uint32_t window;             /* bytes the peer takes beyond what it acknowledged */
    uint32_t congestion_window;  /* bytes; 0 while idle */
    uint32_t round_trip;         /* microseconds, smoothed; 0 = not known */
    uint32_t retransmit_timeout; /* 0 while idle */
    /* Until a timer runs out, PEEK_NEVER = not set: the actor's, retransmission, delayed ACK, window probe, TCP's
     * earliest. */
    int32_t timer_due, retransmit_due, ack_due, probe_due, transport_due;
    uint8_t probes; /* of a closed window, sent without news */
    uint8_t recovering;
    uint8_t spare[6];
};

struct peek_fill { /* how full a core's pools are */
    uint64_t connections, connections_most;
    uint64_t half_open;
    uint64_t busy, busy_most;       /* blocks */
    uint64_t buffers, buffers_most; /* bytes */
    uint64_t time_wait, time_wait_most;
    uint64_t timers, timers_most; /* entries of the wheel, stale ones too */
};

/* 0, or -errno: no arena that this code can read in `bytes` of memory. */
int peek_check(const void *arena, uint64_t bytes);
/* The record indexes in use so far are below this. */
uint32_t peek_end(const void *arena);
/* The live ones of `count` records from index `first` on; rows has room for `count`. Returns how many. A row is one
 * connection's: who went or came while it was read is left out. */
uint32_t peek_rows(const void *arena, uint32_t first, uint32_t count, struct peek_row *rows);
/* 1, or 0: this handle names no connection of this core. */
int peek_handle(const void *arena, int64_t handle, struct peek_row *row);
void peek_fill(const void *arena, struct peek_fill *fill);
