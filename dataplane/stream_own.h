/* A connection's own bytes of what it sends, without those it shares with others. Private to stream.c and share.c. */
#pragma once

#include <stdint.h>

struct busy;
struct core;
const uint8_t *own_peek(struct core *core, const struct busy *busy, uint32_t offset, uint32_t *length);
void own_acknowledge(struct core *core, struct busy *busy, uint32_t length); /* at most all */
