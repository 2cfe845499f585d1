/* Two deadlines a record, one lazy non-cascading wheel a core (wheel.h): slots are vectors of 64 B chunks (15 entries
 * and a link). Setting a deadline later, or clearing it, only stores into the record; the wheel finds out when it
 * looks. Ticks are milliseconds modulo 2^32. */
#pragma once

#include <stdint.h>

enum timer_which { TIMER_TRANSPORT, TIMER_APPLICATION };
/* A turn looks at so many entries, and at no more once so many deadlines have run out: looking costs a cache miss, a
 * handler and the segment that it sends ten times that. */
enum { TIMER_BUDGET = 60, TIMER_FIRES = 8 };

struct core;
uint64_t timer_bytes(uint64_t connections);
uint32_t timer_chunks(uint64_t connections); /* in that many bytes */
/* deadline: a tick in the future, never 0. */
void timer_set(struct core *core, uint32_t index, enum timer_which which, uint32_t deadline);
void timer_clear(struct core *core, uint32_t index, enum timer_which which);
/* The record has no busy block any more; the transport's deadline stays. */
void timer_left(struct core *core, uint32_t index);
/* Advances to core->tick within the budget; expired deadlines are zeroed, then transport->timer or actor_timer is
 * called. Returns entries looked at; not 0 as long as something is due. */
uint32_t timer_poll(struct core *core, uint32_t budget);
void timer_recover(struct core *core); /* adoption: rebuild the wheel from the records' deadlines */
/* Ticks until something may expire, at most `most`; for idle. */
uint32_t timer_next(const struct core *core, uint32_t most);
