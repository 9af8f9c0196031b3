"""Writes the hashes of a bundle, and finds its faults with the project's own verify.py, executing nothing in it."""

import signal
import subprocess
import sys
from pathlib import Path

from tasks.bundle import verify
from tasks.common.files import sha256_file, sha256_tree, write_bytes

SCRIPT = Path(verify.__file__)


def write_sums(folder: Path) -> int:
    """Writes the hashes of all files of a folder into SHA256SUMS; returns how many there are."""
    sums = sha256_tree(folder, without=frozenset({verify.SUMS}))
    write_bytes(folder / verify.SUMS, "".join(f"{sha}  {name}\n" for name, sha in sums.items()).encode())
    return len(sums)


def bundle_faults(folder: Path) -> list[str]:
    """Returns a sentence for each fault of hashes, signature, contract or golden images; empty where there is none.

    The check runs in a process of its own, since ONNX Runtime can crash the process on a damaged file.
    """
    # -I: neither the environment nor the working folder names modules, so a bundle cannot bring any.
    command = [sys.executable, "-I", str(SCRIPT), str(folder.resolve())]
    check = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = (check.stdout + check.stderr).splitlines()
    found = [line.removeprefix("FAIL").strip() for line in lines if line.startswith("FAIL")]
    if check.returncode < 0:
        name = signal.Signals(-check.returncode).name
        found.append(f"the check was killed by {name}, as a damaged .onnx file can do; make or get the bundle again")
    elif check.returncode and not found:
        found.append(f"the check failed: {lines[-1] if lines else 'it printed nothing'}")
    return found


def script_faults(folder: Path) -> list[str]:
    """Returns a sentence where a bundle's verify.py, which its users run, differs from this project's.

    A candidate must have this project's script; an earlier release may have the script of its time.
    """
    shipped = folder / "verify.py"
    if not shipped.is_file():
        return ["verify.py is missing, so a consumer cannot check the files; make the bundle again"]
    if sha256_file(shipped) != sha256_file(SCRIPT):
        return ["verify.py differs from this project's, and users of the bundle would run it; make the bundle again"]
    return []
