/* Driver `tap`: frames by read(2) and write(2). What a killed worker had read and not handled is lost, as on any wire.
 * Owned by the core. Kernel document: Documentation/networking/tuntap.rst. */
#define _GNU_SOURCE
#include <stdint.h>
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "nic.h"

enum { TAP_FRAME = 2048, TAP_OFFSET = 2, SEND_FRAMES = 2 * NIC_BURST }; /* at 2 the IP header is aligned */

struct tap {
    struct nic nic;
    int descriptor;
    uint32_t free_count;
    uint32_t free[SEND_FRAMES];
    uint8_t received[NIC_BURST][TAP_FRAME];
    uint8_t sent[SEND_FRAMES][TAP_FRAME];
};

static struct tap *tap_of(struct nic *nic) {
    return nic->queue;
}

static int tap_adopt(struct nic *nic) {
    (void)nic;
    return 0;
}

static uint32_t tap_rx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct tap *tap = tap_of(nic);
    uint32_t got = 0;
    while (got < count) {
        ssize_t length = read(tap->descriptor, tap->received[got] + TAP_OFFSET, TAP_FRAME - TAP_OFFSET);
        if (length <= 0) {
            break;
        }
        frames[got].data = tap->received[got] + TAP_OFFSET;
        frames[got].length = (uint32_t)length;
        frames[got].slot = got;
        nic->stats.rx_bytes += (uint64_t)length;
        got++;
    }
    nic->stats.rx_frames += got;
    return got;
}

static void tap_release(struct nic *nic, struct frame *frames, uint32_t count) {
    (void)nic; /* the next burst overwrites them */
    (void)frames;
    (void)count;
}

static uint32_t tap_tx_alloc(struct nic *nic, struct frame *frames, uint32_t count) {
    struct tap *tap = tap_of(nic);
    uint32_t given = tap->free_count < count ? tap->free_count : count;
    for (uint32_t i = 0; i < given; i++) {
        uint32_t slot = tap->free[--tap->free_count];
        frames[i] = (struct frame){tap->sent[slot] + TAP_OFFSET, TAP_FRAME - TAP_OFFSET, slot};
    }
    nic->stats.tx_full += given < count;
    return given;
}

/* A frame that Linux has no room for is lost, and counted: TCP sends it again. */
static void tap_tx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct tap *tap = tap_of(nic);
    for (uint32_t i = 0; i < count; i++) {
        if (write(tap->descriptor, frames[i].data, frames[i].length) == (ssize_t)frames[i].length) {
            nic->stats.tx_frames++;
            nic->stats.tx_bytes += frames[i].length;
        } else {
            nic->stats.tx_full++;
        }
        tap->free[tap->free_count++] = frames[i].slot;
    }
}

static void tap_idle(struct nic *nic, int64_t nanoseconds, int bell) {
    struct pollfd readable[] = {{.fd = tap_of(nic)->descriptor, .events = POLLIN}, {.fd = bell, .events = POLLIN}};
    struct timespec pause = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    ppoll(readable, 2, &pause, NULL);
}

static void tap_limits(struct nic *nic, struct nic_limits *limits) {
    (void)nic;
    *limits = (struct nic_limits){.frame_bytes = TAP_FRAME - TAP_OFFSET, .burst = NIC_BURST, .partial_checksums = 1};
}

static const struct nic_driver tap_driver = {
    .name = "tap",
    .adopt = tap_adopt,
    .rx_burst = tap_rx_burst,
    .tx_alloc = tap_tx_alloc,
    .tx_burst = tap_tx_burst,
    .release = tap_release,
    .idle = tap_idle,
    .limits = tap_limits,
};

int tap_open(int descriptor, const uint8_t *address, struct nic **nic) {
    struct tap *tap = calloc(1, sizeof *tap);
    if (!tap) {
        return -ENOMEM;
    }
    tap->descriptor = descriptor;
    for (uint32_t i = 0; i < SEND_FRAMES; i++) {
        tap->free[tap->free_count++] = i;
    }
    tap->nic = (struct nic){.driver = &tap_driver, .queue = tap};
    memcpy(tap->nic.address, address, sizeof tap->nic.address);
    *nic = &tap->nic;
    return 0;
}

void tap_close(struct nic *nic) {
    free(nic->queue);
}
