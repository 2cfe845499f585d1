/* TCP options: read those we know, skip the rest, refuse what can't be walked. RFC 9293 section 3.2, RFC 7323. Pure. */
#include "tcp_inside.h"

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
    segment->mss = 0;
    segment->scale = NO_SCALE;
    segment->timestamps = segment->sack_permitted = 0;
    segment->ts_value = segment->ts_echo = 0;
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
static uint8_t *write_sack(uint8_t *at, const struct outgoing *outgoing) {
    if (outgoing->sack_permitted) {
        at[0] = at[1] = OPTION_NOP;
        at[2] = OPTION_SACK_PERMITTED;
        at[3] = 2;
        at += 4;
    }
    if (outgoing->block_count) {
        at[0] = at[1] = OPTION_NOP;
        at[2] = OPTION_SACK;
        at[3] = (uint8_t)(2 + 8 * outgoing->block_count);
        at += 4;
    }
    for (uint32_t i = 0; i < outgoing->block_count; i++, at += 8) {
        wire_put32(at, outgoing->blocks[i].start);
        wire_put32(at + 4, outgoing->blocks[i].end);
    }
    return at;
}

uint32_t options_write(uint8_t *at, const struct outgoing *outgoing) {
    uint8_t *start = at;
    if (outgoing->mss) {
        at[0] = OPTION_MSS;
        at[1] = 4;
        wire_put16(at + 2, outgoing->mss);
        at += 4;
    }
    if (outgoing->scale != NO_SCALE) {
        at[0] = OPTION_NOP;
        at[1] = OPTION_SCALE;
        at[2] = 3;
        at[3] = outgoing->scale;
        at += 4;
    }
    if (outgoing->timestamps) {
        at[0] = at[1] = OPTION_NOP;
        at[2] = OPTION_TIMESTAMPS;
        at[3] = 10;
        wire_put32(at + 4, outgoing->ts_value);
        wire_put32(at + 8, outgoing->ts_echo);
        at += TIMESTAMPS_BYTES;
    }
    return (uint32_t)(write_sack(at, outgoing) - start);
}
