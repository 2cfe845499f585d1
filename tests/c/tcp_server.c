/* A core that echoes over a memory wire, for tests/dataplane/test_tcp_crash.py: built with crash points, run in a child
 * that is killed at one of them, adopted by the next child. */
#include <stdint.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "../../dataplane/core.h"
#include "../../dataplane/loop.h"
#include "../../dataplane/record.h"
#include "../../dataplane/tcp.h"
#include "../../dataplane/transport.h"
#include "../../dataplane/wire.h"
#include "../../nic/faults.h"
#include "../../nic/memory.h"

enum { UNIT = 100 };

/* Whole units only, so that bytes are kept. */
static void on_data(struct call *call) {
    int64_t whole = call->length - call->length % UNIT;
    call->result = whole && call_send(call, call->record, call->data, whole) ? whole : 0;
    call->ok = 1;
}

static struct core *open_server(void *arena, int adopt) {
    struct core *core;
    struct core_config config = {.core_id = 1, .mtu = 1500};
    memcpy(&config.local_address, (uint8_t[]){10, 0, 0, 1}, 4);
    if (core_open(arena, &config, adopt, &core)) {
        return NULL;
    }
    uint16_t port;
    wire_put16((uint8_t *)&port, 80);
    struct actor *actor = core_listen(core, port, -1);
    actor->reporting[ON_DATA] = actor->quiet[ON_DATA] = on_data;
    actor->max_unconsumed = 8000;
    actor->reply_reserve = 8000;
    actor->calls_per_turn = 4;
    return core;
}

/* Until *stop, or a crash point; 0, or what failed. reorder: chances in 65536ths that a frame comes late. */
__attribute__((visibility("default"))) int serve(void *arena, void *wire, uint64_t wire_bytes, int adopt,
                                                 volatile uint64_t *stop, uint32_t reorder) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing running */
    struct core *core = open_server(arena, adopt);
    struct nic *bare, *nic;
    struct faults_config faults = {.seed = 1, .reorder = reorder, .reorder_delay = 200000, .held_most = 256};
    if (!core || memory_open(wire, wire_bytes, 0, &bare) || faults_open(bare, &faults, &core->now, &nic) ||
        tcp_attach(core, nic) || loop_start(core, adopt)) {
        return 1;
    }
    while (!*stop) {
        if (!loop_turn(core)) {
            nanosleep(&(struct timespec){0, 20000}, NULL);
        }
    }
    return 0;
}
