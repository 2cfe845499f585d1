/* The internet checksum. Pure. */
#include "wire.h"

uint64_t wire_sum(const uint8_t *data, uint32_t length, uint64_t sum) {
    uint64_t lanes[4] = {0};
    for (; length >= 16; length -= 16, data += 16) { /* four lanes, so that a compiler can use vectors */
        uint32_t words[4];
        memcpy(words, data, 16);
        for (int i = 0; i < 4; i++) {
            lanes[i] += words[i];
        }
    }
    for (; length >= 4; length -= 4, data += 4) {
        uint32_t word;
        memcpy(&word, data, 4);
        lanes[0] += word;
    }
    uint8_t rest[4] = {0};
    uint32_t word;
    memcpy(rest, data, length);
    memcpy(&word, rest, 4);
    return sum + lanes[0] + lanes[1] + lanes[2] + lanes[3] + word;
}

uint16_t wire_fold(uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint64_t wire_pseudo_read(const uint8_t *ip, uint32_t length) {
    uint32_t source, destination;
    memcpy(&source, ip + IP_SOURCE, 4);
    memcpy(&destination, ip + IP_DESTINATION, 4);
    return wire_pseudo(source, destination, length);
}

void wire_adjust(uint8_t *at, uint16_t before, uint16_t now) {
    uint32_t sum = (uint16_t)~wire_get16(at);
    sum += (uint16_t)~before;
    sum += now;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    wire_put16(at, (uint16_t)~sum);
}
