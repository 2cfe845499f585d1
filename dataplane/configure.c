/* Taking over a new configuration: each actor reads its config through one pointer, which moves to the new image.
 * Owned by the core. */
#include "configure.h"

#include <string.h>

#include "core.h"
#include "count.h"

static uint8_t *image_of(struct configuration *configuration, uint32_t version) {
    return (uint8_t *)(configuration + 1) + (uint64_t)(version & 1) * configuration->bytes;
}

void configure_turn(struct core *core) {
    /* Pairs with the control plane's release of `version`: the image is whole. */
    uint32_t version = __atomic_load_n(&core->configuration->version, __ATOMIC_ACQUIRE);
    if (version == core->configured)
        return;
    const uint8_t *image = image_of(core->configuration, version);
    for (uint32_t i = 0; i < core->listener_count; i++)
        core->listeners[i].actor->config = image + core->listeners[i].config_at;
    core->configured = version;
    count(core, COUNTER_CONFIGURED, 1);
    /* The control plane may write the other image from now on. */
    __atomic_store_n(&core->configuration->taken, version, __ATOMIC_RELEASE);
}

int configure_taken(const struct configuration *configuration) {
    /* Pairs with the release in configure_turn: the other image is read no more. */
    return __atomic_load_n(&configuration->taken, __ATOMIC_ACQUIRE) == configuration->version;
}

uint32_t configure_put(struct configuration *configuration, const uint8_t *image, uint32_t length) {
    if (!configure_taken(configuration) || length > configuration->bytes)
        return 0;
    uint32_t version = configuration->version + 1;
    memcpy(image_of(configuration, version), image, length);
    __atomic_store_n(&configuration->version, version, __ATOMIC_RELEASE);
    return version;
}
