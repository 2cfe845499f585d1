/* Stops a producer, then a consumer, after every single machine instruction of an operation on a ring, and adopts its
 * end as if it had been killed there. The operation runs in a child under ptrace, so nothing is left to chance. Prints
 * how many places it tried; exit code 1 with a line on stderr when the ring is not whole afterwards. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../runtime/ring_cell.h"

enum { CELLS = 16, BATCH = 5, LONG = 3 * RING_PAYLOAD - 9, STEPS_MAX = 20000, QUEUED = 4, FIRST = 10 };

enum operation { PUT_ONE, PUT_LONG, PUT_BATCH, GET_ONE, GET_LONG, OPERATIONS };

static const char *const names[] = {"put one", "put long", "put batch", "get one", "get long"};

static struct ring *ring, *copy;
static volatile uint64_t *delivered; /* how many messages the consumer has seen to */

/* Made before the operation, so that only the ring's own instructions are stepped through. */
static struct ring_message messages[BATCH];
static uint8_t rows[BATCH][RING_PAYLOAD], payload[RING_MESSAGE_MAX];

static int put(uint8_t number, uint32_t length) {
    memset(payload, number, length);
    messages[0] = (struct ring_message){.type = number, .length = (uint16_t)length};
    return ring_put(ring, messages, payload);
}

static void prepare(enum operation operation) {
    memset(payload, FIRST, sizeof payload);
    for (int i = 0; i < BATCH; i++) {
        messages[i] = (struct ring_message){.type = FIRST + i, .length = RING_PAYLOAD};
        memset(rows[i], FIRST + i, RING_PAYLOAD);
    }
    if (operation != PUT_BATCH) {
        messages[0].length = operation == PUT_LONG ? LONG : 20;
    }
}

static void operate(enum operation operation) {
    if (operation == PUT_BATCH) {
        ring_put_batch(ring, messages, rows, RING_PAYLOAD, BATCH);
    } else if (operation < GET_ONE) {
        ring_put(ring, messages, payload);
    } else {
        ring_get(ring, messages, payload);
        ++*delivered;
        ring_advance(ring);
    }
}

/* A child that stops before the operation and after it. */
static pid_t start(enum operation operation) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        pid_t self = getpid();
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        syscall(SYS_kill, self, SIGSTOP);
        operate(operation);
        syscall(SYS_kill, self, SIGSTOP);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return child;
}

/* One instruction further; 1 if the operation is through. */
static int step(pid_t child) {
    int status;
    if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL)) {
        perror("ptrace");
        exit(2);
    }
    waitpid(child, &status, 0);
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
}

static void fail(enum operation operation, long steps, const char *what) {
    fprintf(stderr, "%s, stopped after %ld instructions: %s\n", names[operation], steps, what);
    exit(1);
}

/* The next message's type, 0 if there is none, -1 if it is torn. */
static int next(void) {
    struct ring_message message;
    if (!ring_get(ring, &message, payload)) {
        return 0;
    }
    ring_advance(ring);
    for (int i = 0; i < message.length; i++) {
        if (payload[i] != message.type) {
            return -1;
        }
    }
    return message.type;
}

/* All of the operation's messages or none, then the successor's two. Returns 1 if all. The consumer is quick and reads
 * what the dead producer left before it is adopted, or it is slow. */
static int look_after_producer(enum operation operation, long steps, int quick) {
    int count = operation == PUT_BATCH ? BATCH : 1, first = quick ? next() : 0;
    ring_adopt_producer(ring);
    if (put(100, 20) != 1 || put(101, LONG) != 1) {
        fail(operation, steps, "no room for the successor");
    }
    first = first ? first : next();
    int all = first == FIRST;
    for (int i = 1; all && i < count; i++) {
        if (next() != FIRST + i) {
            fail(operation, steps, "half a batch");
        }
    }
    if ((all ? next() : first) != 100 || next() != 101 || next() != 0) {
        fail(operation, steps, "a ghost, or the successor's messages lost");
    }
    return all;
}

/* What was delivered comes at most once more, the rest once. Returns 1 if the message in hand doesn't come again. */
static int look_after_consumer(enum operation operation, long steps) {
    ring_adopt_consumer(ring);
    int first = next();
    if (first != 1 && (first != 2 || !*delivered)) {
        fail(operation, steps, "a message lost or torn");
    }
    for (int i = first + 1; i <= QUEUED; i++) {
        if (next() != i) {
            fail(operation, steps, "a later message lost or torn");
        }
    }
    if (next() != 0) {
        fail(operation, steps, "a ghost");
    }
    return first == 2;
}

static void set_up(enum operation operation, int turned) {
    ring_format(ring, CELLS);
    *delivered = 0;
    for (int i = 0; i < turned; i++) {
        put(1, 1);
        next();
    }
    for (int i = 1; operation >= GET_ONE && i <= QUEUED; i++) {
        put(i, operation == GET_LONG ? LONG : 20);
    }
    prepare(operation);
}

/* Steps through the operation on a ring that has gone `turned` cells. After each instruction the ring is copied, and
 * the copy adopted as if the child had been killed there: a ring holds no pointers. The outcome changes once, from
 * undone to done. */
static long every_step(enum operation operation, int turned, int quick) {
    int through = 0, done = 0, was_undone = 0;
    long steps = 0;
    set_up(operation, turned);
    struct ring *live = ring;
    pid_t child = start(operation);
    for (; !through && steps < STEPS_MAX; steps++) {
        memcpy(copy, live, ring_bytes(CELLS));
        ring = copy;
        int now =
            operation >= GET_ONE ? look_after_consumer(operation, steps) : look_after_producer(operation, steps, quick);
        ring = live;
        if (done && !now) {
            fail(operation, steps, "done before, undone now");
        }
        done = now;
        was_undone |= !done;
        through = step(child);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (!through || !done || !was_undone) {
        fail(operation, steps, "the operation was never whole, or never begun");
    }
    return steps;
}

int main(void) {
    size_t bytes = 2 * ring_bytes(CELLS) + 64;
    ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED) {
        return 2;
    }
    copy = (struct ring *)((uint8_t *)ring + ring_bytes(CELLS));
    delivered = (uint64_t *)((uint8_t *)copy + ring_bytes(CELLS));
    long places = 0;
    for (int operation = 0; operation < OPERATIONS; operation++) {
        for (int turned = 0; turned < 2 * CELLS; turned++) {
            places += every_step(operation, turned, 0);
            places += every_step(operation, turned, 1);
        }
    }
    printf("%ld\n", places);
    return 0;
}
