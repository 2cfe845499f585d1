# Installed as splitplane/types.pyi: what type checkers read for `splitplane.types`, which the package makes an alias of
# runtime/types.py at import.
from .runtime.types import Array as Array
from .runtime.types import below as below
from .runtime.types import i8 as i8
from .runtime.types import i16 as i16
from .runtime.types import i32 as i32
from .runtime.types import i64 as i64
from .runtime.types import u8 as u8
from .runtime.types import u16 as u16
from .runtime.types import u32 as u32
from .runtime.types import u64 as u64
