/* Wrapper `faults`: a NIC whose incoming frames are lost, doubled, swapped, delayed or damaged, by a seeded generator
 * on the clock it is given: the same seed and the same clock give the same run. Outgoing frames pass unchanged. */
#pragma once

#include <stdint.h>

struct faults_config { /* chances in 65536ths of a frame */
    uint64_t seed;
    uint32_t loss, duplicate, reorder, corrupt;
    int64_t delay_least, delay_most; /* nanoseconds; evenly between; frames keep their order unless reordered */
    int64_t reorder_delay;           /* nanoseconds a reordered frame waits longer */
    uint32_t held_most;              /* frames in the wrapper; beyond it they are lost */
};

struct faults_counts {
    uint64_t lost, duplicated, reordered, corrupted, overflowed;
};

struct nic;
/* now: nanoseconds, read at each burst. 0, -EINVAL, -ENOMEM. Takes over `inner` but doesn't close it. */
int faults_open(struct nic *inner, const struct faults_config *config, const int64_t *now, struct nic **nic);
void faults_counted(const struct nic *nic, struct faults_counts *counts);
uint32_t faults_held(const struct nic *nic); /* frames on their way */
int64_t faults_next(const struct nic *nic);  /* when the next one arrives; INT64_MAX: none */
void faults_close(struct nic *nic);
