/* The least a server can do: one epoll loop that answers each empty line in what it reads with the same 44 bytes. What
 * kernel_http.py measures its candidates against. Usage: http_floor PORT [ADDRESS] */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

enum { MOST = 1024 };

/* 0 when the connection is over. */
static int answer(int from) {
    static char data[65536], answers[MOST * (sizeof ANSWER - 1)];
    ssize_t length = recv(from, data, sizeof data, 0);
    size_t heads = 0;
    char *at = data, *end = data + length;
    while (length > 0 && heads < MOST && (at = memmem(at, (size_t)(end - at), "\r\n\r\n", 4))) {
        memcpy(answers + heads++ * (sizeof ANSWER - 1), ANSWER, sizeof ANSWER - 1);
        at += 4;
    }
    return length > 0 && (!heads || send(from, answers, heads * (sizeof ANSWER - 1), MSG_NOSIGNAL) > 0);
}

static void serve(int epoll, int listener) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < count; i++) {
        int from = events[i].data.fd;
        if (from == listener) {
            struct epoll_event event = {.events = EPOLLIN | EPOLLET};
            event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (event.data.fd >= 0)
                epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        } else if (!answer(from)) {
            close(from);
        }
    }
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    if (count < 2 || (count > 2 && !inet_aton(words[2], &address.sin_addr)))
        return 2;
    address.sin_port = htons((uint16_t)atoi(words[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        return 1;
    for (;;)
        serve(epoll, listener);
}
