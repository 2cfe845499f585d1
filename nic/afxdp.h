/* Driver `afxdp`: one or several AF_XDP queues of one interface on one core (xdp_queue.h). Owned by the core. */
#pragma once

#include <stdint.h>

enum { AFXDP_QUEUES = 16 };

struct nic;
struct steer_pulse;
/* A driver without queues yet; `address` is the interface's MAC. */
int afxdp_open(const uint8_t *address, struct nic **nic);
/* Another queue: its socket, its region as mapped here, and its place in the steering program's pulse map, or NULL. */
int afxdp_add(struct nic *nic, int descriptor, void *region, struct steer_pulse *pulse);
void afxdp_close(struct nic *nic);
