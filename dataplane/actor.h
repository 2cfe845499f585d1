/* The border between the loop and a handler: one call frame, one function-pointer type.
 * Compiled Python, interpreted Python and hand-written C handlers all sit behind it.
 * Everything a handler may touch hangs off struct call; it outlives no call. */
#pragma once

#include <stdint.h>

enum handler {
    ON_START, /* argument: 1 if the core was adopted after a crash */
    ON_TICK,
    ON_OPEN,
    ON_DATA, /* result: bytes consumed, 0..length */
    ON_WRITABLE,
    ON_END,   /* the peer's FIN */
    ON_CLOSE, /* argument: enum close_reason */
    ON_TIMER,
    HANDLER_COUNT,
};

enum close_reason {
    CLOSE_LOCAL,       /* the actor closed and the peer agreed */
    CLOSE_PEER,        /* the peer closed first */
    CLOSE_RESET,       /* RST from the peer */
    CLOSE_ABORTED,     /* connection.abort() */
    CLOSE_FAULT,       /* a handler failed */
    CLOSE_TIMEOUT,     /* retransmissions or keepalives went unanswered */
    CLOSE_OVERFLOW,    /* max_unconsumed bytes kept and still nothing consumed, or no buffer left for it */
    CLOSE_WORKER_LOST, /* the worker died and the transport can't continue it */
    CLOSE_SHUTDOWN,    /* the runtime is stopping */
};

enum {
    ACTOR_MESSAGES = 64,
    ACTOR_LISTENERS = 33 /* 32 of the layout, and the relay's */,
    FAULT_REPORTS_PER_SECOND = 10
};

/* What the control plane is told of a fault: an EVENT message on the ring to it, cut after data_length bytes of data.
 */
enum event_type {
    EVENT_FAULT = 1,
    EVENT_FRAME =
        2, /* between cores of a group (handover.h); target: how many cores have not seen it, this one counted */
    EVENT_STREAM = 3,    /* of a connection that the control plane serves (relay.h) */
    EVENT_PUSH = 4,      /* from the control plane (push.h) */
    EVENT_NEIGHBOUR = 5, /* neighbour.h */
};
enum { FAULT_WHERE = 512, FAULT_DATA = 1024 };

struct fault_event {
    int64_t handle;
    uint32_t actor;   /* struct actor.number */
    uint32_t handler; /* enum handler, or HANDLER_COUNT + message type */
    uint32_t line;    /* 0 = not known: replay data through the plain Python function */
    uint32_t count;   /* faults since the last report, this one included */
    uint32_t data_length;
    uint32_t data_total;     /* how long the bytes really were */
    uint8_t state[32];       /* application state before the call */
    char where[FAULT_WHERE]; /* "file: Exception: text", zero-terminated, or "" */
    uint8_t data[FAULT_DATA];
};

struct core;
struct record;

/* What a handler is called with; read and written at fixed offsets by compiled code. */
struct call {
    struct core *core;
    struct record *record; /* NULL for on_start, on_tick, @on */
    const uint8_t *data;   /* on_data: the bytes; @on: the message */
    int64_t length;
    int64_t argument;      /* restarted, close reason, sender of a message */
    int64_t result;        /* bytes consumed; @on(Request): bytes written to reply */
    int64_t ok;            /* set to 1 as the handler's last act; still 0 = it failed */
    uint8_t *state;        /* the connection's application state */
    uint8_t *core_state;   /* self.core */
    const uint8_t *config; /* self.config */
    uint8_t *out;          /* bytes this handler sends to its own connection */
    int64_t out_length, out_space;
    uint8_t *reply; /* @on(Request): where the reply goes */
    int64_t now;    /* nanoseconds, monotonic */
    int64_t core_id;
    int64_t handle;            /* of record; 0 without one */
    const struct actor *actor; /* whose handler runs */
    int64_t handed; /* 0, or 1 + bytes given to the control plane: it has the connection when the handler is through */
    uint32_t outer; /* core_state.current when the frame was opened: a transport's delivery under way, or 0 */
};
typedef void (*handler_entry)(struct call *call);

struct message_handler {
    uint32_t type;         /* message type number of the layout */
    uint32_t reply_length; /* bytes, 0 = no reply */
    handler_entry reporting, quiet;
};

