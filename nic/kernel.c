/* The kernel transport's turn: what epoll says, what stayed readable, listeners that paused; idle, adoption, draining.
 * Owned by the core. Its state is process-local: Linux closes a dead worker's sockets, so adoption only tells. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../dataplane/actor.h"
#include "../dataplane/core.h"
#include "../dataplane/count.h"
#include "../dataplane/record.h"
#include "../dataplane/stream.h"
#include "../dataplane/table.h"
#include "../dataplane/transport.h"
#include "kernel.h"
#include "kernel_socket.h"

enum { SWEEP = 1024, QUIET = 50 };       /* of draining: records looked at a turn; milliseconds */
static const uint64_t BELL = 2ull << 32; /* what epoll calls it; a listener is 1 << 32 and more, a record less */

static struct kernel *kernel_of(const struct core *core) {
    return core->transport_private;
}

static uint32_t ready_poll(struct core *core) {
    struct kernel *kernel = kernel_of(core);
    uint32_t work = 0, todo = kernel->ready_count < KERNEL_READY ? kernel->ready_count : KERNEL_READY;
    for (uint32_t i = 0; i < todo; i++) {
        uint32_t index = kernel->ready[kernel->ready_next];
        kernel->ready_next = kernel->ready_next == core->capacity ? 0 : kernel->ready_next + 1;
        kernel->ready_count--;
        kernel->sockets[index].ready = 0;
        work += socket_read(core, index);
    }
    return work;
}

static uint32_t handle_event(struct core *core, const struct epoll_event *event) {
    if (event->data.u64 == BELL)
        return 0; /* the loop has seen to it */
    if (event->data.u64 >> 32)
        return core->listeners[(uint32_t)event->data.u64].open ? socket_accept(core, (uint32_t)event->data.u64) : 0;
    uint32_t index = (uint32_t)event->data.u64;
    struct socket *socket = &kernel_of(core)->sockets[index];
    if (core->records[index].state == STATE_CLOSED)
        return 0;
    if (core->records[index].state == STATE_SYN_SENT && !kernel_connected(core, index, event->events))
        return 1;
    if (event->events & (EPOLLRDHUP | EPOLLHUP))
        socket->ended = 1;
    if (event->events & EPOLLERR)
        socket->failed = 1;
    if (event->events & EPOLLOUT)
        socket->blocked = 0;
    if (event->events & EPOLLOUT && stream_queued(core, index))
        actor_pend(core, index);
    if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        socket_read(core, index);
    return 1;
}

/* Looking at an empty epoll again at once takes its cache lines from those who are about to put an event there: about
 * a microsecond between two looks made wrk 5 % faster. */
static void breathe(void) {
    for (int i = 0; i < 64; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb");
#endif
    }
}

static uint32_t poll(struct core *core) {
    struct kernel *kernel = kernel_of(core);
    uint32_t work = ready_poll(core);
    if (kernel->empty && !work && !kernel->waiting) {
        breathe();
        sched_yield(); /* to clients and control plane, should they share this CPU: 1.3 times the echoes by streams */
    }
    int events = kernel->waiting ? kernel->waiting : epoll_wait(kernel->epoll, kernel->events, KERNEL_EVENTS, 0);
    kernel->waiting = 0;
    kernel->empty = events <= 0;
    for (int i = 0; i < events; i++)
        work += handle_event(core, &kernel->events[i]);
    if (kernel->accept_again && (int32_t)(core->tick - kernel->accept_again) >= 0) {
        kernel->accept_again = 0;
        listeners_watch(core, EPOLLIN);
    }
    return work;
}

static void output(struct core *core, uint32_t index) {
    if (core->records[index].state != STATE_CLOSED) {
        socket_write(core, index);
        return;
    }
    stream_drop(core, index);
    record_free(core, index);
}

static void idle(struct core *core, int64_t nanoseconds) {
    struct kernel *kernel = kernel_of(core);
    struct timespec timeout = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    int events = epoll_pwait2(kernel->epoll, kernel->events, KERNEL_EVENTS, &timeout, NULL);
    if (events < 0 && errno == ENOSYS)
        events = epoll_wait(kernel->epoll, kernel->events, KERNEL_EVENTS, 1);
    kernel->waiting = events > 0 ? events : 0;
}

static int adopt(struct core *core) {
    for (uint32_t index = 1; index < core->state->record_fresh; index++) {
        if (core->records[index].state == STATE_CLOSED)
            continue;
        count(core, COUNTER_CONNECTIONS_LOST, 1);
        actor_close(core, index, CLOSE_WORKER_LOST);
        core->records[index].state = STATE_CLOSED;
        actor_pend(core, index);
    }
    return 0;
}

/* Milliseconds without a byte after which nothing is under way. In the second half of the time given to draining
 * a connection closes as soon as all it sent is answered: what comes then meets FIN, which is better than RST later. */
