/* Messages from other cores and the control plane to this core's actors. */
#pragma once

#include <stdint.h>

struct core;
/* Bounded; returns how many messages it took. */
uint32_t mail_poll(struct core *core);
