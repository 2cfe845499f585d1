/* Inside one bucket of the index: tags matched all at once, indexes packed into 24 bits. Little-endian. */
#pragma once

#include <stdint.h>
#include <string.h>
#include "table.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { BUCKET_ALL = (1 << BUCKET_SLOTS) - 1, BUCKET_STUCK = 255 };

/* 1 .. 255; 0 is an empty slot. The bucket is chosen by the hash's high bits, the tag by its low ones. */
static inline uint32_t bucket_tag(uint32_t hash) {
    return ((hash & 255) * 255 >> 8) + 1;
}

static inline uint32_t bucket_home(uint32_t hash, uint32_t buckets) {
    return (uint32_t)((uint64_t)hash * buckets >> 32);
}

/* A bit for each slot whose tag is this one; tag 0 finds the empty ones. */
static inline uint32_t bucket_match(const struct bucket *bucket, uint32_t tag) {
#ifdef __SSE2__
    __m128i tags = _mm_load_si128((const __m128i *)(const void *)bucket);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) & BUCKET_ALL;
#else
    uint32_t mask = 0;
    for (uint32_t slot = 0; slot < BUCKET_SLOTS; slot++)
        mask |= (uint32_t)(bucket->tag[slot] == tag) << slot;
    return mask;
#endif
}

static inline uint32_t bucket_index(const struct bucket *bucket, uint32_t slot) {
    uint32_t word;
    memcpy(&word, (const uint8_t *)bucket + 15 + 3 * slot, 4); /* the byte before, then the index */
    return word >> 8;
}

static inline void bucket_store(struct bucket *bucket, uint32_t slot, uint32_t index) {
    bucket->index[3 * slot] = (uint8_t)index;
    bucket->index[3 * slot + 1] = (uint8_t)(index >> 8);
    bucket->index[3 * slot + 2] = (uint8_t)(index >> 16);
}
