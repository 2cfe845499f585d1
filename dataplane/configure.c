/* Taking over a new configuration: each actor reads its config through one pointer, which moves to the new image.
 * Owned by the core. */
#include "configure.h"

#include "core.h"
#include "count.h"

void configure_turn(struct core *core) {
    /* Pairs with the control plane's release of `version`: the image is whole. */
    uint32_t version = __atomic_load_n(&core->configuration->version, __ATOMIC_ACQUIRE);
    if (version == core->configured)
        return;
    const uint8_t *image = (const uint8_t *)(core->configuration + 1) + (version & 1) * core->configuration->bytes;
    for (uint32_t i = 0; i < core->listener_count; i++)
        core->listeners[i].actor->config = image + core->listeners[i].config_at;
    core->configured = version;
    count(core, COUNTER_CONFIGURED, 1);
    /* The control plane may write the other image from now on. */
    __atomic_store_n(&core->configuration->taken, version, __ATOMIC_RELEASE);
}
