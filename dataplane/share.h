/* Bytes that many connections send: one counted copy in the buffer section, and in each connection's busy block a list
 * of those it has yet to send, between its own bytes. Owned by the core. Who references what is said by the lists
 * alone: adoption counts again, so nothing here needs an intent but the move to a longer list. */
#pragma once

#include <stdint.h>

enum { SHARE_HEADER = 16, SHARE_MOST = (1 << 20) - SHARE_HEADER, SHARE_LIST_CLASS_MAX = 12 };

struct share { /* at the start of its buffer; the bytes follow */
    uint32_t references;
    uint32_t length;
    uint32_t size_class;
    uint32_t spare;
};

struct share_entry {
    uint32_t share;  /* its buffer */
    uint32_t at;     /* place among the connection's own bytes, in the positions of busy.send_start */
    uint32_t start;  /* place among its shared bytes, in the positions of busy.shared_done */
    uint32_t length; /* bytes */
};

struct core;
struct busy;
/* A copy with one reference, the caller's: its buffer, or 0: no memory, or too long. Fill share_bytes. */
uint32_t share_make(struct core *core, uint32_t length);
uint8_t *share_bytes(struct core *core, uint32_t share);
uint32_t share_length(struct core *core, uint32_t share);
void share_drop(struct core *core, uint32_t share); /* one reference less; the last gives the buffer back */
/* Queues it behind everything the connection has queued: 0, or -ENOBUFS. */
int share_append(struct core *core, uint32_t index, uint32_t share);
int share_has(struct core *core, uint32_t index, uint32_t share); /* 1: it waits there */
uint32_t share_left(struct core *core, const struct busy *busy);  /* shared bytes not acknowledged */
/* stream_peek and stream_acknowledge of a block that has a list. */
const uint8_t *share_peek(struct core *core, const struct busy *busy, uint32_t offset, uint32_t *length);
void share_acknowledge(struct core *core, struct busy *busy, uint32_t length);
void share_forget(struct core *core, struct busy *busy); /* the whole list */
/* Adoption: a list whole again, or none; then counting: first all to 0, then one for each reference. */
void share_zero(struct core *core, uint32_t share);
void share_recover(struct core *core, struct busy *busy);
void share_uncount(struct core *core, const struct busy *busy);
void share_count(struct core *core, struct busy *busy);
int share_count_one(struct core *core, uint32_t share); /* -1: it can't be one */
