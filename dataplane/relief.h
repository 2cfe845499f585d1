/* What frees buffers when connections that wait hold all of them: see relief.c. */
#pragma once

struct core;
/* A connection could not go on for want of a buffer or a busy block. */
void relief_want(struct core *core);
/* Once a turn. */
void relief_turn(struct core *core);
