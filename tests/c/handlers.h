/* The functions a handler may call, by address: the test library is not linked with the module. */
#pragma once

#include "../../dataplane/actor.h"

struct handler_api {
    int64_t (*send)(struct call *, struct record *, const uint8_t *, int64_t);
    int64_t (*room)(struct call *, struct record *);
    void (*want_writable)(struct call *, struct record *);
    void (*need)(struct call *, int64_t);
    void (*close)(struct call *, struct record *);
    void (*abort)(struct call *, struct record *);
    void (*set_timer)(struct call *, struct record *, int64_t);
    void (*cancel_timer)(struct call *, struct record *);
    int64_t (*tell)(struct call *, int64_t, int64_t, const uint8_t *, int64_t);
    struct record *(*connection)(struct call *, int64_t);
    int64_t (*find)(const uint8_t *, int64_t, const uint8_t *, int64_t, int64_t);
};
void handlers_bind(const struct handler_api *api);

/* What ran, in order; wraps around. */
struct logged {
    uint32_t handler, nesting; /* nesting: how many handlers were running when it began */
    int64_t handle, argument, length;
};
enum { LOGGED = 65536 };
extern struct logged handler_log[LOGGED];
extern uint64_t handler_logged;
void handlers_reset(void);

/* The script actor: its input says what to do (handlers.c). */
void script_start(struct call *call);
void script_tick(struct call *call);
void script_open(struct call *call);
void script_data(struct call *call);
void script_writable(struct call *call);
void script_end(struct call *call);
void script_close(struct call *call);
void script_timer(struct call *call);
void script_message(struct call *call); /* replies with its payload, reversed */
void failing(struct call *call);        /* never sets ok */

/* Whole actors with one handler. */
void hello_data(struct call *call); /* HTTP/1.1: six bytes for every head */
void echo_data(struct call *call);
void fault_data(struct call *call); /* fails on every call */
