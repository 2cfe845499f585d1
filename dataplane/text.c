/* Work on bytes for handlers: see text.h. */
#include "text.h"

int64_t text_of_int(uint8_t *out, int64_t number) {
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    uint8_t *at = out + TEXT_INT;
    do {
        *--at = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left);
    if (number < 0)
        *--at = '-';
    return out + TEXT_INT - at;
}

int64_t text_to_int(const uint8_t *data, int64_t length, int64_t otherwise) {
    int64_t number = 0;
    if (length < 1 || length > 18)
        return otherwise;
    for (int64_t at = 0; at < length; at++) {
        uint32_t digit = (uint32_t)data[at] - '0';
        if (digit > 9)
            return otherwise;
        number = number * 10 + digit;
    }
    return number;
}

static uint8_t lower(uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

int64_t text_equal_fold(const uint8_t *left, const uint8_t *right, int64_t length) {
    for (int64_t at = 0; at < length; at++)
        if (lower(left[at]) != lower(right[at]))
            return 0;
    return 1;
}

int64_t text_span(const uint8_t *data, int64_t length, const uint8_t *allowed, int64_t start) {
    int64_t at = start;
    while (at < length && allowed[data[at]])
        at++;
    return at;
}

int64_t text_hash(const uint8_t *data, int64_t length) {
    uint64_t value = 0xcbf29ce484222325u;
    for (int64_t at = 0; at < length; at++)
        value = (value ^ data[at]) * 0x100000001b3u;
    return (int64_t)value;
}
