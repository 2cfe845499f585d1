/* What the compiler can't see: which way nearly every frame goes. What few of them need stays out of line, so that the
 * others save no registers for it; what all of them need has no call of its own. Measured with callgrind
 * (benchmarks/instructions.py). */
#pragma once

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))
