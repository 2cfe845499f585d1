/* The bell (bell.h). bell_put runs in the control plane, the rest on the core; they share the ring's word `asleep`.
 * tests/runtime/test_bell_model.py explores both in every interleaving. */
#include <stdint.h>
#include <unistd.h>

#include "bell.h"

static void ring_bell(int bell) {
    uint64_t one = 1;
    /* An eventfd write fails only when its counter is full: then the core has a wake-up to come anyhow. */
    ssize_t written = write(bell, &one, sizeof one);
    (void)written;
}

void bell_told(struct ring *ring, int bell) {
    if (bell < 0)
        return;
    /* Pairs with the fence in bell_may_sleep: either the core sees the message, or we see that it sleeps. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->asleep, __ATOMIC_RELAXED) && __atomic_exchange_n(&ring->asleep, 0, __ATOMIC_RELAXED))
        ring_bell(bell);
}

int bell_put(struct ring *ring, const struct ring_message *message, const void *payload, int bell) {
    int went = ring_put(ring, message, payload);
    if (went == 1)
        bell_told(ring, bell);
    return went;
}

int bell_may_sleep(struct ring *ring) {
    __atomic_store_n(&ring->asleep, 1, __ATOMIC_RELAXED);
    /* Pairs with the fence in bell_told. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!ring_ready(ring))
        return 1;
    __atomic_store_n(&ring->asleep, 0, __ATOMIC_RELAXED);
    return 0;
}

/* Read after every sleep: one that was rung between two sleeps would end all later ones at once. */
int bell_awake(struct ring *ring, int bell) {
    uint64_t rung;
    int rings = __atomic_exchange_n(&ring->asleep, 0, __ATOMIC_RELAXED) == 0;
    ssize_t got = read(bell, &rung, sizeof rung);
    (void)got;
    return rings;
}
