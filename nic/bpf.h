/* The few bpf(2) calls that steering needs; no library. Each returns a descriptor or 0, or -errno. */
#pragma once

#include <stdint.h>

enum { BPF_LOG_BYTES = 65536 };

struct bpf_insn;
int bpf_map(uint32_t type, uint32_t key_bytes, uint32_t value_bytes, uint32_t entries, uint32_t flags,
            const char *name);
int bpf_map_set(int map, const void *key, const void *value);
int bpf_map_delete(int map, const void *key);
/* `log`: BPF_LOG_BYTES where the verifier says what it refuses, or NULL. */
int bpf_load_xdp(const struct bpf_insn *program, uint32_t count, const char *name, char *log);
/* Detaches when the last descriptor of the link is closed. flags: XDP_FLAGS_DRV_MODE or XDP_FLAGS_SKB_MODE. */
int bpf_link_xdp(int program, uint32_t interface, uint32_t flags);
