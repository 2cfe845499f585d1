/* The internet checksum. Pure. */
#include "wire.h"

/* The next 8 bytes, with the carry brought round to the other end: 2^64 and 2^16 are both 1 modulo 2^16 - 1. */
static uint64_t add8(const uint8_t *data, uint64_t sum) {
    uint64_t word;
    memcpy(&word, data, 8);
    uint64_t carry = __builtin_add_overflow(sum, word, &sum);
    return sum + carry;
}

/* The next 32: one instruction a word, where each takes the carry of the one before; compilers bring it round each. */
static uint64_t add32(const uint8_t *data, uint64_t sum) {
#ifdef __x86_64__
    __asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq %3, %0\n\tadcq %4, %0\n\tadcq $0, %0"
            : "+&r"(sum)
            : "m"(*(const uint8_t(*)[8])data), "m"(*(const uint8_t(*)[8])(data + 8)),
              "m"(*(const uint8_t(*)[8])(data + 16)), "m"(*(const uint8_t(*)[8])(data + 24))
            : "cc");
    return sum;
#else
    return add8(data + 24, add8(data + 16, add8(data + 8, add8(data, sum))));
#endif
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
    uint64_t words = 0;
    for (; length >= 32; length -= 32, data += 32) {
        words = add32(data, words);
    }
    for (; length >= 8; length -= 8, data += 8) {
        words = add8(data, words);
    }
    return sum + wire_halves(words) + sum_rest(data, length);
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
