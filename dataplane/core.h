/* One data-plane core: what its worker keeps in its own memory (struct core: pointers into the arena, actors, rings)
 * and what must survive that worker (struct core_state, in the arena). */
#pragma once

#include <stdint.h>
#include "actor.h"
#include "../runtime/ring.h"

enum { CORE_PEERS = 65, CORE_CONTROL = 64, CORE_HANDLE_BITS = 7 };
enum { CORE_AT_HAND = 64 };     /* smallest buffers that wait outside the lists (buffer.c) */
enum { CORE_STAGING = 262144 }; /* bytes of struct core.staging's first half; reply_reserve may not exceed it */

enum core_run { CORE_RUNNING, CORE_DRAINING, CORE_STOPPED };

/* Several stores that must happen together: written first, cleared last, rolled forward or back by adoption (intent.c).
 */
struct intent {
    uint32_t kind; /* enum intent_kind, 0 = none; stored last, released */
    uint32_t index;
    uint32_t words[14]; /* what rolling needs; by kind */
};

struct core_state {
    /* Line 0: read by the supervisor. */
    uint64_t heartbeat; /* turns, counting on across workers */
    int64_t now;        /* nanoseconds, at the last turn */
    uint32_t run;       /* enum core_run, of the worker */
    uint32_t wanted;    /* enum core_run, set by the controller */
    uint32_t worker_pid, adoptions;
    uint32_t live, half_open; /* connections */
    uint32_t current;         /* record index whose handler runs now, 0 = none: reset at adoption */
    uint32_t current_handler; /* enum handler, or HANDLER_COUNT for a message */
    uint64_t line0_rest[2];
    /* Line 1: the intent. */
    struct intent intent;
    /* Line 2 on: heads of pools, keys. */
    uint64_t key[4];                    /* random, of table_hash, initial sequence numbers and timestamps */
    uint32_t record_free, record_fresh; /* free list; first index never used */
    uint32_t busy_free, busy_fresh;
    uint64_t buffer_fresh;    /* bytes of the buffer section never used, from its start */
    uint32_t buffer_free[16]; /* per class - BUFFER_CLASS_MIN: first free, in 64 B units */
    uint32_t epoch;           /* moved by every insert and delete of the table */
    uint32_t wheel_tick;      /* the tick the wheel has reached */
    uint32_t chunk_free, chunk_fresh;
    uint32_t time_wait_head, time_wait_tail;
    uint32_t last_now_tick;
    /* Journal of TCP's acknowledgement: snd_una and the send buffer move together (tcp_adopt.c). */
    uint32_t ack_index;        /* record, 0 = none; stored last */
    uint32_t ack_una;          /* the new snd_una */
    uint32_t ack_left;         /* bytes queued once it is done */
    uint32_t hash_kind;        /* enum hash_kind: what the records' stored hashes were made with */
    uint32_t firing;           /* record index | enum timer_which << 24 whose deadline runs out now, 0 = none: adoption
                                  lets it run out again */
    uint32_t wheel_entries;    /* in slots and backlog, stale ones too */
    uint32_t wheel_missed;     /* 1: a chunk was missing, so some deadline stands in no slot: timer_poll sweeps */
    uint32_t wheel_sweep;      /* the record index that sweep has reached */
    uint32_t end_index;        /* likewise of a peer's FIN: record, stored last */
    uint32_t end_next;         /* the new rcv_nxt */
    uint32_t busy_used;        /* busy blocks taken */
    uint32_t buffer_count[15]; /* per class: free buffers */
    uint32_t buffers_at_hand;  /* of the smallest class, in none of its lists (buffer.c) */
};

struct core_config {
    uint32_t core_id;
    uint32_t spin; /* 1: never sleep */
    uint32_t drain_milliseconds;
    uint32_t half_open_limit;
    uint32_t local_address; /* network byte order */
    uint32_t mtu;           /* bytes of IP packet */
    uint32_t keepalive;     /* seconds of silence before a connection's peer is asked, 0 = never */
};

struct configuration;
struct push_state;
struct subscription;
struct ring;
struct nic;
struct transport;

/* An ASK's reply that found the ring full: nothing more is read from that peer until it fits. */
struct parked_reply {
    struct ring_message message;
    uint32_t waiting;
    uint8_t payload[RING_MESSAGE_MAX];
};

/* A ring of record indexes, each at most once. What finds it full keeps its flag, by which lists_sweep finds it. */
struct record_list {
    uint32_t *places;
    uint64_t *listed;           /* a bit for each record: has a place; NULL for pending, which is empty between turns */
    uint32_t room, next, count; /* places; the oldest entry's; how many are taken */
    uint32_t unswept;           /* records that may have the flag and no place: so many from `sweep` on */
    uint32_t sweep;
};

struct listener {       /* one [[group.NAME.listen]] on this core */
    uint16_t port;      /* network byte order */
    uint16_t open;      /* 0 once draining */
    uint32_t config_at; /* where its actor's config lies in a configuration */
    int32_t descriptor; /* kernel transport: the listening socket, else -1 */
    struct actor *actor;
};

