"""`python -m tasks.release gan|vae --version v1.2.0`: makes data/release/MODEL, the folder that ships.

It is data/bundle/MODEL with lineage.json, RELEASE.md, their pictures, new SHA256SUMS, and a signature where there is a
key. It is not a DVC stage, since it records time, machine and commit; the flows call it before they tag the release.
"""

import argparse
import shutil
from pathlib import Path

from tasks.bundle.faults import write_sums
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.files import replacing, write_bytes, write_json
from tasks.common.model_names import MODELS
from tasks.gate.record import read_record
from tasks.release.lineage.collect import (
    LINEAGE,
    NOTES,
    PICTURES,
    ReleaseRequest,
    collect,
    record_path,
    release_notes,
)
from tasks.release.signature import sign


def release(request: ReleaseRequest, pictures: Path | None, key: Path | None) -> Path:
    """Writes data/release/MODEL, and a copy of its lineage that git tracks; returns the folder.

    `pictures` is the folder of the gate's pictures. Raises UserError when the bundle or the key is missing.
    """
    bundle, target = Path("data/bundle") / request.model, Path("data/release") / request.model
    if not bundle.is_dir():
        raise UserError(f"{bundle} is missing; run `dvc pull {bundle}` or `make repro`")
    lineage = collect(request)
    with replacing(target) as folder:
        shutil.copytree(bundle, folder, copy_function=shutil.copyfile)
        shown = {name: pictures / name for name in PICTURES if pictures and (pictures / name).is_file()}
        for name, path in shown.items():
            shutil.copyfile(path, folder / name)
        write_json(folder / LINEAGE, lineage)
        write_bytes(folder / NOTES, release_notes(lineage, request.decision, list(shown)).encode())
        write_sums(folder)
        if key:
            sign(folder, key)
    write_json(Path(record_path(request.model)), lineage)
    return target


def main() -> None:
    """Parses the arguments and makes the release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--version", required=True)
    parser.add_argument("--parent", help="the version that this one replaces")
    parser.add_argument("--run", help="the name of the run")
    parser.add_argument("--decision", type=Path, metavar="JSON", help="the gate's record, with its pictures beside it")
    parser.add_argument("--key", type=Path, help="a private key to sign with; `imagewright sign --new FILE` makes one")
    given = parser.parse_args()
    record = read_record(given.decision) if given.decision else None
    request = ReleaseRequest(given.model, given.version, given.parent, given.run, record)
    print(release(request, given.decision.with_suffix("") if given.decision else None, given.key))


if __name__ == "__main__":
    run(main)
