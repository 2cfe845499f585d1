/* The core's two lists of records, pending and again. */
#pragma once

#include "core.h"

void again_add(struct core *core, uint32_t index);
void again_drop(struct core *core, uint32_t index);
/* The oldest, its flag cleared, or 0 if it was dropped; only when there is one. */
uint32_t again_pop(struct core *core);
uint32_t pending_pop(struct core *core);
/* Once a turn: lists that have run empty take those that found them full. How many records were looked at. */
uint32_t lists_sweep(struct core *core);
/* After a crash, once the transport has adopted: the lists are what the records' flags say. */
void lists_rebuild(struct core *core);
