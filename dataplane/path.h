/* Path MTUs that routers told of (RFC 1191), by destination. The worker's own memory: after a kill the next ICMP
 * message tells again. Owned by the core. */
#pragma once

#include <stdint.h>

enum {
    PATHS = 1024,     /* a power of two */
    PATH_LEAST = 552, /* bytes: what a router may claim at least (Linux's net.ipv4.route.min_pmtu) */
    PATH_AGE = 600000 /* milliseconds until a larger packet is tried again: RFC 1191 section 6.3 */
};

struct path {
    uint32_t address; /* network byte order */
    uint32_t expires; /* tick */
    uint32_t mtu;     /* bytes of IP packet, 0 = free */
};

struct core;
/* Bytes of IP packet that get through to `remote`; UINT32_MAX: none known. */
uint32_t path_mtu(const struct core *core, uint32_t remote);
/* 1: it is news, so what is in flight must be sent again; 0: known already. */
int path_lower(struct core *core, uint32_t remote, uint32_t mtu);
