/* One connection over a Linux socket: accept, read into the actor, write from the stream, close.
 * Runs on the owning core. Sockets are edge-triggered and registered once: what is readable but unread stays on the
 * ready list, and Linux tells of send space only after a short write. Knows epoll's flags, not its loop. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../dataplane/actor.h"
#include "../dataplane/buffer.h"
#include "../dataplane/core.h"
#include "../dataplane/count.h"
#include "../dataplane/record.h"
#include "../dataplane/relay.h"
#include "../dataplane/stream.h"
#include "../dataplane/table.h"
#include "../dataplane/timer.h"
#include "kernel_socket.h"

static struct kernel *kernel_of(const struct core *core) {
    return core->transport_private;
}

int socket_keepalive(const struct core *core, int descriptor) {
    int seconds = (int)core->config.keepalive, on = seconds > 0;
    if (setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on))
        return -1;
    return on ? setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds) : 0;
}

static void ready_add(struct core *core, uint32_t index) {
    struct kernel *kernel = kernel_of(core);
    if (kernel->sockets[index].ready)
        return;
    uint64_t slot = (uint64_t)kernel->ready_next + kernel->ready_count++;
    kernel->ready[slot > core->capacity ? slot - core->capacity - 1 : slot] = index;
    kernel->sockets[index].ready = 1;
}

void socket_finish(struct core *core, uint32_t index, int reason, int reset) {
    struct kernel *kernel = kernel_of(core);
    struct socket *socket = &kernel->sockets[index];
    actor_close(core, index, reason);
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(socket->descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        count(core, COUNTER_RESET_SENT, 1);
    }
    close(socket->descriptor);
    socket->descriptor = -1;
    kernel->live--;
    core->records[index].state = STATE_CLOSED;
    actor_pend(core, index);
}

static void socket_fail(struct core *core, uint32_t index, int error) {
    count(core, error == ETIMEDOUT ? COUNTER_TIMED_OUT : COUNTER_RESET_RECEIVED, 1);
    socket_finish(core, index, error == ETIMEDOUT ? CLOSE_TIMEOUT : CLOSE_RESET, 0);
}

uint32_t socket_read(struct core *core, uint32_t index) {
    struct kernel *kernel = kernel_of(core);
    struct socket *socket = &kernel->sockets[index];
    struct record *record = &core->records[index];
    if (record->state == STATE_CLOSED)
        return 0;
    if (record->flags & FLAG_FIN_RECEIVED) {
        if (socket->failed)
            socket_fail(core, index, ECONNRESET);
        return socket->failed;
    }
    uint32_t window = actor_window(core, index);
    if (!window && !socket->failed) {
        ready_add(core, index);
        return 0;
    }
    size_t asked = window && window < KERNEL_READ ? window : KERNEL_READ;
    ssize_t length = window ? recv(socket->descriptor, kernel->buffer, asked, 0) : -1;
    if (length > 0) {
        if (!(record->flags & FLAG_FIN_SENT))
            record->last_activity = core->tick;
        count(core, COUNTER_RX_BYTES, (uint64_t)length);
        if ((size_t)length == asked || socket->ended)
            ready_add(core, index);
        actor_deliver(core, index, kernel->buffer, (uint32_t)length);
    } else if (length == 0) {
        actor_end(core, index);
        actor_pend(core, index);
    } else if (!window) {
        socket_fail(core, index, ECONNRESET);
    } else if (errno == EAGAIN || errno == EINTR) {
        return 0;
    } else {
        socket_fail(core, index, errno);
    }
    return 1;
}

/* As much of what is queued as has room in the list: how many bytes. */
static uint32_t gather(struct core *core, uint32_t index, uint32_t queued, struct msghdr *message) {
    uint32_t at = 0, piece;
    for (message->msg_iovlen = 0; at < queued && message->msg_iovlen < KERNEL_PIECES; at += piece) {
        struct iovec *next = &message->msg_iov[message->msg_iovlen++];
        next->iov_base = (void *)stream_peek(core, index, at, &piece);
        next->iov_len = piece;
    }
    return at;
}

/* What is queued in one system call, unless it lies in very many pieces. 1 once nothing is left. */
static int write_queued(struct core *core, uint32_t index) {
    uint32_t queued = stream_queued(core, index);
    struct socket *socket = &kernel_of(core)->sockets[index];
    if (!queued || socket->blocked)
        return !queued;
    struct iovec pieces[KERNEL_PIECES];
    struct msghdr message = {.msg_iov = pieces};
    uint32_t offered = gather(core, index, queued, &message);
    ssize_t sent = message.msg_iovlen > 1
                       ? sendmsg(socket->descriptor, &message, MSG_NOSIGNAL)
                       : send(socket->descriptor, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        socket_fail(core, index, errno);
        return 0;
    }
    socket->blocked = sent < 0;
    if (sent > 0) {
        stream_acknowledge(core, index, (uint32_t)sent);
        busy_release(core, index);
        count(core, COUNTER_TX_BYTES, (uint64_t)sent);
        core->records[index].last_activity = core->tick;
        actor_resume(core, index);
        if (sent == (ssize_t)offered && stream_queued(core, index))
            actor_pend(core, index); /* Linux has room: it will not tell of any */
    }
    return sent == (ssize_t)queued && !stream_queued(core, index);
}

