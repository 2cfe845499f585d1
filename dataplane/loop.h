/* A core's turn and its loop. Knows every other file's door and no file's inside. */
#pragma once

#include <stdint.h>

struct core;
/* Once, when actors, rings and transport stand, before the first turn: after a crash, what the dead worker left is
 * adopted; then on_start of every actor. 0 or -errno. */
int loop_start(struct core *core, int restarted);
/* One turn: input, deliver, output, timers, messages. Returns how much work it found. */
uint32_t loop_turn(struct core *core);
/* Turns until state->wanted says otherwise and everything is drained, or max_turns (0 = no end). */
int loop_run(struct core *core, uint64_t max_turns);
