"""SHA256SUMS: the hash of every file of a folder, for sha256sum and verify.py."""

from pathlib import Path

from tasks.bundle.verify import SUMS
from tasks.common.files import sha256_tree, write_bytes


def write_sums(folder: Path) -> int:
    """Writes the hashes of all files of a folder; returns how many there are."""
    sums = sha256_tree(folder, without=frozenset({SUMS}))
    write_bytes(folder / SUMS, "".join(f"{sha}  {name}\n" for name, sha in sums.items()).encode())
    return len(sums)
