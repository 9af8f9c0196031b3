"""`python -m tasks.release gan|vae --version v1.2.0`: makes data/release/MODEL, which is what ships.

That is data/bundle/MODEL with lineage.json, RELEASE.md and their pictures, the sums of all that, and a signature where
there is a key. It is no stage, since it tells of time, machine and commit; the flows call it before they tag.
"""

import argparse
import shutil
from pathlib import Path

from tasks.bundle.faults import write_sums
from tasks.common.errors import UserError
from tasks.common.files import replacing, write_bytes, write_json
from tasks.common.model_names import MODELS
from tasks.gate.record import read_record
from tasks.release.lineage.collect import LINEAGE, Occasion, collect
from tasks.release.lineage.notes import NOTES, PICTURES, release_notes
from tasks.release.signature import sign

RELEASE = Path("data/release")


def release(occasion: Occasion, pictures: Path | None, key: Path | None) -> Path:
    """Writes data/release/MODEL, and its lineage once more where git can keep it; returns the folder.

    `pictures` is the folder that the gate left. Raises UserError when there is no such bundle or no such key.
    """
    bundle, target = Path("data/bundle") / occasion.model, RELEASE / occasion.model
    if not bundle.is_dir():
        raise UserError(f"{bundle} is missing; `dvc pull {bundle}` or `make repro` brings it")
    lineage = collect(occasion)
    with replacing(target) as folder:
        shutil.copytree(bundle, folder, copy_function=shutil.copyfile)
        shown = [name for name in PICTURES if pictures and (pictures / name).is_file()]
        for name in shown:
            assert pictures is not None
            shutil.copyfile(pictures / name, folder / name)
        write_json(folder / LINEAGE, lineage)
        write_bytes(folder / NOTES, release_notes(lineage, occasion.decision, shown).encode())
        write_sums(folder)
        if key:
            sign(folder, key)
    write_json(Path(occasion.record), lineage)
    return target


def main() -> None:
    """Parses and releases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--version", required=True)
    parser.add_argument("--parent", help="the version that this one replaces")
    parser.add_argument("--run", help="what the run is called")
    parser.add_argument("--decision", type=Path, metavar="JSON", help="the gate's record; its pictures lie beside it")
    parser.add_argument("--key", type=Path, help="a private key to sign with; tasks.release.signature makes one")
    given = parser.parse_args()
    record = read_record(given.decision) if given.decision else None
    occasion = Occasion(given.model, given.version, given.parent, given.run, record)
    print(release(occasion, given.decision.with_suffix("") if given.decision else None, given.key))
