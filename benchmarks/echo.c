/* Echoes of 64 bytes over Linux's sockets: a client with one request under way on each connection, which checks each
 * answer, and the least a server can do.
 * Usage: echo ask ADDRESS PORT CONNECTIONS SECONDS, which prints answers a second and their median time in
 * microseconds; echo serve PORT. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, SIZE = 64, TIMES = 1 << 20 };

struct line {
    int64_t began; /* when its request left, nanoseconds */
    uint32_t got;  /* bytes of the answer */
    uint32_t number;
    int socket;
};

static struct line lines[MOST];
static int64_t times[TIMES];
static uint64_t answers, waiting;
static int64_t end; /* no request leaves later, so that no connection ends in the middle of an answer */

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void fill(const struct line *line, uint8_t *data) {
    uint32_t words[2] = {(uint32_t)(line - lines), line->number};
    for (uint32_t i = 0; i < SIZE; i += sizeof words)
        memcpy(data + i, words, sizeof words);
}

static void request(struct line *line) {
    uint8_t data[SIZE];
    line->number++;
    line->got = 0;
    waiting++;
    line->began = now();
    fill(line, data);
    if (send(line->socket, data, SIZE, MSG_NOSIGNAL) != SIZE)
        die("send");
}

static void answer(struct line *line) {
    uint8_t data[SIZE], right[SIZE];
    ssize_t length = recv(line->socket, data, SIZE - line->got, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return;
    fill(line, right);
    if (length <= 0 || memcmp(data, right + line->got, (size_t)length))
        die("an answer is not what was asked");
    line->got += (uint32_t)length;
    if (line->got < SIZE)
        return;
    int64_t at = now();
    times[answers++ % TIMES] = at - line->began;
    waiting--;
    if (at < end)
        request(line);
}

static int ascending(const void *one, const void *other) {
    int64_t left = *(const int64_t *)one, right = *(const int64_t *)other;
    return (left > right) - (left < right);
}

static void ask(const struct sockaddr_in *address, int count, double seconds) {
    int epoll = epoll_create1(0), on = 1;
    struct epoll_event events[64];
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &lines[i]};
        lines[i].socket = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(lines[i].socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(lines[i].socket, (const struct sockaddr *)address, sizeof *address) ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, lines[i].socket, &event))
            die("connect");
    }
    int64_t began = now();
    end = began + (int64_t)(seconds * 1e9);
    for (int i = 0; i < count; i++)
        request(&lines[i]);
    while (waiting) {
        int ready = epoll_wait(epoll, events, 64, 5000);
        if (!ready)
            die("no answer in five seconds");
        for (int i = 0; i < ready; i++)
            answer(events[i].data.ptr);
    }
    uint64_t kept = answers < TIMES ? answers : TIMES;
    double passed = (double)(now() - began) / 1e9;
    qsort(times, kept, sizeof *times, ascending);
    printf("%.0f %.1f\n", (double)answers / passed, (double)times[kept / 2] / 1e3);
}

static void serve(int epoll, int listener) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < count; i++) {
        char data[4096];
        int from = events[i].data.fd;
        if (from == listener) {
            struct epoll_event event = {.events = EPOLLIN};
            event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (event.data.fd >= 0)
                epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
            continue;
        }
        ssize_t length = recv(from, data, sizeof data, 0);
        if (length <= 0 || send(from, data, (size_t)length, MSG_NOSIGNAL) != length)
            close(from);
    }
}

static void serve_all(struct sockaddr_in *address) {
    int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)address, sizeof *address) || listen(listener, MOST) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        die("listen");
    for (;;)
        serve(epoll, listener);
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (count == 3 && !strcmp(words[1], "serve")) {
        address.sin_port = htons((uint16_t)atoi(words[2]));
        serve_all(&address);
    }
    if (count != 6 || strcmp(words[1], "ask") || !inet_aton(words[2], &address.sin_addr) || atoi(words[4]) > MOST)
        return 2;
    address.sin_port = htons((uint16_t)atoi(words[3]));
    ask(&address, atoi(words[4]), atof(words[5]));
}
