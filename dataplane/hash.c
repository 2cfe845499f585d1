/* Flow hashes under the core's random key, so that no peer can aim at one bucket. Pure. */
#include "sip.h"
#include "hash.h"

#include <string.h>
#include "table.h"

/* SipHash-1-3 of the 12 bytes (Aumasson and Bernstein, 2012). */
static uint32_t hash_sip(const uint64_t *key, const struct flow *flow) {
    uint64_t words[2] = {0, 12ull << 56};
    memcpy(&words[0], flow, 8);
    memcpy(&words[1], (const uint8_t *)flow + 8, 4);
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull, key[0] ^ 0x6c7967656e657261ull,
                     key[1] ^ 0x7465646279746573ull};
    for (int i = 0; i < 2; i++) {
        v[3] ^= words[i];
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 255;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

#ifdef __x86_64__
#include <immintrin.h>

/* Two rounds spread every input bit over the whole block; the third makes the low word depend on all of both keys. */
__attribute__((target("aes,sse2"))) static void hash_aes(const uint64_t *key, const struct flow *flows,
                                                         uint32_t *hashes, uint32_t count) {
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)key);
    __m128i second = _mm_aesenc_si128(first, _mm_set_epi64x(0x243f6a8885a308d3, 0x13198a2e03707344));
    for (uint32_t i = 0; i < count; i++) {
        long long low;
        int high;
        memcpy(&low, &flows[i], 8);
        memcpy(&high, (const uint8_t *)&flows[i] + 8, 4);
        __m128i block = _mm_xor_si128(_mm_set_epi64x(high, low), first);
        block = _mm_aesenc_si128(block, second);
        block = _mm_aesenc_si128(block, first);
        block = _mm_aesenc_si128(block, second);
        hashes[i] = (uint32_t)_mm_cvtsi128_si32(block);
    }
}

int hash_supported(uint32_t kind) {
    return kind == HASH_SIP || (kind == HASH_AES && __builtin_cpu_supports("aes"));
}
#else
static void hash_aes(const uint64_t *key, const struct flow *flows, uint32_t *hashes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        hashes[i] = hash_sip(key, &flows[i]);
}

int hash_supported(uint32_t kind) {
    return kind == HASH_SIP;
}
#endif

uint32_t hash_best(void) {
    return hash_supported(HASH_AES) ? HASH_AES : HASH_SIP;
}

void hash_flows(const struct core *core, const struct flow *flows, uint32_t *hashes, uint32_t count) {
    if (core->state->hash_kind == HASH_AES) {
        hash_aes(core->state->key, flows, hashes, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        hashes[i] = hash_sip(core->state->key, &flows[i]);
}

uint32_t table_hash(const struct core *core, const struct flow *flow) {
    uint32_t hash;
    hash_flows(core, flow, &hash, 1);
    return hash;
}
