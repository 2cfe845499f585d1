/* TCP options: read those we know, skip the rest, refuse what can't be walked. RFC 9293 section 3.2, RFC 7323. Pure. */
#include "tcp_inside.h"

enum { NOPS = OPTION_NOP << 24 | OPTION_NOP << 16 /* before an option of 2 bytes and some words */ };

static void read_one(const uint8_t *at, uint32_t length, struct segment *segment) {
    if (at[0] == OPTION_MSS && length == 4) {
        segment->mss = wire_get16(at + 2);
    } else if (at[0] == OPTION_SCALE && length == 3) {
        segment->scale = (uint8_t)lesser(at[2], SCALE_MOST);
    } else if (at[0] == OPTION_SACK_PERMITTED && length == 2) {
        segment->sack_permitted = 1;
    } else if (at[0] == OPTION_TIMESTAMPS && length == 10) {
        segment->timestamps = 1;
        segment->ts_value = wire_get32(at + 2);
        segment->ts_echo = wire_get32(at + 6);
    }
}

int options_read(const uint8_t *options, uint32_t length, struct segment *segment) {
    uint32_t at = 0;
    while (at < length && options[at] != OPTION_END) {
        if (options[at] == OPTION_NOP) {
            at++;
            continue;
        }
        if (at + 1 >= length || options[at + 1] < 2 || options[at + 1] > length - at) {
            return -1;
        }
        read_one(options + at, options[at + 1], segment);
        at += options[at + 1];
    }
    return 0;
}

/* RFC 2018 sections 2 and 3. */
static uint8_t *write_sack(uint8_t *at, const struct outgoing *outgoing, uint64_t *sum) {
    if (outgoing->sack_permitted) {
        *sum = wire_add32(at, NOPS | OPTION_SACK_PERMITTED << 8 | 2, *sum);
        at += 4;
    }
    if (outgoing->block_count) {
        *sum = wire_add32(at, NOPS | OPTION_SACK << 8 | (2 + 8u * outgoing->block_count), *sum);
        at += 4;
    }
    for (uint32_t i = 0; i < outgoing->block_count; i++, at += 8) {
        *sum = wire_add32(at, outgoing->blocks[i].start, *sum);
        *sum = wire_add32(at + 4, outgoing->blocks[i].end, *sum);
    }
    return at;
}

uint32_t options_write(uint8_t *at, const struct outgoing *outgoing, uint64_t *sum) {
    uint8_t *start = at;
    if (outgoing->mss) {
        *sum = wire_add32(at, OPTION_MSS << 24 | 4 << 16 | outgoing->mss, *sum);
        at += 4;
    }
    if (outgoing->scale != NO_SCALE) {
        *sum = wire_add32(at, OPTION_NOP << 24 | OPTION_SCALE << 16 | 3 << 8 | outgoing->scale, *sum);
        at += 4;
    }
    if (outgoing->timestamps) {
        *sum = wire_add32(at, NOPS | OPTION_TIMESTAMPS << 8 | 10, *sum);
        *sum = wire_add32(at + 4, outgoing->ts_value, *sum);
        *sum = wire_add32(at + 8, outgoing->ts_echo, *sum);
        at += TIMESTAMPS_BYTES;
    }
    return (uint32_t)(write_sack(at, outgoing, sum) - start);
}
