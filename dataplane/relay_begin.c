/* connection.hand_over: a data actor gives the connection whose handler runs to the control plane. What it read goes
 * into the ring at once; the record changes hands when the handler is through, because its state is still the actor's.
 * Runs on the owning core. */
#include <string.h>

#include "../runtime/ring_cell.h"
#include "buffer.h"
#include "core.h"
#include "count.h"
#include "handler.h"
#include "lists.h"
#include "relay_inside.h"
#include "timer.h"

static uint64_t cells_of(uint64_t length) {
    uint64_t rest = length % RELAY_PIECE;
    return 1 + length / RELAY_PIECE * ring_cells_of(RING_MESSAGE_MAX) +
           (rest ? ring_cells_of((uint32_t)(rest + sizeof(struct relay_head))) : 0);
}

int64_t call_hand_over(struct call *call, struct record *record, const uint8_t *data, int64_t length) {
    struct core *core = call->core;
    struct ring *ring = core->to[CORE_CONTROL];
    int open = record && (record->flags & (FLAG_OPENED | FLAG_CLOSING | FLAG_ABORTING)) == FLAG_OPENED;
    if (!open || record != call->record || call->handed || !core->relay || !ring || length < 0 ||
        length > RELAY_WINDOW || ring_free(ring, cells_of((uint64_t)length)) < cells_of((uint64_t)length)) {
        count(core, COUNTER_HAND_OVER_REFUSED, 1);
        return 0;
    }
    uint32_t index = (uint32_t)(record - core->records);
    relay_tell_open(core, index, call->actor->number, (uint32_t)length);
    for (uint32_t told = 0; told < length;) {
        uint32_t left = (uint32_t)length - told, piece = left < RELAY_PIECE ? left : RELAY_PIECE;
        relay_tell(core, index, RELAY_DATA, told, data + told, piece);
        told += piece;
    }
    call->handed = length + 1;
    call->out_space = call->out_length; /* compiled handlers copy into out without asking */
    count(core, COUNTER_HANDED_OVER, 1);
    return 1;
}

void relay_take(struct call *call) {
    struct core *core = call->core;
    struct record *record = call->record;
    uint32_t index = (uint32_t)(record - core->records);
    struct busy *busy = busy_of(core, index);
    if (busy)
        busy->need = 0;
    timer_clear(core, index, TIMER_APPLICATION);
    *relay_of(core, index) = (struct relay){
        .taken = (uint32_t)(call->handed - 1),
        .allowed = RELAY_WINDOW,
        .promised = RELAY_WINDOW,
        .number = call->actor->number,
        .known = 1,
    };
    record->flags &= (uint16_t) ~(FLAG_END_TOLD | FLAG_WRITABLE_WANTED | FLAG_PAUSED);
    record->listener = (uint8_t)(core->relay - 1);
    if (record->flags & FLAG_OPENED)
        again_add(core, index);
}
