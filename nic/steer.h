/* The steering program: which frames go to our queues and which to Linux. Attached to an interface by the controller.
 * Ours: TCP to a declared address and port, ICMP errors that quote one, and with an address of our own everything for
 * it and the ARP requests for it. All else passes to Linux. A frame for a declared port whose queue has no socket is
 * dropped, never passed: Linux would reset the client. When a queue's core has been silent too long, all passes. */
#pragma once

#include <stdint.h>

enum { STEER_ENTRIES = 4096 };

struct steer_key {
    uint32_t address; /* network byte order */
    uint16_t port;    /* network byte order; 0 = the whole address is ours */
    uint8_t protocol; /* IPPROTO_TCP; 0 with port 0 */
    uint8_t zero;
};

struct steer_pulse { /* one a queue, in a map shared with the program */
    uint64_t looked; /* nanoseconds of CLOCK_MONOTONIC: when its core last looked; the core's to write */
    uint64_t tagged; /* VLAN frames that passed to Linux; the program's */
};

struct steer { /* descriptors, -1 = not open; whoever holds them keeps frames coming */
    int32_t ports, sockets, pulse, program, link;
    uint32_t native; /* 1: in the driver, 0: generic (SKB) */
};

/* Maps and program for `queues` queues. `silence`: nanoseconds without a pulse until frames pass to Linux. */
int steer_open(struct steer *steer, uint32_t queues, uint64_t silence, char *log);
int steer_port(const struct steer *steer, const struct steer_key *key, int ours); /* 1: take it, 0: no more */
int steer_socket(const struct steer *steer, uint32_t queue, int descriptor);
/* Native if the driver can, else generic. -EBUSY: the interface has an XDP program already; -ENOSPC: a veth's other end
 * sends on more queues than this one receives on, and generic would see but some. */
int steer_attach(struct steer *steer, uint32_t interface);
/* The pulse map as an array, one entry a queue; NULL: it can't be mapped. */
struct steer_pulse *steer_pulse_map(int pulse, uint32_t queues);
void steer_close(struct steer *steer);
