/* The core's two lists of records, pending and again: rings of capacity + 1 indexes, each index at most once. */
#pragma once

#include "core.h"

void again_add(struct core *core, uint32_t index);
void again_drop(struct core *core, uint32_t index);
/* The oldest, its flag cleared; only when there is one. */
uint32_t again_pop(struct core *core);
uint32_t pending_pop(struct core *core);
/* After a crash, once the transport has adopted: the lists are what the records' flags say. */
void lists_rebuild(struct core *core);
