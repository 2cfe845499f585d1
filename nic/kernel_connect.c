/* Opening a connection over a Linux socket: connect, and what became of it. Runs on the owning core. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../dataplane/actor.h"
#include "../dataplane/core.h"
#include "../dataplane/record.h"
#include "../dataplane/relay.h"
#include "../dataplane/table.h"
#include "kernel_socket.h"

/* A descriptor that connects, or -errno. */
static int begin(const struct core *core, uint32_t address, uint16_t port) {
    uint32_t local_address = core->config.local_address;
    int on = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -errno;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    socket_keepalive(core, descriptor);
    struct sockaddr_in ours = {.sin_family = AF_INET, .sin_addr.s_addr = local_address};
    struct sockaddr_in theirs = {.sin_family = AF_INET, .sin_addr.s_addr = address, .sin_port = port};
    int failed = local_address && bind(descriptor, (struct sockaddr *)&ours, sizeof ours);
    if (!failed)
        failed = connect(descriptor, (struct sockaddr *)&theirs, sizeof theirs) && errno != EINPROGRESS;
    if (failed) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

int64_t kernel_connect(struct core *core, uint32_t listener, uint32_t address, uint16_t port, const uint8_t *next_hop) {
    (void)next_hop;
    struct kernel *kernel = core->transport_private;
    int descriptor = begin(core, address, port);
    if (descriptor < 0)
        return descriptor;
    uint32_t index = record_take(core);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = index};
    if (!index || epoll_ctl(kernel->epoll, EPOLL_CTL_ADD, descriptor, &event)) {
        int error = index ? errno : ENOBUFS;
        close(descriptor);
        if (index)
            record_free(core, index);
        return -error;
    }
    struct record *record = &core->records[index];
    record->flow.remote_address = address;
    record->flow.remote_port = port;
    record->listener = (uint8_t)listener;
    record->flags = FLAG_ACTIVE;
    record->last_activity = core->tick;
    kernel->sockets[index] = (struct socket){.descriptor = descriptor};
    kernel->live++;
    record->state = STATE_SYN_SENT;
    return index;
}

int kernel_connected(struct core *core, uint32_t index, uint32_t events) {
    struct record *record = &core->records[index];
    int descriptor = ((struct kernel *)core->transport_private)->sockets[index].descriptor, error = 0;
    socklen_t length = sizeof error;
    getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        socket_finish(core, index, RELAY_ERRNO + error, 0);
        return 0;
    }
    if (!(events & EPOLLOUT))
        return 0;
    struct sockaddr_in local = {0};
    length = sizeof local;
    getsockname(descriptor, (struct sockaddr *)&local, &length);
    record->flow.local_address = local.sin_addr.s_addr;
    record->flow.local_port = local.sin_port;
    record->state = STATE_ESTABLISHED;
    actor_open(core, index);
    return record->state == STATE_ESTABLISHED;
}
