/* MAC addresses learned from the frames of connections, to answer to while the control plane supplies no next hop
 * (routes.h); in the arena, so that a new worker still knows where to send. Written by the owning core. A record holds
 * an index; entries that no record holds are forgotten when the table fills up. */
#pragma once

#include <stdint.h>

enum { NEIGHBOURS = 8192, NEIGHBOUR_NONE = 0, NEIGHBOURS_CROWDED = NEIGHBOURS / 4 * 3 };

struct neighbour {
    uint8_t address[6];
    uint16_t used; /* stored last */
};

/* The worker's own: which entries are held, found out by a walk over all records, a slice a turn. */
struct neighbour_sweep {
    uint8_t held[NEIGHBOURS / 8];
    uint32_t cursor;               /* next record; 0 = no walk under way */
    uint32_t count;                /* entries in use */
    uint32_t again;                /* tick before which no other walk begins, 0 = any time */
    uint32_t doubt_second, doubts; /* told in this second */
};

/* What the control plane is told, as an EVENT_NEIGHBOUR on the ring to it: the next hop it gave seems wrong. */
struct neighbour_event {
    uint32_t address; /* network byte order */
    uint8_t mac[6];   /* who asked by ARP under this address; all zero: segments to it stay unanswered */
    uint16_t rest;
};

enum { NEIGHBOUR_DOUBTS_PER_SECOND = 10 };

struct core;
/* Index of this MAC, remembered if it is new; NEIGHBOUR_NONE: no room. */
uint16_t neighbour_learn(struct core *core, const uint8_t *address);
const uint8_t *neighbour_address(const struct core *core, uint16_t index);
/* Once a turn: another slice of the walk, when the table is crowded. */
void neighbour_turn(struct core *core);
/* A worker begins: counts what is there. */
void neighbour_recover(struct core *core);
/* Where this record's frames go: the control plane's next hop, else the MAC its segments come from; NULL: neither. */
struct record;
const uint8_t *neighbour_of(const struct core *core, const struct record *record);
/* The control plane's next hop for this address is to be looked at again; says so a few times a second. mac: as in
 * struct neighbour_event, NULL: unanswered. Without such a hop there is nothing to say. */
void neighbour_doubt(struct core *core, uint32_t address, const uint8_t *mac);
