/* The steering program, assembled by hand: no compiler for it is needed where splitplane runs. */
#pragma once

#include <linux/bpf.h>
#include "steer.h"

enum { STEER_INSTRUCTIONS = 128 };

/* Returns how many instructions, or -E2BIG. */
int steer_assemble(struct bpf_insn *into, const struct steer *steer, uint64_t silence);
