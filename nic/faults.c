/* Wrapper `faults`: incoming frames go through a queue sorted by arrival, where a seeded generator decides their fate.
 * Owned by one core; for simulations and tests. Knows nothing of what the frames say. */
#include "faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nic.h"

enum { FRAME_MOST = 2048, CHANCE = 65536 };

struct held {
    int64_t due;
    uint32_t length;
    uint32_t place; /* of its bytes */
};

struct faults {
    struct nic nic;
    struct nic *inner;
    struct faults_config config;
    struct faults_counts counts;
    const int64_t *now;
    uint64_t random;
    int64_t last_due;
    struct held *queue; /* sorted, earliest first */
    uint32_t queued;
    uint32_t *places; /* free places, then those in use by a burst */
    uint32_t place_count;
    uint8_t *bytes;
};

static struct faults *faults_of(const struct nic *nic) {
    return nic->queue;
}

/* xorshift64*: repeatable, and good enough for dice. */
static uint32_t roll(struct faults *faults, uint32_t sides) {
    faults->random ^= faults->random >> 12;
    faults->random ^= faults->random << 25;
    faults->random ^= faults->random >> 27;
    uint64_t word = (faults->random * 0x2545f4914f6cdd1du) >> 32;
    return (uint32_t)((word * sides) >> 32);
}

static void hold(struct faults *faults, const struct frame *frame, int64_t due) {
    if (!faults->place_count || frame->length > FRAME_MOST) {
        faults->counts.overflowed++;
        return;
    }
    uint32_t place = faults->places[--faults->place_count];
    memcpy(faults->bytes + (size_t)place * FRAME_MOST, frame->data, frame->length);
    if (frame->length && roll(faults, CHANCE) < faults->config.corrupt) {
        uint32_t bit = roll(faults, frame->length * 8);
        faults->bytes[(size_t)place * FRAME_MOST + bit / 8] ^= (uint8_t)(1u << bit % 8);
        faults->counts.corrupted++;
    }
    uint32_t at = faults->queued++;
    while (at && faults->queue[at - 1].due > due) {
        faults->queue[at] = faults->queue[at - 1];
        at--;
    }
    faults->queue[at] = (struct held){due, frame->length, place};
}

static void accept(struct faults *faults, const struct frame *frame) {
    const struct faults_config *config = &faults->config;
    if (roll(faults, CHANCE) < config->loss) {
        faults->counts.lost++;
        return;
    }
    uint32_t spread = (uint32_t)(config->delay_most - config->delay_least) + 1;
    int64_t due = *faults->now + config->delay_least + roll(faults, spread);
    due = due > faults->last_due ? due : faults->last_due;
    if (roll(faults, CHANCE) < config->reorder) {
        faults->counts.reordered++;
        hold(faults, frame, due + config->reorder_delay);
    } else {
        faults->last_due = due;
        hold(faults, frame, due);
    }
    if (roll(faults, CHANCE) < config->duplicate) {
        faults->counts.duplicated++;
        hold(faults, frame, due);
    }
}

static uint32_t faults_rx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct faults *faults = faults_of(nic);
    struct frame burst[NIC_BURST];
    uint32_t got;
    do {
        got = faults->inner->driver->rx_burst(faults->inner, burst, NIC_BURST);
        for (uint32_t i = 0; i < got; i++) {
            accept(faults, &burst[i]);
        }
        faults->inner->driver->release(faults->inner, burst, got);
    } while (got == NIC_BURST);
    uint32_t due = 0;
    while (due < count && due < faults->queued && faults->queue[due].due <= *faults->now) {
        uint32_t place = faults->queue[due].place;
        frames[due] = (struct frame){faults->bytes + (size_t)place * FRAME_MOST, faults->queue[due].length, place};
        due++;
    }
    faults->queued -= due;
    memmove(faults->queue, faults->queue + due, faults->queued * sizeof *faults->queue);
    return due;
}

static void faults_release(struct nic *nic, struct frame *frames, uint32_t count) {
    struct faults *faults = faults_of(nic);
    for (uint32_t i = 0; i < count; i++) {
        faults->places[faults->place_count++] = frames[i].slot;
    }
}

static uint32_t faults_tx_alloc(struct nic *nic, struct frame *frames, uint32_t count) {
    struct nic *inner = faults_of(nic)->inner;
    return inner->driver->tx_alloc(inner, frames, count);
}

static void faults_tx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct nic *inner = faults_of(nic)->inner;
    inner->driver->tx_burst(inner, frames, count);
}

static int faults_adopt(struct nic *nic) {
    struct nic *inner = faults_of(nic)->inner;
    return inner->driver->adopt(inner);
}

static void faults_idle(struct nic *nic, int64_t nanoseconds, int bell) {
    struct nic *inner = faults_of(nic)->inner;
    inner->driver->idle(inner, nanoseconds, bell);
}

static void faults_limits(struct nic *nic, struct nic_limits *limits) {
    struct nic *inner = faults_of(nic)->inner;
    inner->driver->limits(inner, limits);
}

static const struct nic_driver faults_driver = {
    .name = "faults",
    .adopt = faults_adopt,
    .rx_burst = faults_rx_burst,
    .tx_alloc = faults_tx_alloc,
    .tx_burst = faults_tx_burst,
    .release = faults_release,
    .idle = faults_idle,
    .limits = faults_limits,
};

int faults_open(struct nic *inner, const struct faults_config *config, const int64_t *now, struct nic **nic) {
    if (!config->held_most || config->delay_least < 0 || config->delay_most < config->delay_least ||
        config->delay_most - config->delay_least >= UINT32_MAX) {
        return -EINVAL;
    }
    struct faults *faults = calloc(1, sizeof *faults);
    if (!faults) {
        return -ENOMEM;
    }
    faults->nic = *inner;
    faults->nic.driver = &faults_driver;
    faults->nic.queue = faults;
    faults->inner = inner;
    faults->config = *config;
    faults->now = now;
    faults->random = config->seed * 0x9e3779b97f4a7c15u + 1;
    faults->queue = calloc(config->held_most, sizeof *faults->queue);
    faults->places = calloc(config->held_most, sizeof *faults->places);
    faults->bytes = malloc((size_t)config->held_most * FRAME_MOST);
    if (!faults->queue || !faults->places || !faults->bytes) {
        faults_close(&faults->nic);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < config->held_most; i++) {
        faults->places[faults->place_count++] = i;
    }
    *nic = &faults->nic;
    return 0;
}

void faults_counted(const struct nic *nic, struct faults_counts *counts) {
    *counts = faults_of(nic)->counts;
}

uint32_t faults_held(const struct nic *nic) {
    return faults_of(nic)->queued;
}

int64_t faults_next(const struct nic *nic) {
    const struct faults *faults = faults_of(nic);
    return faults->queued ? faults->queue[0].due : INT64_MAX;
}

void faults_close(struct nic *nic) {
    struct faults *faults = faults_of(nic);
    free(faults->queue);
    free(faults->places);
    free(faults->bytes);
    free(faults);
}
