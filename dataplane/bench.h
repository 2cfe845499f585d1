/* The bench transport: the peers of an actor under test, driven by the caller on a virtual clock. Same order of events
 * as over a network: bytes wait for the actor's window, the end comes after them, a close waits for the peer's.
 * A peer is a number from 0; it lives on after its connection is gone. Call these between turns only. */
#pragma once

#include <stdint.h>

struct core;
enum bench_state { BENCH_OPEN, BENCH_ENDED /* we sent FIN */, BENCH_RESET /* we sent RST */, BENCH_GONE };

int bench_attach(struct core *core);
void bench_detach(struct core *core);
/* Runs on_open at once. The peer's number, or -ENOBUFS: no record free; -ENOENT: no such listener. */
int64_t bench_connect(struct core *core, uint32_t listener, uint32_t remote_address, uint16_t remote_port);
/* One segment: delivered as it is in the next turn, or cut where the actor's window ends. 0 or -errno. */
int bench_send(struct core *core, int64_t peer, const uint8_t *data, int64_t length);
int bench_end(struct core *core, int64_t peer);   /* FIN after what was sent */
int bench_reset(struct core *core, int64_t peer); /* RST in the next turn, whatever waits */
/* Bytes this peer still takes before it stops reading; -1 (default) = no limit. */
int bench_window(struct core *core, int64_t peer, int64_t bytes);
/* 1 (default): it sends FIN when it sees ours. */
int bench_agree(struct core *core, int64_t peer, int agree);
/* Takes out what the actor sent so far, at most `most`; returns bytes. */
int64_t bench_receive(struct core *core, int64_t peer, uint8_t *into, int64_t most);
int64_t bench_received(const struct core *core, int64_t peer); /* bytes waiting for bench_receive */
int64_t bench_unsent(const struct core *core, int64_t peer);   /* bytes of bench_send not yet taken */
int bench_state_of(const struct core *core, int64_t peer);     /* enum bench_state */
uint32_t bench_record(const struct core *core, int64_t peer);  /* record index; 0 once freed */
int bench_reason(const struct core *core, int64_t peer);       /* what on_close was told; -1: the connection lives */
