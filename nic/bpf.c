/* bpf(2) by hand: maps, an XDP program, its link. Runs in the controller, never in the loop. */
#define _GNU_SOURCE
#include "bpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int command, union bpf_attr *attributes) {
    long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    return result < 0 ? -errno : (int)result;
}

static void name_it(char *into, const char *name) {
    size_t length = strlen(name);
    memcpy(into, name, length < BPF_OBJ_NAME_LEN ? length : BPF_OBJ_NAME_LEN - 1);
}

int bpf_map(uint32_t type, uint32_t key_bytes, uint32_t value_bytes, uint32_t entries, uint32_t flags,
            const char *name) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = type;
    attributes.key_size = key_bytes;
    attributes.value_size = value_bytes;
    attributes.max_entries = entries;
    attributes.map_flags = flags;
    name_it(attributes.map_name, name);
    return call(BPF_MAP_CREATE, &attributes);
}

int bpf_map_set(int map, const void *key, const void *value) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)map;
    attributes.key = (uintptr_t)key;
    attributes.value = (uintptr_t)value;
    return call(BPF_MAP_UPDATE_ELEM, &attributes);
}

int bpf_map_delete(int map, const void *key) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)map;
    attributes.key = (uintptr_t)key;
    return call(BPF_MAP_DELETE_ELEM, &attributes);
}

int bpf_load_xdp(const struct bpf_insn *program, uint32_t count, const char *name, char *log) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_XDP;
    attributes.expected_attach_type = BPF_XDP;
    attributes.insns = (uintptr_t)program;
    attributes.insn_cnt = count;
    attributes.license = (uintptr_t) "Dual MIT/GPL";
    attributes.log_buf = (uintptr_t)log;
    attributes.log_size = log ? BPF_LOG_BYTES : 0;
    attributes.log_level = log ? 1 : 0;
    name_it(attributes.prog_name, name);
    return call(BPF_PROG_LOAD, &attributes);
}

int bpf_link_xdp(int program, uint32_t interface, uint32_t flags) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.link_create.prog_fd = (uint32_t)program;
    attributes.link_create.target_ifindex = interface;
    attributes.link_create.attach_type = BPF_XDP;
    attributes.link_create.flags = flags;
    return call(BPF_LINK_CREATE, &attributes);
}
