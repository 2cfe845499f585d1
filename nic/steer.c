/* Steering: the maps, the program attached, and what the controller sets in them. The program is in steer_program.c. */
#define _GNU_SOURCE
#include "steer.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>
#include "bpf.h"
#include "steer_program.h"

_Static_assert(sizeof(struct steer_key) == 8, "the program builds it on its stack");

static int load(struct steer *steer, uint64_t silence, char *log) {
    struct bpf_insn program[STEER_INSTRUCTIONS];
    int count = steer_assemble(program, steer, silence);
    if (count < 0) {
        return count;
    }
    return bpf_load_xdp(program, (uint32_t)count, "splitplane", log);
}

int steer_open(struct steer *steer, uint32_t queues, uint64_t silence, char *log) {
    *steer = (struct steer){-1, -1, -1, -1, -1, 0};
    steer->ports = bpf_map(BPF_MAP_TYPE_HASH, sizeof(struct steer_key), 1, STEER_ENTRIES, 0, "splitplane_port");
    steer->sockets = bpf_map(BPF_MAP_TYPE_XSKMAP, 4, 4, queues, 0, "splitplane_xsk");
    steer->pulse =
        bpf_map(BPF_MAP_TYPE_ARRAY, 4, sizeof(struct steer_pulse), queues, BPF_F_MMAPABLE, "splitplane_puls");
    int error = steer->ports < 0 ? steer->ports : steer->sockets < 0 ? steer->sockets : steer->pulse;
    if (error >= 0) {
        error = steer->program = load(steer, silence, log);
    }
    if (error < 0) {
        steer_close(steer);
        return error;
    }
    return 0;
}

int steer_port(const struct steer *steer, const struct steer_key *key, int ours) {
    uint8_t value = 1;
    return ours ? bpf_map_set(steer->ports, key, &value) : bpf_map_delete(steer->ports, key);
}

int steer_socket(const struct steer *steer, uint32_t queue, int descriptor) {
    return bpf_map_set(steer->sockets, &queue, &descriptor);
}

int steer_attach(struct steer *steer, uint32_t interface) {
    steer->native = 1;
    int link = bpf_link_xdp(steer->program, interface, XDP_FLAGS_DRV_MODE);
    if (link < 0 && link != -EBUSY && link != -EEXIST && link != -EPERM && link != -ENOSPC) {
        steer->native = 0;
        link = bpf_link_xdp(steer->program, interface, XDP_FLAGS_SKB_MODE);
    }
    steer->link = link < 0 ? -1 : link;
    return link < 0 ? link : 0;
}

struct steer_pulse *steer_pulse_map(int pulse, uint32_t queues) {
    void *mapped = mmap(NULL, queues * sizeof(struct steer_pulse), PROT_READ | PROT_WRITE, MAP_SHARED, pulse, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

void steer_close(struct steer *steer) {
    int32_t *all[] = {&steer->link, &steer->program, &steer->ports, &steer->sockets, &steer->pulse};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i] >= 0) {
            close(*all[i]);
        }
        *all[i] = -1;
    }
}
