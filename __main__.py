"""`python -m splitplane`: the command line."""

import sys

from .controlplane.command import main

sys.exit(main())
