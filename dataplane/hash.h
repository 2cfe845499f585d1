/* The keyed hash of a flow: AES rounds where the CPU has them, SipHash-1-3 elsewhere. An arena keeps the kind it began
 * with, because its records store hashes. */
#pragma once

#include <stdint.h>
#include "core.h"
#include "record.h"

enum hash_kind { HASH_SIP, HASH_AES };

uint32_t hash_best(void); /* the kind this CPU should use */
int hash_supported(uint32_t kind);
void hash_flows(const struct core *core, const struct flow *flows, uint32_t *hashes, uint32_t count);
