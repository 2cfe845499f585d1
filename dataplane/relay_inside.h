/* What relay.c, relay_in.c and hand_over.c share. */
#pragma once

#include "actor.h"
#include "record.h"
#include "relay.h"
#include "../runtime/ring.h"

struct core;

struct relay *relay_of(const struct core *core, uint32_t index);
/* A message about a record; 1, or 0: the ring is full. */
int relay_tell(struct core *core, uint32_t index, enum relay_up what, uint32_t at, const uint8_t *data,
               uint32_t length);
int relay_tell_open(struct core *core, uint32_t index, uint32_t number, uint32_t handed);
/* Looks again in a millisecond. */
void relay_later(struct core *core, uint32_t index);
/* More credit for the control plane, as far as the peer has taken what was sent. */
void relay_promise(struct core *core, uint32_t index);
