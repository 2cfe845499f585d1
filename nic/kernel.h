/* The kernel transport: Linux's own sockets under the actors; no privileges, no NIC to own. It enters above TCP.
 * Listeners carry non-blocking listening sockets (core_listen); everything else it opens itself. */
#pragma once

struct core;
/* After the listeners are there, before loop_start. 0 or -errno. */
int kernel_attach(struct core *core);
/* Closes what it opened; open connections are reset by Linux. */
void kernel_detach(struct core *core);
