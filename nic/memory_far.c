/* See memory_far.h. Knows neither frames nor rings. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "memory_far.h"

#include <string.h>
#include <time.h>
#ifdef __x86_64__
#include <emmintrin.h>
enum { CAN_STREAM = 1 };
#else
enum { CAN_STREAM = 0 }; /* always near: a copy through the caches would only be one more */
#endif

enum {
    FAR = 45,        /* nanoseconds; seen: under 20 behind one cache, over 70 between two */
    LONGEST = 1000,  /* a sample that lasts longer was interrupted */
    CLOCK_TRIES = 32 /* the shortest of them had none */
};

int64_t distance_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void distance_begin(struct distance *distance) {
    *distance = (struct distance){.clock = LONGEST, .told = MEMORY_MEASURED};
    for (int i = 0; i < CLOCK_TRIES; i++) {
        int64_t begun = distance_clock(), took = distance_clock() - begun;
        distance->clock = took < distance->clock ? took : distance->clock;
    }
}

void distance_set(struct distance *distance, enum memory_distance told) {
    distance->told = told;
    distance->far = CAN_STREAM && told == MEMORY_FAR;
    distance->mean16 = 0;
}

void distance_sample(struct distance *distance, int64_t took) {
    took = took > distance->clock ? took - distance->clock : 0;
    if (took > LONGEST || distance->told != MEMORY_MEASURED) {
        return;
    }
    distance->mean16 += (uint32_t)took - distance->mean16 / 16;
    distance->far = CAN_STREAM && distance->mean16 > 16 * FAR;
}

void far_copy(uint8_t *to, const uint8_t *from, uint32_t bytes) {
#ifdef __x86_64__
    uint32_t whole = (bytes + 63) & ~63u; /* a line written in part would be fetched after all */
    for (uint32_t done = 0; done < whole; done += 16) {
        _mm_stream_si128((__m128i *)(to + done), _mm_load_si128((const __m128i *)(from + done)));
    }
#else
    memcpy(to, from, bytes);
#endif
}

void far_fence(void) {
#ifdef __x86_64__
    _mm_sfence();
#endif
}
