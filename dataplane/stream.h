/* A connection's two byte streams over its busy block: bytes to send kept until acknowledged, received bytes kept until
 * consumed. Used by every transport and by actor.c; knows neither. The last store of each function is its commit point.
 */
#pragma once

#include <stdint.h>

enum { STREAM_SEND_MOST = 1 << 20 /* bytes a connection may have queued */ };

struct busy;
struct core;
/* All of `length` or nothing: 0, or -ENOBUFS. */
int stream_send(struct core *core, uint32_t index, const uint8_t *data, uint32_t length);
uint32_t stream_queued(struct core *core, uint32_t index); /* bytes not yet acknowledged */
/* At `offset` from the first unacknowledged byte: a pointer to as many contiguous bytes as there are. */
const uint8_t *stream_peek(struct core *core, uint32_t index, uint32_t offset, uint32_t *length);
void stream_acknowledge(struct core *core, uint32_t index, uint32_t length);
uint32_t stream_room(struct core *core, uint32_t index); /* bytes stream_send would take */
/* Receive side, kept bytes stay contiguous. 0, or -ENOBUFS. */
int stream_keep(struct core *core, uint32_t index, const uint8_t *data, uint32_t length);
int stream_keeps(const struct core *core, uint32_t most); /* 1: there is memory for so many, of a new connection */
/* How many bytes up to `most` stream_keep would take now. */
uint32_t stream_keep_room(struct core *core, uint32_t index, uint32_t most);
const uint8_t *stream_kept(struct core *core, uint32_t index, uint32_t *length);
void stream_consume(struct core *core, uint32_t index, uint32_t length);
void stream_drop(struct core *core, uint32_t index); /* everything, both ways */
uint32_t stream_held(const struct busy *busy);       /* bytes of memory, the block's own included */
/* It stands still because we have no room for its answer: nothing that its peer could do. */
int stream_waits(struct core *core, uint32_t index);
void stream_waited(struct core *core, uint32_t index); /* that is over: the peer gets the time for itself */
