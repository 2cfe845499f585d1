/* A core's turn and its loop. Runs on the owning core; knows every other file's door and no file's inside. */
#include <errno.h>
#include <stddef.h>

#include "configure.h"
#include "count.h"
#include "lists.h"
#include "loop.h"
#include "mail.h"
#include "measure.h"
#include "push.h"
#include "relay.h"
#include "relief.h"
#include "timer.h"
#include "transport.h"
#include "../runtime/bell.h"

enum { SPIN = 100000, IDLE_SHORTEST = 50000, IDLE_LONGEST = 1000000 }; /* nanoseconds */

static void clock_read(struct core *core) {
    int64_t before = core->now;
    if (!core->virtual_clock) {
        core_clock(core, clock_now());
        core->virtual_clock = 0;
    }
    measure_turn(core, before);
    __atomic_store_n(&core->state->now, core->now, __ATOMIC_RELAXED);
    __atomic_store_n(&core->state->heartbeat, core->state->heartbeat + 1, __ATOMIC_RELAXED);
}

/* A connection may come three times: what it sends, its end, and its record's. on_close of one may ask for output of
 * another for ever: beyond that they wait for the next turn. */
static uint32_t output_pending(struct core *core) {
    uint64_t most = 3ull * core->capacity;
    uint32_t done = 0;
    while (core->pending.count && done < most) {
        uint32_t index = pending_pop(core);
        if (index)
            core->transport->output(core, index);
        done++;
    }
    if (core->transport->flush)
        core->transport->flush(core);
    return done;
}

uint32_t loop_turn(struct core *core) {
    clock_read(core);
    uint32_t work = actor_again(core);
    work += core->transport->poll(core);
    work += timer_poll(core, TIMER_BUDGET);
    configure_turn(core);
    work += mail_poll(core);
    work += push_turn(core);
    actor_tick(core);
    relief_turn(core);
    relay_turn(core);
    work += output_pending(core);
    work += lists_sweep(core);
    count(core, COUNTER_TURNS, 1);
    if (work)
        count(core, COUNTER_BUSY_TURNS, 1);
    core->worked = work;
    return work;
}

int loop_start(struct core *core, int restarted) {
    if (!core->virtual_clock) {
        core_clock(core, clock_now());
        core->virtual_clock = 0;
    }
    if (restarted) {
        actor_adopt(core);
        int error = core->transport->adopt(core);
        if (error)
            return error;
        lists_rebuild(core);
        relay_adopt(core);
    }
    configure_turn(core);
    actor_start(core, restarted);
    __atomic_store_n(&core->state->run, CORE_RUNNING, __ATOMIC_RELEASE);
    return 0;
}

/* 1 once nothing is left to do. The acquire pairs with the controller's release of `wanted`. */
static int stopping(struct core *core) {
    uint32_t wanted = __atomic_load_n(&core->state->wanted, __ATOMIC_ACQUIRE);
    if (wanted == CORE_RUNNING)
        return 0;
    if (core->state->run == CORE_RUNNING) {
        core->drain_until = core->now + (int64_t)core->config.drain_milliseconds * 1000000;
        __atomic_store_n(&core->state->run, CORE_DRAINING, __ATOMIC_RELEASE);
    }
    int late = wanted == CORE_STOPPED || core->now >= core->drain_until;
    if (core->transport->drain(core, late) > 0)
        return 0;
    __atomic_store_n(&core->state->run, CORE_STOPPED, __ATOMIC_RELEASE);
    return 1;
}

/* Nothing came for `quiet` nanoseconds: the longer, the longer the sleep, so that a busy core reacts at once and an
 * idle one costs little. 1: the control plane has ended it. */
static int idle(struct core *core, int64_t quiet) {
    int64_t most = quiet < IDLE_SHORTEST ? IDLE_SHORTEST : quiet > IDLE_LONGEST ? IDLE_LONGEST : quiet;
    core->slept = timer_next(core, 1) > 0;
    if (!core->slept)
        return 0;
    struct ring *control = core->bell < 0 ? NULL : core->from[CORE_CONTROL];
    if (control && !bell_may_sleep(control))
        return 0;
    core->transport->idle(core, most);
    return control ? bell_awake(control, core->bell) : 0;
}

int loop_run(struct core *core, uint64_t max_turns) {
    int64_t busy = core->now;
    int rung = 0;
    for (uint64_t turn = 0; max_turns == 0 || turn < max_turns; turn++) {
        if (loop_turn(core) || rung)
            busy = core->now;
        if (stopping(core))
            return 0;
        rung = core->now - busy > SPIN && !core->config.spin && idle(core, core->now - busy - SPIN);
    }
    return 0;
}