/* Everything below is opened at fixed offsets by nobody but C: Python builds it through core_open and its setters
 * (core.c). */
struct core {
    int64_t now;       /* nanoseconds, read once a turn */
    uint32_t tick;     /* now in milliseconds, modulo 2^32, never 0 */
    uint32_t capacity; /* connections */
    struct core_state *state;
    uint64_t *counters;
    struct histogram *histograms; /* histogram.h; HISTOGRAM_COUNT of them */
    struct record *records;
    struct busy *busy;
    uint8_t *buffers;
    uint64_t buffer_bytes;
    uint32_t buffer_classes;        /* bit c: a buffer of 2^c bytes is free */
    uint32_t at_hand[CORE_AT_HAND]; /* core_state.buffers_at_hand of them */
    uint8_t *index;                 /* table.h */
    uint32_t buckets;
    uint32_t busy_blocks;
    uint8_t *timers; /* timer.h */
    uint32_t timer_chunks;
    uint32_t time_wait_entries;
    uint8_t *time_wait;           /* time_wait.h */
    struct neighbour *neighbours; /* neighbour.h; NEIGHBOURS of them */
    struct routes *routes;        /* routes.h; and the table in force, NULL before the first turn */
    const struct route_table *route_table;
    uint32_t mtu; /* bytes of IP packet we may send now: config.mtu, or what the interface has since */
    uint8_t *side_state;
    uint8_t *actor_state;
    uint8_t *frames;
    struct configuration *configuration; /* configure.h */
    uint32_t configured;                 /* the version of it that the actors have */
    struct push_state *push;             /* push.h */
    uint32_t push_short_since;           /* tick since when pushes find no memory, 0 = they do */
    uint32_t subscriptions;              /* how many there may be (topic.h) */
    struct subscription *subscribed;
    uint32_t *topic_leaders, *topics_of;
    const struct transport *transport;
    void *transport_private;          /* kernel.c, tcp.c, bench.c: their own */
    struct nic *nic;                  /* frame transports */
    uint32_t group_cores, group_next; /* cores that share the NIC, this one counted; the next of them. 0: alone */
    struct listener listeners[ACTOR_LISTENERS];
    uint32_t listener_count;
    uint32_t relay;             /* 1 + the listener of connections that were handed over or connected; 0 = none */
    uint32_t relay_resync;      /* 1: the control plane has missed the end of one, or a worker (relay.h) */
    struct record_list pending; /* with FLAG_PENDING: for transport->output at the end of the turn (actor_pend) */
    struct record_list again;   /* with FLAG_AGAIN: for the next turn */
    uint8_t
        *staging; /* struct call.out of the running handler, CORE_STAGING bytes; then as many for connection.reserve */
    struct ring *to[CORE_PEERS]; /* to[k]: we produce, core k consumes; to[CORE_CONTROL]: the control plane */
    struct ring *from[CORE_PEERS];
    uint64_t from_cores; /* bit k: from[k] is there, but for the control plane's */
    int bell;            /* an eventfd by which the control plane ends our sleep (bell.h), -1 = none */
    struct core_config config;
    struct parked_reply parked[CORE_PEERS];
    struct fault_event fault; /* of the running handler: its state before the call, and what fault_note said */
    int64_t drain_until;
    uint32_t shortage_since, shortage_last; /* ticks of wants for buffers that found none (relief.c), 0 = no shortage */
    uint32_t shortage_felt;                 /* 1: such a want since the last reset that relief.c made */
    uint32_t relief_block;                  /* the busy block looked at last */
    uint64_t measured_calls, measure_call;  /* handler calls when one was last measured, and when the next is due */
    int64_t measure_due;                    /* nanoseconds: due by then in any case (measure.h) */
    uint32_t worked, slept;                 /* the last turn found work; the loop slept after it */
    int virtual_clock;                      /* 1: now is set by the caller (tests, Bench) */
};

/* base: a mapped, formatted arena. adopt: take over what a dead worker left; otherwise it is fresh. 0 or -errno; *core
 * is malloc'd. */
int core_open(void *base, const struct core_config *config, int adopt, struct core **core);
void core_close(struct core *core);
uint64_t core_list_bytes(uint64_t connections); /* of the process-local lists */
enum { CORE_LISTED = 65536 };                   /* records in each of them at most; more wait in their flags */
struct actor *core_listen(struct core *core, uint16_t port,
                          int descriptor); /* adds a listener with an empty actor; NULL: too many */
void core_peer(struct core *core, uint32_t peer, struct ring *to, struct ring *from);
void core_bell(struct core *core, int descriptor); /* before the transport is attached */
void core_clock(struct core *core, int64_t now);   /* set now and tick; virtual clock from then on */
void core_group(struct core *core, uint32_t cores, uint32_t next);
int64_t clock_now(void);
