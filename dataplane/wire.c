/* The internet checksum. Pure. */
#include "wire.h"

/* The next 8 bytes, with the carry brought round to the other end: 2^64 and 2^16 are both 1 modulo 2^16 - 1. */
static uint64_t add64(const uint8_t *data, uint64_t sum) {
    uint64_t word;
    memcpy(&word, data, 8);
    uint64_t carry = __builtin_add_overflow(sum, word, &sum);
    return sum + carry;
}

/* Of fewer than 8 bytes; a last odd one is followed by a 0. */
static uint64_t sum_rest(const uint8_t *data, uint32_t length) {
    uint32_t word = 0;
    uint16_t pair = 0, last = 0;
    if (length & 4) {
        memcpy(&word, data, 4);
        data += 4;
    }
    if (length & 2) {
        memcpy(&pair, data, 2);
        data += 2;
    }
    if (length & 1) {
        memcpy(&last, data, 1);
    }
    return (uint64_t)word + pair + last;
}

uint64_t wire_sum(const uint8_t *data, uint32_t length, uint64_t sum) {
    uint64_t left = 0, right = 0; /* two chains of carries, side by side */
    for (; length >= 16; length -= 16, data += 16) {
        left = add64(data, left);
        right = add64(data + 8, right);
    }
    if (length & 8) {
        left = add64(data, left);
        data += 8;
    }
    return sum + wire_halves(left) + wire_halves(right) + sum_rest(data, length & 7);
}

uint16_t wire_fold(uint64_t sum) {
    uint32_t folded;
    uint32_t carry = __builtin_add_overflow((uint32_t)sum, (uint32_t)(sum >> 32), &folded);
    folded += carry;
    return (uint16_t)((folded + (folded << 16 | folded >> 16)) >> 16); /* both halves, and the carry of the lower sum */
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
