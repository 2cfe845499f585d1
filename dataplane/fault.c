/* What happens when a handler fails: counted always, told to the control plane a few times a second, because a flood of
 * bad input must not own the core. Owned by the core; knows no transport. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core.h"
#include "count.h"
#include "handler.h"
#include "record.h"

static const int64_t SECOND = 1000000000;
_Static_assert(sizeof(struct fault_event) <= RING_MESSAGE_MAX, "a fault fits one message");
_Static_assert(RECORD_STATE_BYTES == sizeof(((struct fault_event *)0)->state), "the whole state in the record");

/* Reporting entries cost microseconds, so only a few a second; afterwards the quiet ones run. */
int fault_reporting(const struct core *core, const struct actor *actor) {
    return actor->fault_count < FAULT_REPORTS_PER_SECOND || core->now - actor->fault_second >= SECOND;
}

void fault_prepare(struct call *call) {
    struct fault_event *fault = &call->core->fault;
    fault->line = 0;
    fault->where[0] = 0;
    if (call->state)
        memcpy(fault->state, call->state, RECORD_STATE_BYTES);
    else
        memset(fault->state, 0, RECORD_STATE_BYTES);
}

static int fault_tell(struct actor *actor, struct call *call, uint32_t handler) {
    struct core *core = call->core;
    struct fault_event *fault = &core->fault;
    struct ring *ring = core->to[CORE_CONTROL];
    if (!ring)
        return 0;
    fault->handle = call->handle;
    fault->actor = actor->number;
    fault->handler = handler;
    fault->count = actor->faults_untold;
    fault->data_total = call->data ? (uint32_t)call->length : 0;
    fault->data_length = fault->data_total < FAULT_DATA ? fault->data_total : FAULT_DATA;
    if (fault->data_length)
        memcpy(fault->data, call->data, fault->data_length);
    struct ring_message message = {
        .type = EVENT_FAULT,
        .length = (uint16_t)(offsetof(struct fault_event, data) + fault->data_length),
        .kind = MESSAGE_EVENT,
        .target = (uint8_t)actor->reports_to,
    };
    return ring_put(ring, &message, fault) == 1;
}

void fault_count(struct actor *actor, struct call *call, uint32_t handler, int report) {
    struct core *core = call->core;
    count(core, COUNTER_FAULTS, 1);
    if (core->now - actor->fault_second >= SECOND) {
        actor->fault_second = core->now;
        actor->fault_count = 0;
    }
    actor->fault_count++;
    actor->faults_untold++;
    if (!report)
        count(core, COUNTER_FAULTS_QUIET, 1);
    else if (fault_tell(actor, call, handler))
        actor->faults_untold = 0;
}

void fault_note(struct core *core, const char *where, uint32_t line) {
    size_t length = strnlen(where, FAULT_WHERE - 1);
    memcpy(core->fault.where, where, length);
    core->fault.where[length] = 0;
    core->fault.line = line;
}
