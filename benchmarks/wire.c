/* Frames by AF_XDP, on CPU 1's side of wire.py and afxdp_rx.py: an echo as actors have it (our loop, our driver), the
 * smallest echo the same rings allow, and our driver's reception alone. All are steered and opened alike.
 * Usage: wire echo|bare|receive INTERFACE ADDRESS SECONDS; prints frames a second. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core.h"
#include "count.h"
#include "loop.h"
#include "stats.h"
#include "transport.h"
#include "../runtime/arena.h"
#include "../nic/afxdp.h"
#include "../nic/bpf.h"
#include "../nic/nic.h"
#include "../nic/steer.h"
#include "../nic/xdp_queue.h"
#include "../nic/xdp_ring.h"

enum { FRAMES = 8192, PORT = 9, BUDGET = 32, WARM = 200000000 /* nanoseconds */, CHECK = 256 /* turns */ };

static struct steer steer;
static char log_of_verifier[BPF_LOG_BYTES];

static int die(const char *what, int error) {
    fprintf(stderr, "wire: %s: %s %s\n", what, strerror(error < 0 ? -error : errno), log_of_verifier);
    exit(1);
}

static void *memory(uint64_t bytes) {
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return made == MAP_FAILED ? (void *)(intptr_t)die("memory", 0) : made;
}

/* A socket on queue 0 and the steering to it: TCP for the port. */
static int open_queue(const char *interface, const char *address, void *region) {
    struct steer_key key = {.port = htons(PORT), .protocol = IPPROTO_TCP};
    struct xdp_open order = {.interface = if_nametoindex(interface), .frames = FRAMES, .region = region};
    int error = steer_open(&steer, 1, INT64_MAX, log_of_verifier), made = error ? error : xdp_socket(&order);
    if (made < 0 || !inet_aton(address, (struct in_addr *)&key.address)) {
        die("AF_XDP", made);
    }
    if ((error = steer_port(&steer, &key, 1)) || (error = steer_socket(&steer, 0, made)) ||
        (error = steer_attach(&steer, order.interface))) {
        die("steering", error);
    }
    return made;
}

static void turn_round(uint8_t *frame) {
    uint8_t mac[6];
    memcpy(mac, frame, 6);
    memcpy(frame, frame + 6, 6);
    memcpy(frame + 6, mac, 6);
}

/* The transport of a core whose frames go straight back, where TCP's would be. */
static uint32_t poll_echo(struct core *core) {
    struct frame in[BUDGET], out[BUDGET];
    struct nic *nic = core->nic;
    nic->now = core->now;
    uint32_t count = nic->driver->rx_burst(nic, in, BUDGET);
    uint32_t room = count ? nic->driver->tx_alloc(nic, out, count) : 0;
    for (uint32_t i = 0; i < room; i++) {
        memcpy(out[i].data, in[i].data, in[i].length);
        turn_round(out[i].data);
        out[i].length = in[i].length;
    }
    if (room) {
        nic->driver->tx_burst(nic, out, room);
    }
    if (count) {
        nic->driver->release(nic, in, count);
    }
    return count;
}

static uint32_t poll_receive(struct core *core) {
    struct frame in[BUDGET];
    struct nic *nic = core->nic;
    nic->now = core->now;
    uint32_t count = nic->driver->rx_burst(nic, in, BUDGET), sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += in[i].data[in[i].length - 1]; /* somebody looks */
    }
    __asm__ volatile("" : : "r"(sum));
    if (count) {
        nic->driver->release(nic, in, count);
    }
    return count;
}

static uint32_t drained(struct core *core, int late) {
    (void)core, (void)late;
    return 0;
}