/* One listener's actor on one core; process-local. */
struct actor {
    handler_entry reporting[HANDLER_COUNT]; /* NULL = not defined by the user */
    handler_entry quiet[HANDLER_COUNT];
    struct message_handler messages[ACTOR_MESSAGES];
    uint32_t message_count;
    uint32_t state_size; /* bytes; beyond RECORD_STATE_BYTES it lives in the side array */
    uint8_t *side_state; /* state_size bytes a record index, or NULL */
    uint8_t *core_state;
    const uint8_t *config;
    uint32_t max_unconsumed; /* bytes */
    uint32_t reply_reserve;  /* bytes */
    uint32_t calls_per_turn; /* on_data calls a connection may have in one turn */
    uint32_t tick_period;    /* milliseconds, 0 = no on_tick */
    uint32_t tick_due;
    uint32_t push_queue;  /* bytes a connection may have queued for one more push to be queued to it */
    uint32_t push_reset;  /* 1: whoever has more is reset; 0: the push is dropped for it */
    uint32_t reports_to;  /* mailbox number in the control plane */
    uint32_t number;      /* of this actor in the layout, for reports */
    int64_t fault_second; /* the second that fault_count counts in */
    uint32_t fault_count;
    uint32_t faults_untold; /* since the last report to the control plane */
    uint32_t relays;        /* 1: the relay's handlers; what they leave waits for credit and is no overflow */
};

/* Puts a record on the core's pending list: transport->output gets it at the end of the turn. For transports too. */
void actor_pend(struct core *core, uint32_t index);
/* After a crash, when listeners and transport stand: resets the connection whose handler ran. */
void actor_adopt(struct core *core);

/* Called by a transport. None of them nests; all queue what the handler asked for on the pending list. */
void actor_start(struct core *core, int restarted);
void actor_tick(struct core *core);
void actor_open(struct core *core, uint32_t index);
/* In-order bytes; copies what the actor leaves. The caller has made sure length <= actor_window(). */
void actor_deliver(struct core *core, uint32_t index, const uint8_t *data, uint32_t length);
/* After send space came free: a paused on_data and a wanted on_writable run. */
void actor_resume(struct core *core, uint32_t index);
/* The kept bytes are offered again: the actor may take more than it could. */
void actor_retry(struct core *core, uint32_t index);
/* The loop's: offers the kept bytes of the records on the again list. Returns how many; bounded. */
uint32_t actor_again(struct core *core);
/* The peer will send no more. on_end runs when all kept bytes have been offered. */
void actor_end(struct core *core, uint32_t index);
void actor_timer(struct core *core, uint32_t index);
/* on_close, exactly once, and only if on_open ran; before record_free, and once output has the record or nothing of
 * this turn can name it. With FLAG_ABORTING set by the actor layer the reason stands in the record and wins. */
void actor_close(struct core *core, uint32_t index, int reason);
/* sender: the peer's number. Bytes written to reply (RING_MESSAGE_MAX of room), 0 for a message without one; -ENOMSG:
 * this actor has no handler for the type; -EFAULT: it failed. */
int actor_message(struct core *core, uint32_t listener, uint32_t type, const uint8_t *data, uint32_t length,
                  int64_t sender, uint8_t *reply);
/* Bytes the actor can still take: max_unconsumed less what is kept. */
uint32_t actor_window(struct core *core, uint32_t index);

/* Called by handlers, compiled or interpreted. `record` may be another connection of this core. */
struct record *call_connection(struct call *call, int64_t handle); /* NULL: gone, or another actor's */
uint8_t *call_state(struct call *call, struct record *record);
int64_t call_handle(struct call *call, struct record *record);
int64_t call_room(struct call *call, struct record *record); /* bytes send can still take */
int64_t call_send(struct call *call, struct record *record, const uint8_t *data,
                  int64_t length); /* 1, or 0: no room, nothing sent */
void call_want_writable(struct call *call, struct record *record);
void call_need(struct call *call, int64_t bytes);
int64_t call_subscribe(struct call *call, struct record *record, int64_t topic);   /* 1, or 0: no room */
int64_t call_unsubscribe(struct call *call, struct record *record, int64_t topic); /* 1, or 0: it had not */
void call_close(struct call *call, struct record *record);
void call_abort(struct call *call, struct record *record);
/* The connection whose handler runs, and what was read of it, go to the control plane. 1, or 0: another connection,
 * more than RELAY_WINDOW bytes, or the ring is full (counted). */
int64_t call_hand_over(struct call *call, struct record *record, const uint8_t *data, int64_t length);
void call_set_timer(struct call *call, struct record *record, int64_t milliseconds);
void call_cancel_timer(struct call *call, struct record *record);
/* target: -1 = the listener's reports_to; otherwise a core number, or a handle (never below 1 << 24) for its core. 1,
 * or 0: mailbox full (counted), or no such core. */
int64_t call_tell(struct call *call, int64_t type, int64_t target, const uint8_t *data, int64_t length);
/* To each core whose bit is set in `cores`. 1 only if every one's ring took it; those that did not are counted. */
int64_t call_tell_cores(struct call *call, int64_t type, uint64_t cores, const uint8_t *data, int64_t length);
int64_t view_find(const uint8_t *data, int64_t length, const uint8_t *what, int64_t what_length, int64_t start);
/* From sys.unraisablehook, inside a reporting entry: where the running handler failed. */
void fault_note(struct core *core, const char *where, uint32_t line);