static uint32_t quiet(const struct core *core) {
    int64_t half = (int64_t)core->config.drain_milliseconds * 500000;
    return core->drain_until - core->now < half ? 0 : QUIET;
}

/* Idle connections close at once; the others when they fall idle, or reset at the deadline. */
static void drain_one(struct core *core, uint32_t index, int past_deadline) {
    struct record *record = &core->records[index];
    uint32_t kept;
    if (record->state == STATE_CLOSED)
        return;
    if (past_deadline) {
        socket_finish(core, index, CLOSE_SHUTDOWN, 1);
        return;
    }
    stream_kept(core, index, &kept);
    if (kept || stream_queued(core, index) || kernel_of(core)->sockets[index].ready ||
        (record->flags & (FLAG_CLOSING | FLAG_ABORTING)) || core->tick - record->last_activity < quiet(core))
        return;
    record->close_reason = CLOSE_SHUTDOWN + 1;
    record->flags |= FLAG_CLOSING;
    actor_pend(core, index);
}

static uint32_t drain(struct core *core, int past_deadline) {
    struct kernel *kernel = kernel_of(core);
    for (uint32_t i = 0; i < core->listener_count; i++) {
        if (core->listeners[i].open && core->listeners[i].descriptor >= 0)
            epoll_ctl(kernel->epoll, EPOLL_CTL_DEL, core->listeners[i].descriptor, NULL);
        core->listeners[i].open = 0;
    }
    for (uint32_t i = 0; i < SWEEP && kernel->live; i++) {
        kernel->sweep = kernel->sweep + 1 < core->state->record_fresh ? kernel->sweep + 1 : 1;
        drain_one(core, kernel->sweep, past_deadline);
    }
    return kernel->live + core->pending.count;
}

static const struct transport kernel_transport = {
    .name = "kernel",
    .output = output,
    .timer = socket_expire,
    .poll = poll,
    .idle = idle,
    .adopt = adopt,
    .connect = kernel_connect,
    .drain = drain,
};

/* Accepted sockets inherit these, which saves a call each. */
static int listener_prepare(const struct core *core, const struct listener *listener, uint32_t number) {
    struct kernel *kernel = kernel_of(core);
    int on = 1;
    struct sockaddr_in local = {0};
    socklen_t length = sizeof local;
    getsockname(listener->descriptor, (struct sockaddr *)&local, &length);
    kernel->local[number] = local.sin_addr.s_addr;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (1ull << 32) | number};
    if (setsockopt(listener->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        socket_keepalive(core, listener->descriptor) ||
        epoll_ctl(kernel->epoll, EPOLL_CTL_ADD, listener->descriptor, &event))
        return -errno;
    return 0;
}

/* calloc's pages exist only once written; the loop is to take no page fault. */
static void touch(const struct core *core, struct kernel *kernel) {
    memset(kernel->sockets, 0xff, (core->capacity + 1ul) * sizeof *kernel->sockets);
    memset(kernel->ready, 0xff, (core->capacity + 1ul) * sizeof *kernel->ready);
    memset(kernel->buffer, 0xff, KERNEL_READ);
    for (uint32_t i = 0; i <= core->capacity; i++)
        kernel->sockets[i] = (struct socket){.descriptor = -1};
}

int kernel_attach(struct core *core) {
    struct kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        return -ENOMEM;
    core->transport = &kernel_transport;
    core->transport_private = kernel;
    kernel->epoll = epoll_create1(EPOLL_CLOEXEC);
    int error = kernel->epoll < 0 ? -errno : 0;
    kernel->sockets = malloc((core->capacity + 1ul) * sizeof *kernel->sockets);
    kernel->ready = malloc((core->capacity + 1ul) * sizeof *kernel->ready);
    kernel->buffer = malloc(KERNEL_READ);
    if (!kernel->sockets || !kernel->ready || !kernel->buffer)
        error = -ENOMEM;
    else
        touch(core, kernel);
    struct epoll_event rung = {.events = EPOLLIN, .data.u64 = BELL};
    if (!error && core->bell >= 0 && epoll_ctl(kernel->epoll, EPOLL_CTL_ADD, core->bell, &rung))
        error = -errno;
    for (uint32_t i = 0; i < core->listener_count && !error; i++)
        error = core->listeners[i].descriptor >= 0 ? listener_prepare(core, &core->listeners[i], i) : 0;
    if (error)
        kernel_detach(core);
    return error;
}

void kernel_detach(struct core *core) {
    struct kernel *kernel = kernel_of(core);
    for (uint32_t i = 1; kernel->sockets && kernel->live && i <= core->capacity; i++)
        if (core->records[i].state != STATE_CLOSED && kernel->sockets[i].descriptor >= 0)
            close(kernel->sockets[i].descriptor);
    if (kernel->epoll >= 0)
        close(kernel->epoll);
    free(kernel->sockets);
    free(kernel->ready);
    free(kernel->buffer);
    free(kernel);
    core->transport_private = NULL;
    core->transport = NULL;
}
