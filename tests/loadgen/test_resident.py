"""What smaps says of a worker is read as it is meant."""

from splitplane.loadgen.resident import arena_and_own, huge_pages_taken

SMAPS = """\
7fe72ea9a000-7fe72eebb000 rw-s 00000000 00:01 15524                      /memfd:splitplane-wire-1024 (deleted)
Size:               4228 kB
Rss:                4228 kB
Private_Dirty:         8 kB
Shared_Hugetlb:        0 kB
VmFlags: rd wr sh mr mw me ms sd
7fe72f000000-7fe72f200000 rw-s 00000000 00:11 268965                     /memfd:splitplane-core-0 (deleted)
Size:               2048 kB
Rss:                   0 kB
Private_Dirty:         0 kB
Shared_Hugetlb:     2048 kB
7fe72f200000-7fe732200000 rw-s 00000000 00:11 268965                     /memfd:splitplane-core-0 (deleted)
Size:              49152 kB
Rss:                   0 kB
Private_Dirty:         0 kB
Shared_Hugetlb:    47104 kB
Private_Hugetlb:    2048 kB
7ffc54c2a000-7ffc54c4b000 rw-p 00000000 00:00 0                          [stack]
Rss:                 132 kB
Private_Dirty:       132 kB
"""


def test_an_arena_mapped_twice_counts_once() -> None:
    """The largest mapping of each arena, hugetlb pages shared or not, and everything private beside it."""
    assert arena_and_own(SMAPS) == (49152 * 1024, 140 * 1024)


def test_an_arena_on_small_pages_counts_by_its_resident_ones() -> None:
    """Without hugetlb pages its Rss counts."""
    small = SMAPS.replace("_Hugetlb:", "_Nothing:").replace("Rss:                   0", "Rss: 64")
    assert arena_and_own(small) == (64 * 1024, 140 * 1024)


def test_the_pool_is_counted_in_bytes() -> None:
    """Whole 2 MiB pages."""
    assert huge_pages_taken() % 2**21 == 0
