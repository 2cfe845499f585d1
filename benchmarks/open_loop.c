/* Open-loop HTTP client: requests leave when they are due, whether or not earlier ones were answered, each on a free
 * connection or, when none is, once one is; latency counts from when it was due. What wrk can't do.
 * Usage: open_loop ADDRESS PORT CONNECTIONS RATE SECONDS; prints answers/s and microseconds: p50, p99, largest. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, LAST_WAIT = 1000 /* milliseconds for the last answers */ };

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: open-loop\r\n\r\n", END[] = "hello\n";

struct line {
    int64_t due; /* of the request on its way; 0: free */
    uint32_t tail;
    int socket;
};

static struct line lines[MOST];
static int free_lines[MOST], free_count;
static int64_t *latencies, answers;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int die(const char *what) {
    fprintf(stderr, "open_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void connect_all(int epoll, const struct sockaddr_in *address, int count) {
    for (int i = 0, on = 1; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        lines[i].socket = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(lines[i].socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(lines[i].socket, (const struct sockaddr *)address, sizeof *address) ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, lines[i].socket, &event)) {
            die("connect");
        }
        free_lines[free_count++] = i;
    }
}

static void request(int64_t due) {
    struct line *line = &lines[free_lines[--free_count]];
    line->due = due;
    if (send(line->socket, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != sizeof REQUEST - 1) {
        die("send");
    }
}

/* An answer is over with the body's last bytes, which may come apart. */
static void receive(struct line *line) {
    char data[4096];
    ssize_t length = recv(line->socket, data, sizeof data, MSG_DONTWAIT);
    if (length <= 0 && errno != EAGAIN) {
        die("recv");
    }
    for (ssize_t i = 0; i < length; i++) {
        line->tail = data[i] == END[line->tail] ? line->tail + 1 : data[i] == END[0];
    }
    if (line->due && line->tail == sizeof END - 1) {
        latencies[answers++] = now() - line->due;
        line->due = 0;
        line->tail = 0;
        free_lines[free_count++] = (int)(line - lines);
    }
}

static void receive_all(int epoll) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, 0);
    for (int i = 0; i < count; i++) {
        receive(&lines[events[i].data.u32]);
    }
}

static int by_value(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* Gaps between requests are exponential: Poisson arrivals, the same for every server. */
static double gap(uint64_t *dice, double mean) {
    *dice = *dice * 6364136223846793005ull + 1442695040888963407ull;
    return -mean * log(1.0 - (double)(*dice >> 11) / 9007199254740992.0);
}

int main(int count, char **words) {
    if (count != 6) {
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    int connections = atoi(words[3]), epoll = epoll_create1(0);
    double rate = atof(words[4]), seconds = atof(words[5]), due;
    uint64_t dice = 1;
    if (inet_aton(words[1], &address.sin_addr) == 0 || connections < 1 || connections > MOST || rate <= 0) {
        return 2;
    }
    latencies = calloc((size_t)(rate * seconds * 2) + 1024, sizeof *latencies);
    connect_all(epoll, &address, connections);
    int64_t start = now(), end = start + (int64_t)(seconds * 1e9);
    due = (double)start;
    while (due < (double)end) {
        while (free_count && due <= (double)now() && due < (double)end) {
            request((int64_t)due);
            due += gap(&dice, 1e9 / rate);
        }
        receive_all(epoll);
        if (now() > end + LAST_WAIT * 1000000ll) {
            break; /* far behind: what was never sent counts as never answered */
        }
    }
    while (free_count < connections && now() < end + LAST_WAIT * 1000000ll) {
        receive_all(epoll);
    }
    if (!answers) {
        errno = ETIMEDOUT;
        die("no answers");
    }
    qsort(latencies, (size_t)answers, sizeof *latencies, by_value);
    printf("%.0f %.1f %.1f %.1f\n", (double)answers / seconds, (double)latencies[answers / 2] / 1e3,
           (double)latencies[answers * 99 / 100] / 1e3, (double)latencies[answers - 1] / 1e3);
    return 0;
}
