/* TCP over frames: the transport that a core with a frame NIC uses. Pure: no I/O, no clock, no memory but the core's
 * pools; the NIC and the loop around it bring frames and time. */
#pragma once

#include <stdint.h>

struct core;
struct nic;
/* Makes `core` speak TCP through `nic`, at config.local_address. 0, -ENOMEM, or -EMSGSIZE: the MTU is larger than the
 * driver's frames. */
int tcp_attach(struct core *core, struct nic *nic);
void tcp_detach(struct core *core);
/* Active open for a listener's actor; its on_open runs once the peer agreed. local_port 0: one is chosen. Addresses and
 * ports in network byte order; next_hop: the MAC it is reached by while routes.h knows none; NULL: by routes.h alone.
 * The record's index, or 0: table, neighbours or ports are exhausted, or nobody knows a next hop. */
uint32_t tcp_connect(struct core *core, uint32_t listener, uint32_t remote_address, uint16_t remote_port,
                     uint16_t local_port, const uint8_t *next_hop);
uint64_t tcp_list_bytes(void); /* process-local: path MTUs */
