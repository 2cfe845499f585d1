/* What the controller does with a stream's messages before Python sees them (line.h). The consumer of one ring
 * and the producer of the other; both calls are the event loop's. Knows no connection. */
#include "line.h"

#include <string.h>
#include "core.h"
#include "record.h"
#include "relay.h"
#include "../runtime/bell.h"
#include "../runtime/ring_cell.h"

enum { HEAD = sizeof(struct relay_head) };

/* Whether the next message is of a connection that the control plane knows. */
static int is_next(struct ring *ring, struct ring_message *message) {
    uint64_t word;
    if (!ring_peek(ring, &word))
        return 0;
    ring_unpack(word, message);
    return message->kind == MESSAGE_EVENT && message->type == EVENT_STREAM && message->length >= HEAD &&
           message->target >= RELAY_DATA && message->target <= RELAY_GONE;
}

/* The message's head lies where the bytes before it end: those come back, so that a connection's bytes lie without
 * gaps. */
static struct relay_head get(struct ring *ring, struct ring_message *message, uint8_t *to) {
    struct relay_head head;
    uint8_t before[HEAD];
    memcpy(before, to - HEAD, HEAD);
    ring_get_cell(ring, message, to - HEAD);
    memcpy(&head, to - HEAD, HEAD);
    memcpy(to - HEAD, before, HEAD);
    return head;
}

uint32_t line_hear(struct ring *ring, struct line_heard *heard, uint8_t *bytes) {
    struct ring_message message;
    uint32_t count = 0, done = HEAD;
    while (count < LINE_HEARD && done + RING_MESSAGE_MAX <= LINE_BYTES && is_next(ring, &message)) {
        struct relay_head head = get(ring, &message, bytes + done);
        uint64_t key = (uint64_t)head.generation << RECORD_INDEX_BITS | message.tag;
        uint32_t length = message.target == RELAY_DATA ? (uint32_t)(message.length - HEAD) : 0;
        struct line_heard *last = &heard[count ? count - 1 : 0];
        if (count && length && last->what == RELAY_DATA && last->key == key &&
            head.at - last->at == last->end - last->begin) {
            last->end += length;
        } else {
            heard[count++] = (struct line_heard){key, message.target, head.at, done, done + length};
        }
        done += length;
    }
    if (count)
        ring_advance_cell(ring);
    return count;
}

uint32_t line_write(struct ring *ring, int bell, uint32_t index, uint32_t generation, uint32_t at, const uint8_t *data,
                    uint32_t length) {
    struct {
        struct relay_head head;
        uint8_t data[RELAY_PIECE];
    } whole;
    uint32_t sent = 0;
    while (sent < length) {
        uint32_t left = length - sent, piece = left < RELAY_PIECE ? left : RELAY_PIECE;
        struct ring_message message = {
            .type = EVENT_STREAM,
            .length = (uint16_t)(HEAD + piece),
            .kind = MESSAGE_EVENT,
            .target = RELAY_WRITE,
            .tag = index,
        };
        whole.head = (struct relay_head){generation, at + sent};
        memcpy(whole.data, data + sent, piece);
        if (ring_put(ring, &message, &whole) != 1)
            break;
        sent += piece;
    }
    if (sent)
        bell_told(ring, bell);
    return sent;
}
