/* The floors that a server is measured against: an empty echo at the other end of the wire, and how long the machine
 * itself lets a spinning core stand still. Owned by the core they run on. */
#include <string.h>

#include "../dataplane/core.h"
#include "../dataplane/tcp_inside.h"
#include "load_inside.h"

static void swap(uint8_t *left, uint8_t *right, uint32_t length) {
    uint8_t kept[6];
    memcpy(kept, left, length);
    memcpy(left, right, length);
    memcpy(right, kept, length);
}

static int is_request(const struct frame *frame) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER;
    uint32_t total = wire_get16(ip + IP_TOTAL);
    return frame->length > ETHERNET_HEADER + IP_HEADER + TCP_HEADER && total + ETHERNET_HEADER <= frame->length &&
           total > IP_HEADER + TCP_HEADER && load_checksums_good(ip, total - IP_HEADER);
}

/* Frame `to` becomes the answer to `from`. Addresses and ports that change places leave a sum as it is. */
static void reflect(const struct frame *from, struct frame *to) {
    const uint8_t *asked = from->data + ETHERNET_HEADER + IP_HEADER;
    uint32_t total = wire_get16(from->data + ETHERNET_HEADER + IP_TOTAL), length = total - IP_HEADER;
    uint32_t seq = wire_get32(asked + TCP_ACKNOWLEDGEMENT);
    uint32_t ack = wire_get32(asked + TCP_SEQUENCE) + length - TCP_HEADER;
    memcpy(to->data, from->data, ETHERNET_HEADER + total);
    uint8_t *ip = to->data + ETHERNET_HEADER, *tcp = ip + IP_HEADER;
    swap(to->data + ETHERNET_DESTINATION, to->data + ETHERNET_SOURCE, 6);
    swap(ip + IP_SOURCE, ip + IP_DESTINATION, 4);
    swap(tcp + TCP_SOURCE, tcp + TCP_DESTINATION, 2);
    uint64_t sum = wire_pseudo_read(from->data + ETHERNET_HEADER, length) + wire_sum(asked, TCP_SEQUENCE, 0);
    sum = wire_add32(tcp + TCP_SEQUENCE, seq, sum);
    sum = wire_add32(tcp + TCP_ACKNOWLEDGEMENT, ack, sum);
    sum = wire_sum(asked + TCP_OFFSET, TCP_CHECKSUM - TCP_OFFSET, sum);
    sum = wire_sum(asked + TCP_URGENT, length - TCP_URGENT, sum);
    wire_put_sum(tcp + TCP_CHECKSUM, sum);
    to->length = ETHERNET_HEADER + total;
}

uint64_t load_mirror(struct nic *nic, int64_t nanoseconds) {
    struct frame in[NIC_BURST], out[NIC_BURST];
    uint64_t frames = 0;
    for (int64_t end = clock_now() + nanoseconds; clock_now() < end;) {
        uint32_t count = nic->driver->rx_burst(nic, in, NIC_BURST), requests = 0, asked[NIC_BURST];
        for (uint32_t i = 0; i < count; i++) {
            asked[requests] = i;
            requests += (uint32_t)is_request(&in[i]);
        }
        requests = requests ? nic->driver->tx_alloc(nic, out, requests) : 0;
        for (uint32_t i = 0; i < requests; i++) {
            reflect(&in[asked[i]], &out[i]);
        }
        if (requests) {
            nic->driver->tx_burst(nic, out, requests);
        }
        if (count) {
            nic->driver->release(nic, in, count);
        }
        frames += count;
    }
    return frames;
}

uint64_t load_spin_gaps(int64_t nanoseconds, int64_t gap) {
    uint64_t gaps = 0;
    int64_t last = clock_now();
    for (int64_t end = last + nanoseconds; last < end;) {
        int64_t now = clock_now();
        gaps += now - last > gap;
        last = now;
    }
    return gaps;
}