static struct core *open_core(struct nic *nic, const struct transport *transport) {
    struct arena_config config = {.connections = 1024,
                                  .busy_blocks = 64,
                                  .buffer_bytes = 1 << 20,
                                  .time_wait = 64,
                                  .core_id = 0,
                                  .page_size = 4096};
    struct core_config core_config = {.spin = 1, .mtu = 1500};
    struct arena_header plan;
    struct core *core;
    int error = arena_plan(&config, &plan);
    void *arena = error ? NULL : memory(plan.bytes);
    if (error || (error = arena_format(arena, &plan)) || (error = core_open(arena, &core_config, 0, &core))) {
        die("core", error);
    }
    core->nic = nic;
    core->transport = transport;
    return core;
}

static uint64_t ours(int queue, void *region, const struct transport *transport, int64_t until, int64_t from) {
    uint8_t mac[6] = {2};
    struct nic *nic;
    int error = afxdp_open(mac, &nic);
    if (error || (error = afxdp_add(nic, queue, region, steer_pulse_map(steer.pulse, 1)))) {
        die("driver", error);
    }
    struct core *core = open_core(nic, transport);
    uint64_t before = 0;
    loop_start(core, 0);
    while (core->now < until) {
        loop_run(core, CHECK);
        before = core->now < from ? nic->stats.rx_frames : before;
    }
    return nic->stats.rx_frames - before;
}

/* Frames go back in place; the four rings and the doorbells, no marks, no journal, no counters. */
static uint32_t bare_turn(struct xdp_queue *queue) {
    uint32_t sent = xdp_ready(&queue->completion), count = xdp_ready(&queue->receive);
    for (uint32_t i = 0; i < sent; i++) {
        *xdp_address_at(&queue->fill, queue->fill.at + i) =
            *xdp_address_at(&queue->completion, queue->completion.at + i);
    }
    if (sent) {
        xdp_consumed(&queue->completion, sent);
        queue->fill.at += sent;
        __atomic_store_n(queue->fill.producer, queue->fill.at, __ATOMIC_RELEASE);
    }
    count = count < BUDGET ? count : BUDGET;
    for (uint32_t i = 0; i < count; i++) {
        struct xdp_desc desc = *xdp_desc_at(&queue->receive, queue->receive.at + i);
        turn_round(queue->frames + desc.addr);
        *xdp_desc_at(&queue->send, queue->send.at + i) = desc;
    }
    if (count) {
        xdp_consumed(&queue->receive, count);
        queue->send.at += count;
        __atomic_store_n(queue->send.producer, queue->send.at, __ATOMIC_RELEASE);
    }
    if (xdp_waiting(&queue->send) && *queue->send.flags & XDP_RING_NEED_WAKEUP) {
        sendto(queue->descriptor, NULL, 0, MSG_DONTWAIT, NULL, 0);
    }
    return count;
}

static uint64_t bare(int descriptor, void *region, int64_t until, int64_t from) {
    struct xdp_queue queue;
    int error = xdp_map(&queue, descriptor, region);
    if (error) {
        die("rings", error);
    }
    uint64_t *pulse = steer_pulse_map(steer.pulse, 1), frames = 0, before = 0;
    for (int64_t now = 0; now < until;) {
        for (int i = 0; i < CHECK; i++) {
            frames += bare_turn(&queue);
        }
        now = clock_now();
        *pulse = (uint64_t)now;
        before = now < from ? frames : before;
    }
    return frames - before;
}

int main(int count, char **words) {
    static const struct transport echo = {.name = "echo", .poll = poll_echo, .drain = drained};
    static const struct transport receive = {.name = "receive", .poll = poll_receive, .drain = drained};
    if (count != 5) {
        return 2;
    }
    void *region = memory(xdp_region_bytes(FRAMES));
    int queue = open_queue(words[2], words[3], region);
    int64_t from = clock_now() + WARM, until = from + (int64_t)(atof(words[4]) * 1e9);
    uint64_t frames = !strcmp(words[1], "bare")
                          ? bare(queue, region, until, from)
                          : ours(queue, region, words[1][0] == 'e' ? &echo : &receive, until, from);
    printf("%.0f\n", (double)frames * 1e9 / (double)(until - from));
    return 0;
}
