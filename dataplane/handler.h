/* Running one handler: the call frame, the fault accounting around it, the commit of what it sent.
 * Private to actor.c, call.c, fault.c and mail.c. */
#pragma once

#include "actor.h"

struct core;

/* Says in the arena which connection is being worked on, 0 = none; returns which it was. A crash resets that one. */
uint32_t current_set(struct core *core, uint32_t index);
/* Opens a frame for the record at index (0: none) and says in the arena whose handler runs. */
void frame_open(struct core *core, struct call *call, struct actor *actor, uint32_t index);
/* Gives what was sent to the stream, then forgets whose handler ran. */
void frame_close(struct call *call);
/* A handler gave its connection away (call_hand_over), and is through. */
void relay_take(struct call *call);
/* The staging buffer empty again, so that out_space is as large as it gets. */
void frame_flush(struct call *call);
/* 1, or 0: it failed; then the connection is aborted, the fault counted and reported. */
int handler_run(struct actor *actor, struct call *call, enum handler handler);
int handler_message(struct actor *actor, struct call *call, const struct message_handler *message);
/* A result that no handler may give: the same end as a failure. */
void handler_fault(struct actor *actor, struct call *call, enum handler handler);

void connection_abort(struct core *core, uint32_t index, enum close_reason reason);
void connection_close(struct core *core, uint32_t index);

int fault_reporting(const struct core *core, const struct actor *actor);
void fault_prepare(struct call *call);
void fault_count(struct actor *actor, struct call *call, uint32_t handler, int report);
