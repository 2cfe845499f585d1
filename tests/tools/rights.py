"""What this user may have here, and commands that run another one with less."""

import os
import subprocess

ROOT = os.geteuid() == 0
APART = ROOT or subprocess.run(["unshare", "-Urn", "true"], check=False).returncode == 0
"""Whether this user may have a network namespace: not in a chroot, nor where user namespaces are forbidden."""
BARE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
ALONE = (
    "unshare",
    "-Ur",
    "sh",
    "-c",
    'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"',
    "sh",
)
"""Where nobody may have a namespace of his own."""
