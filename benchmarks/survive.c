/* A client for survive.py: many connections, one request of a line in flight on each, paced in all; it prints when no
 * answer came for a while. usage: survive ADDRESS PORT CONNECTIONS RATE SECONDS GAP_MICROSECONDS
 * Lines: "gap START END" in nanoseconds of CLOCK_MONOTONIC; at the end "answers N lost N wrong N". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 16, MOST = 4096, EVENTS = 64 };

static struct {
    int descriptor, waiting, got;
    char sent[LINE], back[LINE];
} connections[MOST];

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void open_all(int poll, const struct sockaddr_in *address, int count) {
    for (int i = 0; i < count; i++) {
        int descriptor = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (connect(descriptor, (const struct sockaddr *)address, sizeof *address)) {
            perror("connect");
            exit(1);
        }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(descriptor, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
        connections[i].descriptor = descriptor;
    }
}

static void ask(int number, uint64_t serial) {
    snprintf(connections[number].sent, LINE, "%014llu\n", (unsigned long long)(serial % 100000000000000ull));
    connections[number].sent[LINE - 1] = '\n';
    connections[number].waiting = send(connections[number].descriptor, connections[number].sent, LINE, 0) == LINE;
    connections[number].got = 0;
}

/* 1 when a whole answer is there, -1 when the connection is gone, -2 when the answer is wrong. */
static int take(int number) {
    char *back = connections[number].back;
    ssize_t got =
        recv(connections[number].descriptor, back + connections[number].got, LINE - connections[number].got, 0);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN ? 0 : -1;
    }
    connections[number].got += (int)got;
    if (connections[number].got < LINE) {
        return 0;
    }
    connections[number].waiting = 0;
    return memcmp(back, connections[number].sent, LINE) == 0 ? 1 : -2;
}

/* Sends what is due, a line on each connection that waits for none; how many were sent in all. */
static uint64_t ask_due(uint64_t asked, uint64_t due, int all, int *next) {
    for (int tried = 0; asked < due && tried < all; tried++, *next = (*next + 1) % all) {
        if (!connections[*next].waiting && connections[*next].descriptor >= 0) {
            ask(*next, ++asked);
        }
    }
    return asked < due && due - asked > (uint64_t)all ? due - (uint64_t)all : asked;
}

int main(int count, char **words) {
    if (count != 7) {
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    inet_pton(AF_INET, words[1], &address.sin_addr);
    int all = atoi(words[3]), next = 0, poll = epoll_create1(0);
    double rate = atof(words[4]);
    int64_t gap = atoll(words[6]) * 1000;
    uint64_t answers = 0, lost = 0, wrong = 0, asked = 0;
    open_all(poll, &address, all);
    int64_t start = now(), end = start + atoll(words[5]) * 1000000000ll, last = start, time;
    printf("ready\n");
    fflush(stdout);
    while ((time = now()) < end) {
        asked = ask_due(asked, (uint64_t)((double)(time - start) * rate / 1e9), all, &next);
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poll, events, EVENTS, 0);
        for (int i = 0; i < ready; i++) {
            int number = (int)events[i].data.u32, result = take(number);
            if (result < 0) {
                lost += result == -1;
                wrong += result == -2;
                close(connections[number].descriptor);
                connections[number].descriptor = -1;
            } else if (result) {
                answers++;
                time = now();
                if (time - last > gap) {
                    printf("gap %lld %lld\n", (long long)last, (long long)time);
                }
                last = time;
            }
        }
    }
    printf("answers %llu lost %llu wrong %llu\n", (unsigned long long)answers, (unsigned long long)lost,
           (unsigned long long)wrong);
    return 0;
}
