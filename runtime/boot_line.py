"""The kernel's boot parameters that leave a layout's CPUs to its cores.

Linux: Documentation/admin-guide/kernel-parameters.txt.
"""

from .layout import Layout
from .machine import HUGE, Machine
from .plan import Plan
from .system import show_cpus


def boot_line(layout: Layout, planned: Plan, machine: Machine) -> str:
    """What to append to the kernel's command line, or why no line would help.

    Isolated CPUs get no other tasks and no managed interrupts, no tick while one task runs there, and none of RCU's
    callbacks. Pages are reserved early, while memory is whole.
    """
    ours = sorted({cpu for _, _, cpu in layout.cores})
    rest = [cpu for cpu in machine.online if cpu not in ours]
    if not rest:
        return f"none: every CPU ({show_cpus(ours)}) is a core's; Linux needs one for itself"
    cpus = show_cpus(ours)
    words = [
        f"isolcpus=managed_irq,domain,{cpus}",
        f"nohz_full={cpus}",
        f"rcu_nocbs={cpus}",
        f"irqaffinity={show_cpus(rest)}",
    ]
    if layout.machine.hugepages != "off":
        words.append(f"default_hugepagesz=2M hugepages={-(-planned.total // HUGE)}")
    return " ".join(words)