static void deadline_in(struct core *core, uint32_t index, uint32_t milliseconds) {
    uint32_t deadline = core->tick + milliseconds;
    timer_set(core, index, TIMER_TRANSPORT, deadline ? deadline : 1);
}

/* Bytes that Linux still holds for the peer: a reset now would destroy them. */
static int is_underway(const struct core *core, uint32_t index) {
    int bytes = 0;
    return ioctl(kernel_of(core)->sockets[index].descriptor, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* The peer did not agree to our FIN in time, or never read what stood before it. */
void socket_expire(struct core *core, uint32_t index) {
    uint16_t flags = core->records[index].flags;
    if (core->records[index].state == STATE_CLOSED || !(flags & FLAG_CLOSING))
        return;
    if (flags & FLAG_FIN_SENT) {
        if (core->tick - core->records[index].last_activity < KERNEL_UNREAD && is_underway(core, index))
            deadline_in(core, index, KERNEL_LINGER);
        else
            socket_finish(core, index, CLOSE_LOCAL, 0);
    } else {
        count(core, COUNTER_TIMED_OUT, 1);
        socket_finish(core, index, CLOSE_TIMEOUT, 1);
    }
}

void socket_write(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->flags & FLAG_ABORTING) {
        socket_finish(core, index, CLOSE_ABORTED, 1);
        return;
    }
    int written = write_queued(core, index);
    if (record->state == STATE_CLOSED || !(record->flags & FLAG_CLOSING))
        return;
    if (!written) {
        if (!record->transport_deadline)
            deadline_in(core, index, KERNEL_UNREAD);
        return;
    }
    int listens = relay_listens(core, index);
    if (record->flags & FLAG_FIN_RECEIVED) {
        if (!relay_holds(core, index))
            socket_finish(core, index, record->flags & FLAG_FIN_SENT ? CLOSE_LOCAL : CLOSE_PEER, 0);
    } else if (!(record->flags & FLAG_FIN_SENT)) {
        /* close(2) with unread bytes would send RST and destroy our last answer at the peer: FIN, then wait. */
        record->flags |= FLAG_FIN_SENT;
        record->state = STATE_FIN_WAIT_2;
        shutdown(kernel_of(core)->sockets[index].descriptor, SHUT_WR);
        if (!listens)
            deadline_in(core, index, KERNEL_LINGER);
    } else if (!listens && !record->transport_deadline) {
        deadline_in(core, index, KERNEL_LINGER);
    }
}

void listeners_watch(struct core *core, uint32_t events) {
    for (uint32_t i = 0; i < core->listener_count; i++) {
        struct epoll_event event = {.events = events, .data.u64 = (1ull << 32) | i};
        if (core->listeners[i].descriptor >= 0)
            epoll_ctl(kernel_of(core)->epoll, EPOLL_CTL_MOD, core->listeners[i].descriptor, &event);
    }
}

/* Out of records or descriptors: those who wait stay in Linux's backlog; asking again at once would only spin. */
static void accept_pause(struct core *core) {
    struct kernel *kernel = kernel_of(core);
    count(core, COUNTER_ACCEPT_REFUSED, 1);
    listeners_watch(core, 0);
    kernel->accept_again = core->tick + KERNEL_ACCEPT_WAIT;
    if (!kernel->accept_again)
        kernel->accept_again = 1;
}

static void socket_open(struct core *core, uint32_t index, uint32_t listener, int descriptor,
                        const struct sockaddr_in *remote) {
    struct kernel *kernel = kernel_of(core);
    struct record *record = &core->records[index];
    struct sockaddr_in local = {.sin_addr.s_addr = kernel->local[listener]};
    socklen_t length = sizeof local;
    if (!kernel->local[listener])
        getsockname(descriptor, (struct sockaddr *)&local, &length);
    record->flow.local_address = local.sin_addr.s_addr;
    record->flow.local_port = core->listeners[listener].port;
    record->flow.remote_address = remote->sin_addr.s_addr;
    record->flow.remote_port = remote->sin_port;
    record->listener = (uint8_t)listener;
    record->last_activity = core->tick;
    record->state = STATE_ESTABLISHED;
    struct socket *socket = &kernel->sockets[index];
    socket->descriptor = descriptor;
    socket->ended = socket->failed = socket->blocked = 0;
    kernel->live++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = index};
    actor_open(core, index);
    if (epoll_ctl(kernel->epoll, EPOLL_CTL_ADD, descriptor, &event))
        socket_finish(core, index, CLOSE_RESET, 1);
}

uint32_t socket_accept(struct core *core, uint32_t listener) {
    uint32_t accepted = 0;
    while (accepted < KERNEL_ACCEPTS) {
        uint32_t index = record_take(core);
        if (!index) {
            accept_pause(core);
            break;
        }
        struct sockaddr_in remote = {0};
        socklen_t length = sizeof remote;
        int descriptor = accept4(core->listeners[listener].descriptor, (struct sockaddr *)&remote, &length,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) {
            int error = errno;
            record_free(core, index);
            if (error == ECONNABORTED || error == EINTR || error == EPROTO)
                continue;
            if (error != EAGAIN)
                accept_pause(core);
            break;
        }
        socket_open(core, index, listener, descriptor, &remote);
        accepted++;
    }
    return accepted;
}
