/* How long a core's turns take while timers expire on many connections: a core with our TCP over a memory wire on one
 * CPU, at the wire's other end, on another, clients who acknowledge only half of what they are sent, at random. Each
 * connection has an application timer, which sends; what isn't acknowledged runs into TCP's. Prints one line a figure:
 * name, connections, value. Compiled and read by turns.py. */
#define _GNU_SOURCE
#include <endian.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "../dataplane/core.h"
#include "../dataplane/loop.h"
#include "../dataplane/record.h"
#include "../dataplane/stats.h"
#include "../dataplane/tcp.h"
#include "../dataplane/timer.h"
#include "../loadgen/load_inside.h"
#include "../nic/memory.h"
#include "../runtime/arena.h"
#include "places.h"

enum { SLOTS = 1024, PAYLOAD = 64, FLIGHT = 512, PORT = 7, SERVER = 0x0a000001, FIRST_CLIENT = 0x0a400000 };
enum { LOAD_SLICE = 1000000, SETTLE = 3 /* seconds before anything is measured */, LONG = 10000 /* nanoseconds */ };

struct world {
    uint32_t connections, period; /* milliseconds between an application timer's runs */
    int server_cpu, client_cpu, seconds;
    void *wire;
    struct core *core;
    uint64_t key[2];  /* the server's, for its clients */
    int opened, over; /* said by the clients; by the server */
    uint64_t acknowledged, unanswered;
};

struct turns {
    uint64_t count, buckets[LOAD_BUCKETS];
    uint64_t longer; /* than LONG */
    int64_t most;
};

static int sending;
static uint64_t expired;
static uint32_t period;

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) {
        exit(1);
    }
}

static void on_open(struct call *call) {
    call_set_timer(call, call->record, 1 + random_below(period));
    call->ok = 1;
}

static void on_data(struct call *call) {
    call->result = call_send(call, call->record, call->data, call->length) ? call->length : 0;
    call->ok = 1;
}

static void on_timer(struct call *call) {
    static const uint8_t news[PAYLOAD];
    call_set_timer(call, call->record, period);
    if (sending) {
        expired++;
        call_send(call, call->record, news, sizeof news);
    }
    call->ok = 1;
}

static void handle(struct actor *actor, enum handler handler, handler_entry entry) {
    actor->reporting[handler] = actor->quiet[handler] = entry;
}

static void open_server(struct world *world) {
    struct arena_config config = {.connections = world->connections,
                                  .busy_blocks = world->connections,
                                  .buffer_bytes = world->connections * 128ull + (16 << 20),
                                  .page_size = HUGE_PAGE};
    struct core_config core_config = {.spin = 1, .local_address = htobe32(SERVER), .mtu = 1500};
    struct arena_header plan;
    struct nic *nic;
    if (arena_plan(&config, &plan)) {
        exit(3);
    }
    void *base = memory(plan.bytes);
    world->wire = memory(memory_bytes(SLOTS));
    if (arena_format(base, &plan) || core_open(base, &core_config, 0, &world->core) ||
        memory_format(world->wire, SLOTS) || memory_open(world->wire, memory_bytes(SLOTS), 0, &nic) ||
        tcp_attach(world->core, nic)) {
        exit(3);
    }
    struct actor *actor = core_listen(world->core, htobe16(PORT), -1);
    actor->max_unconsumed = 65536;
    actor->reply_reserve = 4096;
    actor->calls_per_turn = 16;
    handle(actor, ON_OPEN, on_open);
    handle(actor, ON_DATA, on_data);
    handle(actor, ON_TIMER, on_timer);
    memcpy(world->key, world->core->state->key + 2, sizeof world->key);
    if (loop_start(world->core, 0)) {
        exit(3);
    }
}

/* Half of the frames that carry something are acknowledged, whichever; the rest might have been lost. */
static void hear(struct load *load, struct world *world, const struct frame *frame) {
    const uint8_t *ip = frame->data + ETHERNET_HEADER, *tcp = ip + IP_HEADER;
    uint32_t length = wire_get16(ip + IP_TOTAL) - IP_HEADER - (uint32_t)(tcp[TCP_OFFSET] >> 4) * 4, number;
    struct client client;
    if (!length || !load_number(load, ip, tcp, &number)) {
        return;
    }
    static uint64_t coins = 1;
    coins = coins * 6364136223846793005u + 1442695040888963407u;
    if (coins >> 63) {
        world->unanswered++;
        return;
    }
    world->acknowledged++;
    load_client(load, number, &client);
    load_put(load, &client, wire_get32(tcp + TCP_ACKNOWLEDGEMENT), wire_get32(tcp + TCP_SEQUENCE) + length, TCP_ACK);
}

static void half_deaf(struct load *load, struct world *world) {
    struct frame frames[NIC_BURST];
    while (!__atomic_load_n(&world->over, __ATOMIC_ACQUIRE)) {
        uint32_t room = load_room(load);
        uint32_t count = room ? load->nic->driver->rx_burst(load->nic, frames, room) : 0;
        for (uint32_t i = 0; i < count; i++) {
            hear(load, world, &frames[i]);
        }
        if (count) {
            load->nic->driver->release(load->nic, frames, count);
        }
        load_flush(load);
    }
}

