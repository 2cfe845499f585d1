/* The pool of records, for the files that take and free them as part of a larger step. */
#pragma once

#include <stdint.h>
#include "core.h"
#include "record.h"

static inline int record_taken(const struct core *core, uint32_t index) {
    return index != RECORD_NONE && index <= core->capacity && core->records[index].next >= RECORD_TAKEN;
}

/* Write the intent's words for taking (RECORD_NONE: no record is free) or freeing a record; store nothing else. */
uint32_t record_plan_take(struct core *core);
void record_plan_free(struct core *core, uint32_t index);
