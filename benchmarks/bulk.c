/* Streams of bytes over Linux's TCP, as many as they can be: the peer of bulk.py, and its client.
 * bulk serve ADDRESS SINK_PORT SOURCE_PORT: takes all that comes at one port, sends without end at the other.
 * bulk send|receive ADDRESS PORT FLOWS SECONDS: prints bytes a second, those the other side has acknowledged. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 65536, FLOWS = 64, WARM = 200000000 /* nanoseconds */ };

static char piece[PIECE];

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int die(const char *what) {
    fprintf(stderr, "bulk: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int epoll, int socket, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = socket};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event)) {
        die("epoll");
    }
}

/* Bytes moved; -1: the connection is over. */
static ssize_t move(int socket, uint32_t events) {
    ssize_t moved = events & EPOLLOUT ? send(socket, piece, PIECE, MSG_DONTWAIT | MSG_NOSIGNAL)
                                      : recv(socket, piece, PIECE, MSG_DONTWAIT);
    if (moved < 0 && errno == EAGAIN) {
        return 0;
    }
    return moved > 0 ? moved : -1;
}

static int listener(const char *address, const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int on = 1, made = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!inet_aton(address, &at.sin_addr) || bind(made, (struct sockaddr *)&at, sizeof at) || listen(made, FLOWS)) {
        die("listen");
    }
    return made;
}

static void serve(char **words) {
    int epoll = epoll_create1(0), sink = listener(words[2], words[3]), source = listener(words[2], words[4]);
    watch(epoll, sink, EPOLLIN);
    watch(epoll, source, EPOLLIN);
    for (;;) {
        struct epoll_event events[FLOWS];
        int count = epoll_wait(epoll, events, FLOWS, -1);
        for (int i = 0; i < count; i++) {
            int from = events[i].data.fd;
            if (from == sink || from == source) {
                watch(epoll, accept4(from, NULL, NULL, SOCK_NONBLOCK), from == sink ? EPOLLIN : EPOLLOUT);
            } else if (move(from, events[i].events) < 0 || events[i].events & (EPOLLERR | EPOLLHUP)) {
                close(from);
            }
        }
    }
}

static int64_t waiting(const int *sockets, int flows) {
    int64_t sum = 0;
    for (int i = 0; i < flows; i++) {
        int queued = 0;
        ioctl(sockets[i], SIOCOUTQ, &queued);
        sum += queued;
    }
    return sum;
}

static int visit(char **words) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
    int epoll = epoll_create1(0), flows = atoi(words[4]), sockets[FLOWS], sends = words[1][0] == 's';
    if (flows < 1 || flows > FLOWS || !inet_aton(words[2], &at.sin_addr)) {
        return 2;
    }
    for (int i = 0; i < flows; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(sockets[i], (struct sockaddr *)&at, sizeof at)) {
            die("connect");
        }
        watch(epoll, sockets[i], sends ? EPOLLOUT : EPOLLIN);
    }
    int64_t start = now() + WARM, end = start + (int64_t)(atof(words[5]) * 1e9), time, moved = 0, before = 0;
    for (int warm = 1; (time = now()) < end;) {
        struct epoll_event events[FLOWS];
        int count = epoll_wait(epoll, events, FLOWS, 100);
        if (warm && time >= start) {
            warm = 0;
            start = time;
            before = moved - waiting(sockets, flows);
        }
        for (int i = 0; i < count; i++) {
            ssize_t bytes = move(events[i].data.fd, events[i].events);
            if (bytes < 0) {
                die("the other side ended");
            }
            moved += bytes;
        }
    }
    printf("%.0f\n", (double)(moved - waiting(sockets, flows) - before) * 1e9 / (double)(time - start));
    return 0;
}

int main(int count, char **words) {
    if (count == 5 && !strcmp(words[1], "serve")) {
        serve(words);
    }
    return count == 6 ? visit(words) : 2;
}
