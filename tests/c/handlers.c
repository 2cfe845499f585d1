/* Actors in C for the tests. `script` obeys its input, one command after the other:
 *   = n payload[n]   echo the payload; incomplete: need(n + 2) and wait      # n payload[n]   the same without need
 *   * n              send n times 256 'x'                                    @ n              set a timer of n ms
 *   . close          x abort          ! fail          ~ claim a byte too many          - claim -1 bytes
 *   ? wait for ever  > n payload[n]   tell message type 7                    w               send 1 MB, or ask for
 *   on_writable, which sends "W"      any other byte: skipped
 *   ^ handle[8] b    send byte b to that connection, or "?" here if it is gone; b = '.' closes it, 'x' aborts it */
#include "handlers.h"

#include <string.h>

static struct handler_api api;
static uint32_t running;
struct logged handler_log[LOGGED];
uint64_t handler_logged;

void handlers_bind(const struct handler_api *given) {
    api = *given;
}

void handlers_reset(void) {
    handler_logged = 0;
    running = 0;
}

static void begin(struct call *call, uint32_t handler) {
    handler_log[handler_logged++ % LOGGED] =
        (struct logged){handler, running++, call->handle, call->argument, call->length};
}

static void finish(struct call *call) {
    running--;
    call->ok = 1;
}

static void note(struct call *call, enum handler handler) {
    begin(call, handler);
    finish(call);
}

void script_start(struct call *call) {
    note(call, ON_START);
}

void script_tick(struct call *call) {
    note(call, ON_TICK);
}

void script_open(struct call *call) {
    note(call, ON_OPEN);
}

void script_close(struct call *call) {
    begin(call, ON_CLOSE);
    /* All of these must be refused without harm. */
    api.send(call, call->record, (const uint8_t *)"late", 4);
    api.close(call, call->record);
    api.abort(call, call->record);
    api.set_timer(call, call->record, 1);
    finish(call);
}

void script_end(struct call *call) {
    begin(call, ON_END);
    api.send(call, call->record, (const uint8_t *)"E", 1);
    api.close(call, call->record);
    finish(call);
}

void script_timer(struct call *call) {
    begin(call, ON_TIMER);
    api.send(call, call->record, (const uint8_t *)"T", 1);
    finish(call);
}

void script_writable(struct call *call) {
    begin(call, ON_WRITABLE);
    api.send(call, call->record, (const uint8_t *)"W", 1);
    finish(call);
}

static int64_t send_large(struct call *call, int64_t length) {
    static uint8_t large[1 << 20];
    memset(large, 'x', sizeof large);
    return api.send(call, call->record, large, length);
}

/* Commands of one byte. 0: this handler is to fail. */
static int64_t command(struct call *call) {
    call->result = 1;
    switch (call->data[0]) {
    case '.':
        api.close(call, call->record);
        break;
    case 'x':
        api.abort(call, call->record);
        break;
    case '!':
        api.send(call, call->record, (const uint8_t *)"never", 5);
        return 0;
    case '~':
        call->result = call->length + 1;
        break;
    case '-':
        call->result = -1;
        break;
    case '?':
        call->result = 0;
        break;
    case 'w':
        if (!send_large(call, (1 << 20)))
            api.want_writable(call, call->record);
    }
    return 1;
}

static int64_t command_other(struct call *call) {
    int64_t handle;
    if (call->length < 10)
        return 1;
    call->result = 10;
    memcpy(&handle, call->data + 1, 8);
    struct record *other = api.connection(call, handle);
    if (!other)
        return api.send(call, call->record, (const uint8_t *)"?", 1);
    if (call->data[9] == '.')
        api.close(call, other);
    else if (call->data[9] == 'x')
        api.abort(call, other);
    else
        api.send(call, other, call->data + 9, 1);
    return 1;
}

static int64_t command_long(struct call *call) {
    const uint8_t *data = call->data;
    if (data[0] == '^')
        return command_other(call);
    if (call->length < 2)
        return 1;
    if (data[0] == '*' || data[0] == '@') {
        call->result = 2;
        if (data[0] == '@')
            api.set_timer(call, call->record, data[1]);
        return data[0] == '@' || send_large(call, data[1] * 256);
    }
    if (call->length < 2 + data[1]) {
        if (data[0] == '=')
            api.need(call, 2 + data[1]);
        return 1;
    }
    call->result = 2 + data[1];
    if (data[0] == '>')
        api.tell(call, 7, -1, data + 2, data[1]);
    else if (!api.send(call, call->record, data + 2, data[1]))
        return 0;
    return 1;
}

void script_data(struct call *call) {
    begin(call, ON_DATA);
    int long_command = memchr("=#*@>^", call->data[0], 6) != NULL;
    int64_t ok = long_command ? command_long(call) : command(call);
    running--;
    call->ok = ok;
}

void script_message(struct call *call) {
    begin(call, HANDLER_COUNT);
    for (int64_t i = 0; i < call->length; i++)
        call->reply[i] = call->data[call->length - 1 - i];
    finish(call);
}

void failing(struct call *call) {
    begin(call, HANDLER_COUNT + 1);
    running--;
    call->ok = 0;
}

#define ANSWER(extra) "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n" extra "\r\nhello\n"

static int64_t has(struct call *call, int64_t length, const char *what) {
    return api.find(call->data, length, (const uint8_t *)what, (int64_t)strlen(what), 0) >= 0;
}

static void answer(struct call *call, const char *text) {
    api.send(call, call->record, (const uint8_t *)text, (int64_t)strlen(text));
}

void hello_data(struct call *call) {
    int64_t end = api.find(call->data, call->length, (const uint8_t *)"\r\n\r\n", 4, 0);
    call->result = end < 0 ? 0 : end + 4;
    call->ok = 1;
    if (end < 0)
        return;
    if (!has(call, end, "HTTP/1.0\r\n")) {
        answer(call, ANSWER(""));
    } else if (has(call, end, "Keep-Alive")) {
        answer(call, ANSWER("Connection: keep-alive\r\n"));
    } else {
        answer(call, ANSWER("Connection: close\r\n"));
        api.close(call, call->record);
    }
}

void echo_data(struct call *call) {
    int64_t room = api.room(call, call->record);
    int64_t length = room < call->length ? room : call->length;
    api.send(call, call->record, call->data, length);
    call->result = length;
    call->ok = 1;
}

void fault_data(struct call *call) {
    call->ok = 0;
}
