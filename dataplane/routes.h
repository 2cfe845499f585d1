/* Where replies go by what Linux knows: the routes and neighbours of the core's interface, its MAC and its MTU. A
 * section of the arena, written by the control plane alone and read by the core: two tables, of which `current` names
 * the one in force, so that a reader or a writer may die at any moment. docs/decisions/062-routes-in-the-arena.md.
 * Addresses are in network byte order. */
#pragma once

#include <stdint.h>

enum {
    ROUTES_MOST = 256,
    HOPS = 4096,      /* places of the table of neighbours, a power of two */
    HOPS_MOST = 3072, /* of them used: a look-up stays short */
    HOP_SHIFT = 20,   /* 32 - log2(HOPS) */
};

enum route_kind {
    ROUTE_LEARNED, /* by another interface, or its gateway has no MAC yet: to the MAC that the peer's segments come from
                    */
    ROUTE_LINK,    /* on the link: to the peer's own MAC, if it is among the neighbours */
    ROUTE_GATEWAY, /* to the gateway at `address` */
};

struct route {
    uint32_t network, mask;
    uint8_t address[6];
    uint16_t kind; /* enum route_kind */
};

struct hop {
    uint32_t host;
    uint8_t address[6];
    uint16_t used;
};

struct route_table {
    uint32_t mtu; /* the interface's, in bytes of IP packet; at most what the core was started with; 0 = that */
    uint32_t key; /* odd and random: where a host's place is */
    uint32_t routes, hops;
    uint8_t address[6]; /* the interface's MAC, if has_address */
    uint16_t has_address;
    struct route route[ROUTES_MOST]; /* the longest mask first */
    struct hop hop[HOPS];
};

struct routes {
    uint32_t current; /* tables published so far; number n stands in tables[n % 2] */
    uint32_t seen;    /* the one that the core reads: the other may be written */
    uint8_t rest[56];
    struct route_table tables[2];
};

struct core;
/* Once a turn: takes over a table that was published since. */
void routes_look(struct core *core);
/* The MAC by which `remote` is reached; NULL: not known, so the one its segments come from serves. */
const uint8_t *routes_hop(const struct core *core, uint32_t remote);

/* The control plane's side. 0, or -ENOSPC: it has HOPS_MOST neighbours (ROUTES_MOST routes). */
int route_add(struct route_table *table, const struct route *route);
int hop_add(struct route_table *table, const struct hop *hop);
/* `routes`: the section in a mapped arena. -EAGAIN: the core has not looked at the last one yet. */
int routes_publish(struct routes *routes, const struct route_table *table);
