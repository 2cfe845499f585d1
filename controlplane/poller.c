/* The thread that watches the rings for asyncio (poller.h). The event loop's functions run in its thread, watch() in
 * the poller's; what they share stands in struct poller. tests/runtime/explorer.py models parked and asleep. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "poller.h"

enum {
    WORKING_LOOKS = 20, /* sleeps beside a working event loop before the thread waits to be told */
    QUIET_LOOKS = 1024, /* fruitless looks at the rings before the sleep doubles */
    QUIET_DOUBLINGS = 4,
};

struct poller {
    uint32_t parked; /* 1: the event loop sleeps and wants to be woken */
    uint32_t asleep; /* 1: the thread sleeps and wants to be woken; a futex */
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

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Whether the event loop has something to do: a message, or room it waits for. */
static int look(struct poller *poller) {
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
    __atomic_store_n(&poller->asleep, 1, __ATOMIC_RELAXED);
    /* Pairs with the fence in poller_park: either we see parked, or it sees asleep and wakes us. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&poller->parked, __ATOMIC_RELAXED) && !__atomic_load_n(&poller->stop, __ATOMIC_RELAXED)) {
        syscall(SYS_futex, &poller->asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    }
    __atomic_store_n(&poller->asleep, 0, __ATOMIC_RELAXED);
}

static void signal_loop(struct poller *poller) {
    uint64_t one = 1;
    __atomic_store_n(&poller->signals, poller->signals + 1, __ATOMIC_RELAXED);
    /* An eventfd write fails only when its counter is full: then the event loop has a wake-up to come anyhow. */
    ssize_t written = write(poller->descriptor, &one, sizeof one);
    (void)written;
}

static void doze(int64_t nanoseconds) {
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void *watch(void *argument) {
    struct poller *poller = argument;
    uint32_t working = 0, quiet = 0;
    int64_t spin_until = 0;
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "splitplane-poll", 0, 0, 0);
    while (!__atomic_load_n(&poller->stop, __ATOMIC_RELAXED)) {
        /* Pairs with the release in poller_park: what the event loop wants and consumed is ours to read. */
        if (!__atomic_load_n(&poller->parked, __ATOMIC_ACQUIRE)) {
            quiet = 0;
            if (++working < WORKING_LOOKS) {
                doze(poller->sleep);
            } else {
                wait_for_work(poller);
            }
            spin_until = 0;
            continue;
        }
        working = 0;
        if (look(poller)) {
            if (take_parked(poller)) {
                signal_loop(poller);
            }
            spin_until = 0;
            quiet = 0;
            continue;
        }
        if (!spin_until) {
            spin_until = now() + poller->spin;
        }
        if (now() < spin_until) {
            pause_cpu();
        } else {
            uint32_t doublings = quiet / QUIET_LOOKS;
            quiet += doublings < QUIET_DOUBLINGS;
            doze(poller->sleep << doublings);
        }
    }
    return NULL;
}

static void wake_thread(struct poller *poller) {
    __atomic_store_n(&poller->asleep, 0, __ATOMIC_RELAXED);
    syscall(SYS_futex, &poller->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int poller_park(struct poller *poller) {
    /* The release pairs with the acquire in watch. */
    __atomic_store_n(&poller->parked, 1, __ATOMIC_RELEASE);
    /* Pairs with the fence in wait_for_work. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (look(poller) && take_parked(poller)) {
        return 0;
    }
    if (__atomic_load_n(&poller->asleep, __ATOMIC_RELAXED)) {
        wake_thread(poller);
    }
    return 1;
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
