/* The table of routes in force: taken over by the core once a turn, looked up for each segment. */
#include "routes.h"

#include <errno.h>
#include "stats.h"
#include "tcp_inside.h"

_Static_assert(sizeof(struct route) == 16 && sizeof(struct hop) == 12, "rows without gaps");
_Static_assert(HOPS == 1u << (32 - HOP_SHIFT), "the upper bits name a place");

static uint32_t place(const struct route_table *table, uint32_t host) {
    return host * (table->key | 1) >> HOP_SHIFT;
}

static void take_mtu(struct core *core, uint32_t mtu) {
    uint32_t most = tcp_of(core)->limits.frame_bytes - ETHERNET_HEADER;
    if (mtu > most) {
        core->counters[COUNTER_MTU_CAPPED]++;
        mtu = most;
    }
    core->mtu = greater(lesser(mtu, core->config.mtu), MTU_LEAST);
}

void routes_look(struct core *core) {
    /* Pairs with the release in routes_publish. */
    uint32_t current = __atomic_load_n(&core->routes->current, __ATOMIC_ACQUIRE);
    const struct route_table *table = &core->routes->tables[current & 1];
    if (table == core->route_table) {
        return;
    }
    core->route_table = table;
    /* After this no load reaches the other table: pairs with the acquire in routes_publish. */
    __atomic_store_n(&core->routes->seen, current, __ATOMIC_RELEASE);
    core->counters[COUNTER_ROUTES_TAKEN] += current != 0;
    if (table->mtu) {
        take_mtu(core, table->mtu);
    }
    if (table->has_address) {
        memcpy(core->nic->address, table->address, 6);
    }
}

static const uint8_t *hop_find(const struct route_table *table, uint32_t host) {
    uint32_t start = place(table, host);
    for (uint32_t probe = 0; probe < HOPS; probe++) {
        const struct hop *hop = &table->hop[(start + probe) % HOPS];
        if (!hop->used) {
            return NULL;
        }
        if (hop->host == host) {
            return hop->address;
        }
    }
    return NULL;
}

const uint8_t *routes_hop(const struct core *core, uint32_t remote) {
    const struct route_table *table = core->route_table;
    for (uint32_t i = 0; table && i < table->routes; i++) {
        const struct route *route = &table->route[i];
        if ((remote & route->mask) == route->network) {
            return route->kind == ROUTE_GATEWAY ? route->address
                   : route->kind == ROUTE_LINK  ? hop_find(table, remote)
                                                : NULL;
        }
    }
    return NULL;
}

int route_add(struct route_table *table, const struct route *route) {
    if (table->routes == ROUTES_MOST) {
        return -ENOSPC;
    }
    table->route[table->routes++] = *route;
    return 0;
}

int hop_add(struct route_table *table, const struct hop *hop) {
    uint32_t at = place(table, hop->host);
    if (table->hops == HOPS_MOST) {
        return -ENOSPC;
    }
    while (table->hop[at].used) {
        at = (at + 1) % HOPS;
    }
    table->hop[at] = *hop;
    table->hop[at].used = 1;
    table->hops++;
    return 0;
}

int routes_publish(struct routes *routes, const struct route_table *table) {
    uint32_t current = routes->current; /* nobody else writes it */
    if (__atomic_load_n(&routes->seen, __ATOMIC_ACQUIRE) != current) {
        return -EAGAIN;
    }
    memcpy(&routes->tables[(current + 1) & 1], table, sizeof *table);
    __atomic_store_n(&routes->current, current + 1, __ATOMIC_RELEASE);
    return 0;
}
