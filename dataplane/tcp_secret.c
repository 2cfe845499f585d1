/* Numbers that outsiders must not guess: SipHash-2-4 of a flow under the core's key. RFC 6528, RFC 6056. Pure. */
#include "sip.h"
#include "tcp_inside.h"

uint64_t secret_keyed(const uint64_t *key, const struct flow *flow, uint64_t salt) {
    uint64_t words[3] = {(uint64_t)flow->remote_address << 32 | flow->local_address,
                         (uint64_t)flow->remote_port << 16 | flow->local_port, salt};
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                     key[1] ^ 0x7465646279746573u};
    for (int i = 0; i < 3; i++) {
        v[3] ^= words[i];
        sip_rounds(v, 2);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t secret_hash(const struct core *core, const struct flow *flow, uint64_t salt) {
    return secret_keyed(core->state->key + 2, flow, salt);
}

uint32_t secret_sequence(const struct core *core, const struct flow *flow) {
    return (uint32_t)(core->now / 4000) + (uint32_t)secret_hash(core, flow, 'S'); /* the clock ticks each 4 us */
}
