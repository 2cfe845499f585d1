/* Driver `tap`: one queue of a TAP interface; Linux is the machine at the other end of the wire. A read or write a
 * frame, so it is slow; but it needs no interface, and in a user namespace no rights. Owned by one core. */
#pragma once

struct nic;
/* descriptor: a non-blocking /dev/net/tun already set to an interface (IFF_TAP, IFF_NO_PI). address: the MAC we answer
 * to, not the interface's own. */
int tap_open(int descriptor, const uint8_t *address, struct nic **nic);
void tap_close(struct nic *nic);
