"""The compiled module's declarations and source, made from the real headers: `python native_source.py OUT ROOT HEADER...`.

A header's declarations are its lines that do not start with `#`; nothing is copied by hand.
"""

import sys
from pathlib import Path

from cffi import FFI

PYTHON_HANDLER = 'extern "Python" void python_handler(struct call *call);'


def build(headers: list[str], root: str) -> FFI:
    """An FFI whose declarations are those of `headers`, in this order; paths are relative to `root`."""
    ffi = FFI()
    for header in headers:
        lines = Path(root, header).read_text().splitlines()
        ffi.cdef("\n".join(line for line in lines if not line.startswith("#")))
    ffi.cdef(PYTHON_HANDLER)
    includes = "".join(f'#include "{header}"\n' for header in headers)
    ffi.set_source("splitplane._native", includes, py_limited_api=True)
    return ffi


if __name__ == "__main__":
    out, root, *names = sys.argv[1:]
    build(names, root).emit_c_code(out)
