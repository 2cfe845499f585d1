"""The compiled module: `lib` (functions), `ffi` (types), and `check`, which turns -errno into OSError.

Only `dataplane/*.py` and `nic/*.py` import it.
"""

import os
from typing import Any

from .._native import ffi as _ffi
from .._native import lib as _lib

ffi: Any = _ffi
lib: Any = _lib


def check(result: int, what: str) -> int:
    """`result` if it is not negative; otherwise OSError with that errno, naming `what` was wanted."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result
