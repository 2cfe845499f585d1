/* A small cache, eight places a destination; a full one gives way where the oldest entry stands. */
#include "path.h"

#include "tcp_inside.h"

enum { WAYS = 8 };

static uint32_t place(const struct core *core, uint32_t remote) {
    return (uint32_t)((remote ^ core->state->key[1]) * 0x9e3779b97f4a7c15u >> 54);
}

static int holds(const struct core *core, const struct path *path) {
    return path->mtu && path->expires - core->tick - 1 < PATH_AGE;
}

static struct path *find(const struct core *core, uint32_t remote) {
    uint32_t start = place(core, remote);
    for (uint32_t way = 0; way < WAYS; way++) {
        struct path *path = &tcp_of(core)->paths[(start + way) % PATHS];
        if (path->address == remote && holds(core, path)) {
            return path;
        }
    }
    return NULL;
}

static struct path *make_room(const struct core *core, uint32_t remote) {
    uint32_t start = place(core, remote);
    struct path *oldest = NULL;
    for (uint32_t way = 0; way < WAYS; way++) {
        struct path *path = &tcp_of(core)->paths[(start + way) % PATHS];
        if (!holds(core, path)) {
            return path;
        }
        oldest = !oldest || seq_diff(path->expires, oldest->expires) < 0 ? path : oldest;
    }
    return oldest;
}

uint32_t path_mtu(const struct core *core, uint32_t remote) {
    const struct path *path = find(core, remote);
    return path ? path->mtu : UINT32_MAX;
}

int path_lower(struct core *core, uint32_t remote, uint32_t mtu) {
    mtu = greater(mtu, PATH_LEAST);
    struct path *path = find(core, remote);
    if (path ? path->mtu <= mtu : core->mtu <= mtu) {
        return 0;
    }
    path = path ? path : make_room(core, remote);
    *path = (struct path){.address = remote, .expires = later(core, PATH_AGE), .mtu = mtu};
    tcp_of(core)->paths_until = path->expires;
    return 1;
}
