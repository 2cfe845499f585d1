/* A NIC driver, as the loop sees it: one queue on one core, frames in bursts, read and built where they lie.
 * A frame given by rx_burst is valid until release; one given by tx_alloc until tx_burst.
 * The state a driver must not lose stands in shared memory; struct nic itself is process-local. */
#pragma once

#include <stdint.h>

enum { NIC_BURST = 32 };

struct frame {
    uint8_t *data;   /* Ethernet header first */
    uint32_t length; /* bytes; for tx_alloc: room */
    uint32_t slot;   /* the driver's own */
};

struct nic_limits {
    uint32_t frame_bytes; /* largest frame, Ethernet header included */
    uint32_t burst;
    uint32_t partial_checksums; /* 1: a checksum equal to the pseudo-header sum is accepted (veth, virtio, tap) */
};

struct nic_stats {
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes, tx_full;
    uint64_t vlan_passed; /* tagged frames left to Linux, since the queues were opened */
};

struct nic {
    const struct nic_driver *driver;
    void *queue;        /* the driver's own */
    uint8_t address[6]; /* our MAC */
    struct nic_stats stats;
    int64_t now; /* the core's clock at the start of its turn; the loop's to write */
};

struct nic_driver {
    const char *name;
    /* After a crash: make the queue whole, lose no frame slot. 0 or -errno. */
    int (*adopt)(struct nic *nic);
    uint32_t (*rx_burst)(struct nic *nic, struct frame *frames, uint32_t count);
    uint32_t (*tx_alloc)(struct nic *nic, struct frame *frames, uint32_t count);
    void (*tx_burst)(struct nic *nic, struct frame *frames, uint32_t count);
    void (*release)(struct nic *nic, struct frame *frames, uint32_t count);
    /* Sleeps so long, until a frame comes, or until the descriptor `bell` (-1 = none) is readable. */
    void (*idle)(struct nic *nic, int64_t nanoseconds, int bell);
    void (*limits)(struct nic *nic, struct nic_limits *limits);
};
