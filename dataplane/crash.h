/* Crash points: places where a kill would leave an operation half done. Nothing in a normal build. With -DCRASH_POINTS
 * each one reached counts, and the crash_at-th kills the process as kill -9 would; tests/dataplane/test_crash.py does
 * so at every one. Also the fence that keeps the compiler from moving stores across a step. */
#pragma once

/* A killed process leaves a prefix of its stores in program order: no CPU fence is needed, only this. */
#define STORES_STAY() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#ifdef CRASH_POINTS
void crash_point(const char *name);
#define CRASH_POINT(name)                                                                                              \
    do {                                                                                                               \
        STORES_STAY();                                                                                                 \
        crash_point(#name);                                                                                            \
    } while (0)
#else
#define CRASH_POINT(name) STORES_STAY()
#endif