static void *clients(void *argument) {
    struct world *world = argument;
    struct load_config config = {.key = {1, 2},
                                 .server_key = {world->key[0], world->key[1]},
                                 .began = clock_now(),
                                 .server_address = SERVER,
                                 .first_client = FIRST_CLIENT,
                                 .server_port = PORT,
                                 .payload = PAYLOAD,
                                 .server_mac = {2, 'S', 'P', 'L', 'T', 0},
                                 .flight = FLIGHT};
    struct load_order order = {.kind = LOAD_OPEN, .count = world->connections, .rounds = 1};
    struct nic *nic;
    struct load *load;
    pin(world->client_cpu);
    if (memory_open(world->wire, memory_bytes(SLOTS), 1, &nic) || load_open(nic, &config, &load)) {
        exit(3);
    }
    load_begin(load, &order);
    while (!load_run(load, LOAD_SLICE)) {
    }
    if (load_result(load)->done != world->connections) {
        fprintf(stderr, "only %lu connections were opened\n", (unsigned long)load_result(load)->done);
        exit(5);
    }
    __atomic_store_n(&world->opened, 1, __ATOMIC_RELEASE);
    half_deaf(load, world);
    return NULL;
}

static void note(struct turns *turns, int64_t took) {
    turns->count++;
    turns->buckets[load_bucket((uint64_t)took)]++;
    turns->longer += took > LONG;
    turns->most = took > turns->most ? took : turns->most;
}

static void print(const struct world *world, const char *name, double value) {
    printf("%s %u %.3f\n", name, world->connections, value);
}

static void print_turns(const struct world *world, const char *name, const struct turns *turns) {
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    char text[64];
    for (uint32_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t seen = 0;
        uint32_t bucket = 0;
        while (bucket < LOAD_BUCKETS - 1 &&
               (double)(seen += turns->buckets[bucket]) < parts[i].part * (double)turns->count) {
            bucket++;
        }
        snprintf(text, sizeof text, "%s_%s_us", name, parts[i].name);
        print(world, text, (double)load_bucket_least(bucket + 1) / 1000);
    }
    snprintf(text, sizeof text, "%s_most_us", name);
    print(world, text, (double)turns->most / 1000);
    snprintf(text, sizeof text, "%s_over_10us_per_s", name);
    print(world, text, (double)turns->longer / world->seconds);
    snprintf(text, sizeof text, "%s_per_s", name);
    print(world, text, (double)turns->count / world->seconds);
}

/* What the machine itself does to a loop that only reads the clock. */
static void spin(const struct world *world) {
    struct turns gaps = {0};
    int64_t last = clock_now();
    for (int64_t end = last + world->seconds * 1000000000ll; last < end;) {
        int64_t now = clock_now();
        note(&gaps, now - last);
        last = now;
    }
    print_turns(world, "spin", &gaps);
}

static void run_for(struct core *core, int64_t nanoseconds, struct turns *turns) {
    int64_t last = clock_now();
    for (int64_t end = last + nanoseconds; last < end;) {
        uint32_t work = loop_turn(core);
        int64_t now = clock_now();
        if (work) {
            note(turns, now - last);
        }
        last = now;
    }
}

static void measure(struct world *world) {
    static struct turns unseen, turns;
    struct core *core = world->core;
    run_for(core, SETTLE * 1000000000ll, &unseen);
    uint64_t before = expired, timeouts = core->counters[COUNTER_TIMEOUTS];
    uint64_t again = core->counters[COUNTER_RETRANSMITTED], full = core->counters[COUNTER_TX_FULL];
    run_for(core, world->seconds * 1000000000ll, &turns);
    double seconds = world->seconds;
    print(world, "application_timers_per_s", (double)(expired - before) / seconds);
    print(world, "retransmission_timers_per_s", (double)(core->counters[COUNTER_TIMEOUTS] - timeouts) / seconds);
    print(world, "retransmitted_per_s", (double)(core->counters[COUNTER_RETRANSMITTED] - again) / seconds);
    print(world, "tx_full_per_s", (double)(core->counters[COUNTER_TX_FULL] - full) / seconds);
    print(world, "live", core->state->live);
    print_turns(world, "turn", &turns);
}

int main(int count, char **words) {
    if (count != 6) {
        return 1;
    }
    struct world world = {.connections = (uint32_t)strtoul(words[3], NULL, 10),
                          .period = (uint32_t)strtoul(words[4], NULL, 10),
                          .server_cpu = atoi(words[1]),
                          .client_cpu = atoi(words[2]),
                          .seconds = atoi(words[5])};
    pthread_t thread;
    period = world.period;
    pin(world.server_cpu);
    spin(&world);
    open_server(&world);
    if (pthread_create(&thread, NULL, clients, &world)) {
        return 3;
    }
    while (!__atomic_load_n(&world.opened, __ATOMIC_ACQUIRE)) {
        loop_turn(world.core);
    }
    sending = 1;
    measure(&world);
    __atomic_store_n(&world.over, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    return 0;
}
