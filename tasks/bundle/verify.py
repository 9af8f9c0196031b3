"""Checks this folder: `python verify.py`. Needs numpy and onnxruntime, nothing else, and no network.

Every file has the hash that SHA256SUMS gives it, the contract inside each .onnx file is the one in contract.json, and
ONNX Runtime makes the golden images from the golden noise. Exit code 0, or 1 with a sentence for each fault.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
SUMS = "SHA256SUMS"
LINEAGE = "lineage.json"  # written when a bundle is released, after the sums
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}


def main() -> int:
    """Runs every check; the ones that load a model only on files whose hashes are right."""
    if not passes("files", check_files):
        return 1
    try:
        import numpy  # noqa: F401
        import onnxruntime
    except ImportError as error:
        print(f"FAIL  {error.name} is missing; install both with `pip install numpy onnxruntime`")
        return 1
    print(f"ok    onnxruntime {onnxruntime.__version__}")
    try:
        models: dict[str, Any] = json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"FAIL  contract.json cannot be read ({error!r}); get the bundle again")
        return 1
    results = [passes(file, partial(check_model, file, models[file])) for file in sorted(models)]
    return 0 if results and all(results) else 1


def passes(what: str, check: Callable[[], Iterator[tuple[bool, str]]]) -> bool:
    """Prints a line for each result of a check; False when one of them is a fault."""
    good = True
    try:
        for fine, sentence in check():
            print(f"{'ok  ' if fine else 'FAIL'}  {sentence}")
            good = good and fine
    except Exception as error:  # whatever a damaged file provokes is a fault to report
        print(f"FAIL  {what}: {type(error).__name__}: {' '.join(str(error).split())}")
        return False
    return good


def check_files() -> Iterator[tuple[bool, str]]:
    """Nothing missing, nothing extra, every hash right."""
    lines = (FOLDER / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    here = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()} - {SUMS, LINEAGE}
    faults = [f"{name} is missing; get the bundle again" for name in sorted(set(sums) - here)]
    faults += [f"{name} is not listed in {SUMS}; it does not belong here" for name in sorted(here - set(sums))]
    for name in sorted(here & set(sums)):
        if hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != sums[name]:
            faults.append(f"{name} has another content than when it was bundled; get the bundle again")
    yield from ((False, fault) for fault in faults)
    if not faults:
        yield True, f"{len(sums)} files: none missing, none extra, every hash right"


def check_model(file: str, contract: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """The contract inside the file, its inputs and outputs, and what it makes of the golden inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(FOLDER / file), options, providers=["CPUExecutionProvider"])
    inside = json.loads(session.get_modelmeta().custom_metadata_map["imagewright.contract"])
    same = inside == contract
    yield same, f"{file}: the contract inside {'is' if same else 'is not'} the one in contract.json"
    for kind, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        promised = ", ".join(signature(one["name"], one["dtype"], one["shape"]) for one in contract[kind])
        found = ", ".join(signature(one.name, DTYPES.get(one.type, one.type), one.shape) for one in tensors)
        same = found == promised
        yield same, f"{file}: {kind} {found}" + ("" if same else f"; promised were {promised}")
    yield from check_golden(file, contract, session)


def signature(name: str, dtype: str, shape: list[Any]) -> str:
    """`noise float32 [N, 100]`; an axis of any length is an N, whatever it is called."""
    return f"{name} {dtype} [{', '.join(str(size) if isinstance(size, int) else 'N' for size in shape)}]"


def check_golden(file: str, contract: dict[str, Any], session: Any) -> Iterator[tuple[bool, str]]:
    """The golden inputs, one alone and all at once, give the golden outputs within the contract's tolerance.

    A file of a fixed batch takes them all at once alone.
    """
    import numpy as np

    with np.load(FOLDER / f"{Path(file).stem}.golden.npz", allow_pickle=False) as archive:
        golden = {name: archive[name] for name in archive.files}
    first = contract["inputs"][0]
    for count in sorted({1 if first["shape"][0] == "N" else first["shape"][0], len(golden[first["name"]])}):
        feed = {one["name"]: golden[one["name"]][:count] for one in contract["inputs"]}
        names = [one["name"] for one in contract["outputs"]]
        for name, output in zip(names, session.run(names, feed), strict=True):
            fault = compare(output, golden[name][:count], contract["tolerance"])
            if name == "image" and contract["range"] and not fault:
                fault = outside(output, *contract["range"])
            sentence = fault or f"as promised on {session.get_providers()[0]}"
            yield not fault, f"{file}: {name} for N = {count} is {sentence}"


def compare(output: Any, golden: Any, tolerance: float) -> str:
    """A fault unless the largest difference is tolerable: in steps of bytes, else over the largest value above 1."""
    import numpy as np

    if output.shape != golden.shape or output.dtype != golden.dtype:
        return f"{output.dtype} {list(output.shape)}, but {golden.dtype} {list(golden.shape)} was promised"
    scale = 1.0 if golden.dtype == np.uint8 else max(1.0, float(np.abs(golden).max()))
    difference = float(np.abs(output.astype(np.float64) - golden).max() / scale)
    return "" if difference <= tolerance else f"{difference:.2g} away from the golden values, beyond {tolerance:.2g}"


def outside(output: Any, low: float, high: float) -> str:
    """A fault when a value leaves the range."""
    return "" if low <= output.min() and output.max() <= high else f"outside [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main())
