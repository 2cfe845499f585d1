/* The thread that watches the rings for asyncio (poller.h). The event loop's functions run in its thread, watch() in
 * the poller's; what they share stands in struct poller. tests/runtime/explorer.py models parked and asleep. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "poller.h"

enum {
    WORKING_LOOKS = 3,  /* sleeps beside a working event loop before the thread waits to be told */
    QUIET_LOOKS = 1024, /* fruitless looks at the rings before the sleep doubles */
    QUIET_DOUBLINGS = 4,
    HURRY_SPINS = 8, /* times `spin`: how long a thread that is hurried looks without a pause */
};

enum { AWAKE, ASLEEP, DOZING }; /* of the thread */

struct poller {
    uint32_t parked; /* 1: the event loop sleeps and wants to be woken */
    uint32_t asleep; /* ASLEEP: the thread sleeps and wants to be woken; DOZING: for a while; a futex */
    uint32_t hurry;  /* 1: the event loop waits for something that will come at once */
    uint32_t stop;
    uint32_t count;
    int descriptor;
    int64_t spin, sleep; /* nanoseconds */
    uint64_t signals;
    pthread_t thread;
    struct ring *rings[POLLER_RINGS];
    uint8_t muted[POLLER_RINGS]; /* written by the event loop, as all below */
    struct ring *wanted[POLLER_RINGS];
    uint32_t wanted_cells[POLLER_RINGS];
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Whether the event loop has something to do: a message, or room it waits for. */
static int look(const struct poller *poller) {
    for (uint32_t i = 0; i < poller->count; i++) {
        if (!__atomic_load_n(&poller->muted[i], __ATOMIC_RELAXED) && ring_ready(poller->rings[i])) {
            return 1;
        }
    }
    for (uint32_t i = 0; i < POLLER_RINGS; i++) {
        uint32_t cells = __atomic_load_n(&poller->wanted_cells[i], __ATOMIC_ACQUIRE); /* poller_want's release */
        const struct ring *ring = __atomic_load_n(&poller->wanted[i], __ATOMIC_RELAXED);
        if (cells && ring_fill(ring) + cells <= ring->cells) {
            return 1;
        }
    }
    return 0;
}

/* 1 for whoever ended the event loop's sleep. Pairs with itself: both sides may try, one succeeds. */
static int take_parked(struct poller *poller) {
    return (int)__atomic_exchange_n(&poller->parked, 0, __ATOMIC_ACQ_REL);
}

static void wait_for_work(struct poller *poller) {
    __atomic_store_n(&poller->asleep, ASLEEP, __ATOMIC_RELAXED);
    /* Pairs with the fence in poller_park: either we see parked, or it sees asleep and wakes us. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&poller->parked, __ATOMIC_RELAXED) && !__atomic_load_n(&poller->stop, __ATOMIC_RELAXED)) {
        syscall(SYS_futex, &poller->asleep, FUTEX_WAIT_PRIVATE, ASLEEP, NULL, NULL, 0);
    }
    __atomic_store_n(&poller->asleep, AWAKE, __ATOMIC_RELAXED);
}

static void signal_loop(struct poller *poller) {
    uint64_t one = 1;
    __atomic_store_n(&poller->signals, poller->signals + 1, __ATOMIC_RELAXED);
    /* An eventfd write fails only when its counter is full: then the event loop has a wake-up to come anyhow. */
    ssize_t written = write(poller->descriptor, &one, sizeof one);
    (void)written;
}

/* So long at most, and no longer than until the event loop is in a hurry. */
static void doze(struct poller *poller, int64_t nanoseconds) {
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    __atomic_store_n(&poller->asleep, DOZING, __ATOMIC_RELAXED);
    /* Pairs with the fence in poller_park, as in wait_for_work. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&poller->hurry, __ATOMIC_RELAXED)) {
        syscall(SYS_futex, &poller->asleep, FUTEX_WAIT_PRIVATE, DOZING, &time, NULL, 0);
    }
    __atomic_store_n(&poller->asleep, AWAKE, __ATOMIC_RELAXED);
}

/* What the thread remembers of its fruitless looks. */
struct patience {
    uint32_t working; /* looks beside a working event loop */
    uint32_t quiet;   /* looks since something came, up to a limit */
    int64_t spin_until;
};

static void beside_work(struct poller *poller, struct patience *patience) {
    patience->quiet = 0;
    patience->spin_until = 0;
    if (++patience->working < WORKING_LOOKS) {
        doze(poller, poller->sleep);
    } else {
        wait_for_work(poller);
    }
}

/* The rings are empty and the event loop sleeps: without a pause at first, then the longer the more rarely. */
static void between_looks(struct poller *poller, struct patience *patience) {
    if (__atomic_load_n(&poller->hurry, __ATOMIC_RELAXED)) {
        __atomic_store_n(&poller->hurry, 0, __ATOMIC_RELAXED);
        patience->spin_until = now() + poller->spin * HURRY_SPINS;
        patience->quiet = 0;
    } else if (!patience->spin_until) {
        patience->spin_until = now() + poller->spin;
    }
    if (now() < patience->spin_until) {
        sched_yield(); /* to the event loop, should it share this CPU */
        return;
    }
    uint32_t doublings = patience->quiet / QUIET_LOOKS;
    patience->quiet += doublings < QUIET_DOUBLINGS;
    doze(poller, poller->sleep << doublings);
}

static void *watch(void *argument) {
    struct poller *poller = argument;
    struct patience patience = {0};
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "splitplane-poll", 0, 0, 0);
    while (!__atomic_load_n(&poller->stop, __ATOMIC_RELAXED)) {
        /* Pairs with the release in poller_park: what the event loop wants and consumed is ours to read. */
        if (!__atomic_load_n(&poller->parked, __ATOMIC_ACQUIRE)) {
            beside_work(poller, &patience);
        } else if (look(poller)) {
            if (take_parked(poller)) {
                signal_loop(poller);
            }
            patience = (struct patience){0};
        } else {
            patience.working = 0;
            between_looks(poller, &patience);
        }
    }
    return NULL;
}

static void wake_thread(struct poller *poller) {
    __atomic_store_n(&poller->asleep, AWAKE, __ATOMIC_RELAXED);
    syscall(SYS_futex, &poller->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int poller_park(struct poller *poller, int hurry) {
    if (hurry) {
        __atomic_store_n(&poller->hurry, 1, __ATOMIC_RELAXED);
    }
    /* The release pairs with the acquire in watch. */
    __atomic_store_n(&poller->parked, 1, __ATOMIC_RELEASE);
    /* Pairs with the fences in wait_for_work and doze. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (look(poller) && take_parked(poller)) {
        return 0;
    }
    uint32_t asleep = __atomic_load_n(&poller->asleep, __ATOMIC_RELAXED);
    if (asleep == ASLEEP || (asleep == DOZING && hurry)) {
        wake_thread(poller);
    }
    return 1;
}

int poller_spin(const struct poller *poller, int64_t nanoseconds) {
    int64_t end = now() + nanoseconds;
    do {
        if (look(poller)) {
            return 1;
        }
        sched_yield(); /* to the core, should it share this CPU */
    } while (now() < end);
    return 0;
}

void poller_unpark(struct poller *poller) {
    take_parked(poller);
}

void poller_mute(struct poller *poller, uint32_t ring, int mute) {
    __atomic_store_n(&poller->muted[ring], mute != 0, __ATOMIC_RELAXED);
}

void poller_want(struct poller *poller, uint32_t slot, struct ring *ring, uint32_t cells) {
    __atomic_store_n(&poller->wanted[slot], ring, __ATOMIC_RELAXED);
    /* A look before we park may see it too early, so a slot keeps its ring, and the ring is there first. */
    __atomic_store_n(&poller->wanted_cells[slot], cells, __ATOMIC_RELEASE);
}

int poller_start(struct ring **rings, uint32_t count, int descriptor, int64_t spin, int64_t sleep,
                 struct poller **poller) {
    if (count > POLLER_RINGS || sleep <= 0 || spin < 0) {
        return -EINVAL;
    }
    struct poller *made = calloc(1, sizeof *made);
    if (!made) {
        return -ENOMEM;
    }
    memcpy(made->rings, rings, count * sizeof(struct ring *));
    made->count = count;
    made->descriptor = descriptor;
    made->spin = spin;
    made->sleep = sleep;
    sigset_t all, before;
    sigfillset(&all);
    /* The thread inherits the mask: signals stay the interpreter's. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&made->thread, NULL, watch, made);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        free(made);
        return -error;
    }
    *poller = made;
    return 0;
}

void poller_stop(struct poller *poller) {
    __atomic_store_n(&poller->stop, 1, __ATOMIC_RELAXED);
    /* Pairs with the fence in wait_for_work, as parked does. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    wake_thread(poller);
    pthread_join(poller->thread, NULL);
    free(poller);
}

uint64_t poller_signals(const struct poller *poller) {
    return __atomic_load_n(&poller->signals, __ATOMIC_RELAXED);
}
