/* What the benchmarks of structures share: 2 MiB pages, random numbers, a shuffled order, DPDK's environment. One
 * thread; included once a program. */
#pragma once

#include <rte_eal.h>
#include <rte_memory.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BURST = 32, HUGE_PAGE = 2 << 20 };

static inline uint64_t random_word(void) {
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* 0 .. below-1 */
static inline uint32_t random_below(uint32_t below) {
    return (uint32_t)((random_word() >> 32) * below >> 32);
}

/* 2 MiB pages, there before they are measured. */
static inline void *memory(uint64_t bytes) {
    uint8_t *base = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        exit(2);
    }
    base += -(uintptr_t)base % HUGE_PAGE;
    madvise(base, bytes, MADV_HUGEPAGE);
    memset(base, 0, bytes);
    return base;
}

/* first .. first+count-1 in random order */
static inline uint32_t *shuffled(uint32_t first, uint32_t count) {
    uint32_t *order = memory((uint64_t)count * sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = random_below(i + 1);
        order[i] = order[other];
        order[other] = first + i;
    }
    return order;
}

static inline int places_huge(const struct rte_memseg_list *list, void *unused) {
    (void)unused;
    return madvise(list->base_va, list->len, MADV_HUGEPAGE) && 0;
}

/* DPDK's environment on one CPU, its memory on 2 MiB pages too. */
static inline void places_dpdk(char *cpu, char *megabytes) {
    char *eal[] = {"places", "--no-pci", "--no-huge",     "--no-shconf", "--no-telemetry",
                   "-m",     megabytes,  "--log-level=4", "-l",          cpu};
    if (rte_eal_init(sizeof eal / sizeof *eal, eal) < 0) {
        exit(1);
    }
    rte_memseg_list_walk(places_huge, NULL);
}
