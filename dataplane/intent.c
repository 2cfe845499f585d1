/* Adoption's first act: the operation under way when the worker died is carried to its end. What it began for nobody
 * (a record without a state, a block without an owner) is given back by table_recover and buffer_recover. */
#include "intent.h"

#include "stats.h"

_Static_assert(sizeof(struct intent) == 64, "one cache line");
_Static_assert(sizeof(struct intent_record) == 64, "a view of struct intent");
_Static_assert(sizeof(struct intent_stream) == 64, "a view of struct intent");

void intent_recover(struct core *core) {
    switch (core->state->intent.kind) {
    case INTENT_TAKE:
        record_apply(core);
        break;
    case INTENT_INSERT:
        record_apply(core);
        table_apply(core);
        break;
    case INTENT_FREE:
        record_apply(core);
        break;
    case INTENT_DELETE:
        table_apply(core);
        record_apply(core);
        break;
    case INTENT_SEND:
    case INTENT_RECEIVE:
    case INTENT_SHARED:
        stream_apply(core);
        break;
    default:
        return;
    }
    core->counters[COUNTER_INTENTS_FORWARD]++;
    intent_clear(core);
}
