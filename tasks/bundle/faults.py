"""What is wrong with a bundle, by the project's own verify.py: nothing that lies in the bundle is executed."""

import signal
import subprocess
import sys
from pathlib import Path

from tasks.bundle import verify
from tasks.common.files import sha256_file

SCRIPT = Path(verify.__file__)


def bundle_faults(folder: Path) -> list[str]:
    """A sentence for each fault of the files: hashes, signature, contract, golden images; none where all is well.

    The check is a process of its own, since ONNX Runtime can take a process down with a damaged file.
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
        found.append(f"the check fails: {lines[-1] if lines else 'without a word'}")
    return found


def script_faults(folder: Path) -> list[str]:
    """Whether a bundle ships another verify.py than this project's, which consumers are told to run.

    An earlier release may do so, for it has the script of its time; a candidate may not.
    """
    shipped = folder / "verify.py"
    if not shipped.is_file():
        return ["verify.py is missing, so a consumer cannot check the files; make the bundle again"]
    if sha256_file(shipped) != sha256_file(SCRIPT):
        return ["verify.py is not this project's, and whoever uses the bundle runs it; make the bundle again"]
    return []
