/* How long things took on a core: counts by powers of two of nanoseconds, in the arena's histograms section.
 * Written by the core alone, read by anyone. */
#pragma once

#include <stdint.h>

enum histogram_which {
    HISTOGRAM_HANDLER, /* one call in about 128 is measured and counts for all since the last one */
    HISTOGRAM_TURN,    /* turns that found work, each of them */
    HISTOGRAM_COUNT,
};
/* buckets[i] counts what took less than 2^(HISTOGRAM_LEAST + i) ns, and no less than the bucket before; the last takes
 * the rest. */
enum { HISTOGRAM_BUCKETS = 31, HISTOGRAM_LEAST = 6 };

struct histogram {
    uint64_t sum; /* nanoseconds */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};
