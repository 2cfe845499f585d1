/* The floor of handlers.py: the echo handler by hand, behind the same call frame, and the loop that calls every
 * candidate. Compiled by handlers.py; what it needs of the loop comes as pointers. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "core.h"
#include "record.h"

typedef int64_t (*send_function)(struct call *call, struct record *record, const uint8_t *data, int64_t length);
send_function outside_send;

/* As an engineer would write it: copy into the call's own space when it fits, otherwise ask. */
void c_echo(struct call *call) {
    uint32_t requests;
    memcpy(&requests, call->state, sizeof requests);
    requests++;
    memcpy(call->state, &requests, sizeof requests);
    int64_t length = call->length;
    if (length <= call->out_space - call->out_length) {
        memcpy(call->out + call->out_length, call->data, (size_t)length);
        call->out_length += length;
    } else if (!outside_send(call, call->record, call->data, length)) {
        return;
    }
    call->result = length;
    call->ok = 1;
}

void c_echo_outside(struct call *call) {
    uint32_t requests;
    memcpy(&requests, call->state, sizeof requests);
    requests++;
    memcpy(call->state, &requests, sizeof requests);
    if (!outside_send(call, call->record, call->data, call->length))
        return;
    call->result = call->length;
    call->ok = 1;
}

void c_nothing(struct call *call) {
    call->ok = 1;
}

/* Nanoseconds a call of `entry` over `data`, on the connection at `index` of an open core; -1 if one ended otherwise
 * than `ok` says. */
double run(handler_entry entry, struct core *core, uint32_t index, const uint8_t *data, int64_t length, int64_t ok,
           uint64_t calls) {
    struct actor *actor = core->listeners[0].actor;
    struct call call;
    struct timespec start, stop;
    memset(&call, 0, sizeof call);
    call.core = core;
    call.record = &core->records[index];
    call.actor = actor;
    call.state = call.record->application;
    call.core_state = actor->core_state;
    call.config = actor->config;
    call.out = core->staging;
    call.out_space = CORE_STAGING;
    core->state->current_handler = ON_DATA;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (uint64_t i = 0; i < calls; i++) {
        call.data = data;
        call.length = length;
        call.out_length = 0;
        call.result = 0;
        call.ok = 0;
        entry(&call);
        if (call.ok != ok)
            return -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &stop);
    return ((double)(stop.tv_sec - start.tv_sec) * 1e9 + (double)(stop.tv_nsec - start.tv_nsec)) / (double)calls;
}
