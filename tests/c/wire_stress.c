/* Two threads at the ends of a memory wire, each sending numbered frames of varying length and checking those of the
 * other: `wire_stress FRAMES`. For TSan: whatever a frame holds was written before the frame was seen. */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../nic/memory.h"
#include "../../nic/nic.h"

enum { SLOTS = 64 };

static void *wire;
static uint32_t frames;

static uint32_t length_of(uint32_t number) {
    return 60 + number * 7919 % 1400;
}

static uint32_t send_some(struct nic *nic, uint32_t sent) {
    struct frame burst[NIC_BURST];
    uint32_t wanted = frames - sent < NIC_BURST ? frames - sent : NIC_BURST;
    uint32_t given = nic->driver->tx_alloc(nic, burst, wanted);
    for (uint32_t i = 0; i < given; i++) {
        burst[i].length = length_of(sent + i);
        memset(burst[i].data, (int)(sent + i), burst[i].length);
    }
    if (given) {
        nic->driver->tx_burst(nic, burst, given);
    }
    return given;
}

static uint32_t receive_some(struct nic *nic, uint32_t received) {
    struct frame burst[NIC_BURST];
    uint32_t got = nic->driver->rx_burst(nic, burst, NIC_BURST);
    for (uint32_t i = 0; i < got; i++) {
        uint32_t number = received + i, last = burst[i].length - 1;
        if (burst[i].length != length_of(number) || burst[i].data[0] != (uint8_t)number ||
            burst[i].data[last] != (uint8_t)number) {
            printf("frame %u: %u bytes of %u\n", number, burst[i].length, burst[i].data[0]);
            exit(1);
        }
    }
    if (got) {
        nic->driver->release(nic, burst, got);
    }
    return got;
}

static void *end(void *side) {
    struct nic *nic;
    if (memory_open(wire, memory_bytes(SLOTS), side != NULL, &nic)) {
        exit(2);
    }
    uint32_t sent = 0, received = 0;
    for (uint32_t turn = 0; sent < frames || received < frames; turn++) {
        memory_distance(nic, turn / 100 % 3); /* every change in the middle of the traffic */
        uint32_t did = send_some(nic, sent), got = receive_some(nic, received);
        sent += did;
        received += got;
        if (!did && !got) {
            sched_yield();
        }
    }
    memory_close(nic);
    return NULL;
}

int main(int count, char **words) {
    frames = count > 1 ? (uint32_t)atol(words[1]) : 1000;
    wire = aligned_alloc(4096, (memory_bytes(SLOTS) + 4095) & ~4095ull);
    if (!wire || memory_format(memset(wire, 0, memory_bytes(SLOTS)), SLOTS)) {
        return 2;
    }
    pthread_t other;
    pthread_create(&other, NULL, end, wire);
    end(NULL);
    pthread_join(other, NULL);
    free(wire);
    return 0;
}
