/* Ethernet, ARP, IPv4, ICMP and TCP headers by named offsets. A caller checks a frame's length once; after that these
 * can't fail. Bytes are in network order on the wire, numbers in host order here. Knows no connection. */
#pragma once

#include <stdint.h>
#include <string.h>

enum wire_ethernet {
    ETHERNET_DESTINATION = 0,
    ETHERNET_SOURCE = 6,
    ETHERNET_TYPE = 12,
    ETHERNET_HEADER = 14,
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_VLAN = 0x8100,    /* 802.1Q */
    TYPE_SERVICE = 0x88a8, /* 802.1ad */
};

enum wire_arp { /* RFC 826, for Ethernet and IPv4; offsets from the ARP header */
                ARP_HARDWARE = 0,
                ARP_PROTOCOL = 2,
                ARP_LENGTHS = 4,
                ARP_OPERATION = 6,
                ARP_SENDER_MAC = 8,
                ARP_SENDER_IP = 14,
                ARP_TARGET_MAC = 18,
                ARP_TARGET_IP = 24,
                ARP_BYTES = 28,
                ARP_REQUEST = 1,
                ARP_REPLY = 2,
};

enum wire_ipv4 { /* RFC 791 */
                 IP_VERSION_LENGTH = 0,
                 IP_TOTAL = 2,
                 IP_IDENTIFICATION = 4,
                 IP_FRAGMENT = 6,
                 IP_TTL = 8,
                 IP_PROTOCOL = 9,
                 IP_CHECKSUM = 10,
                 IP_SOURCE = 12,
                 IP_DESTINATION = 16,
                 IP_HEADER = 20,
                 IP_DONT_FRAGMENT = 0x4000,
                 IP_FRAGMENT_MASK = 0x3fff, /* more-fragments and the offset */
                 PROTOCOL_ICMP = 1,
                 PROTOCOL_TCP = 6,
};

enum wire_icmp { /* RFC 792 */
                 ICMP_TYPE = 0,
                 ICMP_CODE = 1,
                 ICMP_CHECKSUM = 2,
                 ICMP_NEXT_MTU = 6, /* of "fragmentation needed": RFC 1191 section 4 */
                 ICMP_HEADER = 8,
                 ICMP_ECHO_REPLY = 0,
                 ICMP_UNREACHABLE = 3,
                 ICMP_ECHO = 8,
                 ICMP_TIME_EXCEEDED = 11,
                 ICMP_PARAMETER_PROBLEM = 12,
};

enum wire_tcp { /* RFC 9293 section 3.1 */
                TCP_SOURCE = 0,
                TCP_DESTINATION = 2,
                TCP_SEQUENCE = 4,
                TCP_ACKNOWLEDGEMENT = 8,
                TCP_OFFSET = 12,
                TCP_FLAGS = 13,
                TCP_WINDOW = 14,
                TCP_CHECKSUM = 16,
                TCP_URGENT = 18,
                TCP_HEADER = 20,
};

enum tcp_flag { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

enum tcp_option {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2,            /* 4 bytes */
    OPTION_SCALE = 3,          /* 3 bytes, RFC 7323 */
    OPTION_SACK_PERMITTED = 4, /* 2 bytes, RFC 2018 */
    OPTION_SACK = 5,           /* 2 bytes and 8 a block, RFC 2018 */
    OPTION_TIMESTAMPS = 8,     /* 10 bytes, RFC 7323 */
    TIMESTAMPS_BYTES = 12,     /* with the two NOPs in front */
};

static inline uint32_t wire_swap32(uint32_t word) {
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(word) : word;
}

static inline uint16_t wire_get16(const uint8_t *at) {
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t wire_get32(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, 4);
    return wire_swap32(word);
}

static inline void wire_put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void wire_put32(uint8_t *at, uint32_t value) {
    value = wire_swap32(value);
    memcpy(at, &value, 4);
}

/* Internet checksum (RFC 1071). A sum is kept in the machine's own byte order until wire_fold. */
uint64_t wire_sum(const uint8_t *data, uint32_t length, uint64_t sum);
uint16_t wire_fold(uint64_t sum);
/* Two words of 32 bits as a sum that others may be added to. */
static inline uint64_t wire_halves(uint64_t word) {
    return (uint32_t)word + (word >> 32);
}
/* Of 20 bytes: an IPv4 or TCP header without options. */
static inline uint64_t wire_sum_header(const uint8_t *header) {
    uint64_t words[2];
    uint32_t last;
    memcpy(words, header, 16);
    memcpy(&last, header + 16, 4);
    return wire_halves(words[0]) + wire_halves(words[1]) + last;
}
/* Of TCP's pseudo-header. source, destination: network byte order; length: TCP header and payload. */
static inline uint64_t wire_pseudo(uint32_t source, uint32_t destination, uint32_t length) {
    return (uint64_t)source + destination + wire_swap32(PROTOCOL_TCP << 16 | length);
}
/* The same; ip: a header with addresses. */
uint64_t wire_pseudo_read(const uint8_t *ip, uint32_t length);
/* The sum of bytes that stand at an odd place of what the checksum covers (RFC 1071 section 2 (B)). */
static inline uint64_t wire_odd(uint64_t sum) {
    return __builtin_bswap16(wire_fold(sum));
}
/* Two ways to store a word of a header and add it to its checksum. A frame under construction isn't read again for it:
 * bytes written in pieces can't be read as a whole before they have all reached the cache, and the line may have to
 * come from another core's. */
static inline uint64_t wire_add_raw(uint8_t *at, uint32_t word, uint64_t sum) {
    memcpy(at, &word, 4);
    return sum + word;
}
static inline uint64_t wire_add32(uint8_t *at, uint32_t value, uint64_t sum) {
    return wire_add_raw(at, wire_swap32(value), sum);
}
/* Stores the checksum `sum` amounts to. */
static inline void wire_put_sum(uint8_t *at, uint64_t sum) {
    uint16_t folded = (uint16_t)~wire_fold(sum);
    memcpy(at, &folded, 2);
}
/* RFC 1624: the checksum at `at` after one 16-bit word of what it covers changed. */
void wire_adjust(uint8_t *at, uint16_t before, uint16_t now);
