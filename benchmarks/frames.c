/* The client's flood of 60-byte frames, and Linux's ways of receiving one, for wire.py and afxdp_rx.py.
 * frames flood tcp|udp|raw INTERFACE MAC SOURCE DESTINATION SECONDS: by AF_XDP, as fast as the peer's end takes them.
 * frames udp ADDRESS SECONDS: recvmmsg of 64; frames packet INTERFACE SECONDS: AF_PACKET, TPACKET_V3.
 * The receivers print frames a second. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "../nic/xdp_queue.h"
#include "../nic/xdp_ring.h"

enum {
    FRAMES = 4096,
    LENGTH = 60,
    BURST = 256,
    PORT = 9,
    EXPERIMENTAL = 0x88b5, /* IEEE's EtherType for local experiments: nobody but AF_PACKET takes it */
    BATCH = 64,
    BLOCK = 1 << 20,
    BLOCKS = 16,
    WARM = 200000000 /* nanoseconds */
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int die(const char *what) {
    fprintf(stderr, "frames: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint16_t checksum(const uint8_t *data, int length) {
    uint32_t sum = 0;
    for (int i = 0; i < length; i += 2) {
        sum += (uint32_t)data[i] << 8 | data[i + 1];
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* words: kind, interface, MAC, source, destination. */
static void write_frame(uint8_t *frame, char **words) {
    uint8_t *ip = frame + 14;
    int type = words[0][0] == 'r' ? EXPERIMENTAL : ETHERTYPE_IP;
    memset(frame, 0, LENGTH);
    sscanf(words[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", frame, frame + 1, frame + 2, frame + 3, frame + 4, frame + 5);
    memcpy(frame + 6, (uint8_t[]){2, 0, 0, 0, 0, 1, (uint8_t)(type >> 8), (uint8_t)type}, 8);
    memcpy(ip, (uint8_t[]){0x45, 0, 0, LENGTH - 14, 0, 0, 0x40, 0, 64, words[0][0] == 't' ? 6 : 17}, 10);
    inet_aton(words[3], (struct in_addr *)(ip + 12));
    inet_aton(words[4], (struct in_addr *)(ip + 16));
    uint16_t sum = checksum(ip, 20);
    memcpy(ip + 10, (uint8_t[]){(uint8_t)(sum >> 8), (uint8_t)sum}, 2);
    memcpy(ip + 20, (uint8_t[]){0x30, 0, 0, PORT, 0, LENGTH - 34}, 6); /* UDP: no checksum */
}

static void flood(char **words) {
    void *region =
        mmap(NULL, xdp_region_bytes(FRAMES), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct xdp_open order = {.interface = if_nametoindex(words[1]), .frames = FRAMES, .region = region};
    struct xdp_queue queue;
    int made = region == MAP_FAILED ? -1 : xdp_socket(&order);
    if (made < 0 || xdp_map(&queue, made, region)) {
        die("AF_XDP");
    }
    for (uint32_t i = 0; i < FRAMES; i++) {
        write_frame(queue.frames + (uint64_t)i * XDP_FRAME, words);
    }
    uint32_t flying = 0;
    for (int64_t until = now() + (int64_t)(atof(words[5]) * 1e9); now() < until;) {
        uint32_t done = xdp_ready(&queue.completion);
        xdp_consumed(&queue.completion, done);
        flying -= done;
        for (; flying < BURST; flying++) { /* the frames are alike: any will do that is not in flight */
            uint64_t address = (uint64_t)(queue.send.at % FRAMES) * XDP_FRAME;
            *xdp_desc_at(&queue.send, queue.send.at++) = (struct xdp_desc){address, LENGTH, 0};
        }
        __atomic_store_n(queue.send.producer, queue.send.at, __ATOMIC_RELEASE);
        sendto(made, NULL, 0, MSG_DONTWAIT, NULL, 0);
    }
}

/* Calls `receive` until the time is over; frames a second after the first moments. */
static double rate(int socket, uint32_t (*receive)(int socket), double seconds) {
    int64_t from = now() + WARM, until = from + (int64_t)(seconds * 1e9), time;
    uint64_t frames = 0, before = 0;
    while ((time = now()) < until) {
        frames += receive(socket);
        before = time < from ? frames : before;
    }
    return (double)(frames - before) * 1e9 / (double)(until - from);
}

static uint32_t receive_messages(int socket) {
    static uint8_t bytes[BATCH][64];
    static struct iovec places[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        places[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &places[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(socket, messages, BATCH, MSG_DONTWAIT, NULL);
    return got > 0 ? (uint32_t)got : 0;
}

static uint8_t *packet_blocks;
static uint32_t packet_at;

static uint32_t receive_block(int socket) {
    struct tpacket_block_desc *block = (void *)(packet_blocks + (size_t)packet_at * BLOCK);
    (void)socket;
    if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
        return 0;
    }
    uint32_t count = block->hdr.bh1.num_pkts, sum = 0, at = block->hdr.bh1.offset_to_first_pkt;
    for (uint32_t i = 0; i < count; i++) {
        const struct tpacket3_hdr *packet = (void *)((uint8_t *)block + at);
        sum += ((const uint8_t *)packet)[packet->tp_mac + packet->tp_snaplen - 1]; /* somebody looks */
        at += packet->tp_next_offset;
    }
    __asm__ volatile("" : : "r"(sum));
    __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    packet_at = (packet_at + 1) % BLOCKS;
    return count;
}

static int open_udp(const char *address) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int size = 1 << 24, made = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(made, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    if (!inet_aton(address, &at.sin_addr) || bind(made, (struct sockaddr *)&at, sizeof at)) {
        die("UDP");
    }
    return made;
}

static int open_packet(const char *interface) {
    int version = TPACKET_V3, made = socket(AF_PACKET, SOCK_RAW, htons(EXPERIMENTAL));
    struct tpacket_req3 ring = {.tp_block_size = BLOCK,
                                .tp_block_nr = BLOCKS,
                                .tp_frame_size = 2048,
                                .tp_frame_nr = BLOCK / 2048 * BLOCKS,
                                .tp_retire_blk_tov = 1};
    struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(EXPERIMENTAL), .sll_ifindex = (int)if_nametoindex(interface)};
    if (setsockopt(made, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(made, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) ||
        bind(made, (struct sockaddr *)&at, sizeof at)) {
        die("AF_PACKET");
    }
    packet_blocks = mmap(NULL, (size_t)BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
    return packet_blocks == MAP_FAILED ? die("AF_PACKET's ring") : made;
}

int main(int count, char **words) {
    if (count == 8 && !strcmp(words[1], "flood")) {
        flood(words + 2);
    } else if (count == 4 && !strcmp(words[1], "udp")) {
        printf("%.0f\n", rate(open_udp(words[2]), receive_messages, atof(words[3])));
    } else if (count == 4 && !strcmp(words[1], "packet")) {
        printf("%.0f\n", rate(open_packet(words[2]), receive_block, atof(words[3])));
    } else {
        return 2;
    }
    return 0;
}
