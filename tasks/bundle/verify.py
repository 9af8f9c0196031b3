"""Checks this folder: `python verify.py`. Needs numpy and onnxruntime, nothing else, and no network.

It checks that SHA256SUMS lists every file, this one too, with its hash; that the contract inside each .onnx file is the
one in contract.json; that ONNX Runtime makes the golden outputs from the golden inputs; and, where there is a signature
(model.sig), that it signs these files. `--key publisher.pub` also checks that the publisher made the signature. The
exit code is 0, or 1 with a sentence for each fault.

Somebody who changed the files could change this script too. A copy from elsewhere (`python verify.py FOLDER`),
`sha256sum -c SHA256SUMS` or the signature would show that.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

SUMS, SIGNATURE = "SHA256SUMS", "model.sig"
# P-256 (SP 800-186, section 3.2.1.3), and how a public key for it begins in DER (RFC 5480).
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
COEFFICIENT = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
GENERATOR = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
KEY_HEADER = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
DTYPES = {f"tensor({name})": name for name in ("float16", "int64", "uint8")}
DTYPES |= {"tensor(float)": "float32", "tensor(double)": "float64"}


def main() -> int:
    """Runs every check; loads a model only where the hashes are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--key", type=Path, help="the publisher's public key, from a source other than this folder")
    given = parser.parse_args()
    if not verify_files(given.folder, given.key):
        return 1
    try:
        import numpy  # noqa: F401
        import onnxruntime
    except ImportError as error:
        print(f"FAIL  {error.name} is missing; install both with `pip install numpy onnxruntime`")
        return 1
    print(f"ok    onnxruntime {onnxruntime.__version__}")
    try:
        models = json.loads((given.folder / "contract.json").read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"FAIL  contract.json cannot be read ({error!r}); get the bundle again")
        return 1
    results = [passes(file, partial(check_model, given.folder, file, models[file])) for file in sorted(models)]
    return 0 if results and all(results) else 1


def verify_files(folder: Path, key: Path | None = None) -> bool:
    """Returns whether the files match SHA256SUMS and their signature, with a key also whether its owner signed them."""
    return passes("files", partial(check_files, folder)) and passes("signature", partial(check_signature, folder, key))


def passes(what: str, check: Callable[[], Iterator[tuple[bool, str]]]) -> bool:
    """Prints a line for each result of a check; returns False when one of them is a fault."""
    good = True
    try:
        for passed, sentence in check():
            print(f"{'ok  ' if passed else 'FAIL'}  {sentence}")
            good = good and passed
    except Exception as error:  # a damaged file can raise anything
        print(f"FAIL  {what}: {type(error).__name__}: {' '.join(str(error).split())}")
        return False
    return good


def check_files(folder: Path) -> Iterator[tuple[bool, str]]:
    """Checks that no file is missing or extra, that every hash is right, and that the list itself was not changed."""
    if not (folder / SUMS).is_file():
        yield False, f"{SUMS} is missing, so the files cannot be checked; get the bundle again"
        return
    written = (folder / SUMS).read_bytes()
    lines = (line.partition("  ") for line in written.decode(errors="replace").split("\n") if line)
    sums = {name: digest for digest, _, name in lines}
    found = sha256_of(folder, without={SUMS})
    faults = [f"{name} is missing; get the bundle again" for name in sums if name not in found]
    faults += [f"{name} is not listed in {SUMS}; it does not belong here" for name in found if name not in sums]
    for name in found:
        if found[name] != sums.get(name, found[name]):
            faults.append(f"{name} was changed since it was bundled; get the bundle again")
    if not faults and "".join(f"{digest}  {name}\n" for name, digest in found.items()).encode() != written:
        faults = [f"{SUMS} was changed; get the bundle again"]
    good = (True, f"{len(sums)} files: none missing, none extra, every hash right")
    yield from [(False, fault) for fault in faults] or [good]


def sha256_of(folder: Path, without: set[str]) -> dict[str, str]:
    """Returns the SHA-256 of every file by name, sorted."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - without
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}


def check_signature(folder: Path, key: Path | None) -> Iterator[tuple[bool, str]]:
    """Checks that model.sig signs these files and, with a key, that the key's owner signed them.

    sigstore's model-signing writes this file with the publisher's key: ECDSA on P-256 with SHA-256.
    """
    if not (folder / SIGNATURE).is_file():
        if key:
            yield False, f"{SIGNATURE} is missing: this bundle is not signed"
        return
    envelope = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    signed = {one["name"]: one["digest"] for one in json.loads(payload)["predicate"]["resources"]}
    if signed != sha256_of(folder, without={SUMS, SIGNATURE}):
        yield False, f"{SIGNATURE} signs other files than these; get the bundle again"
        return
    if key is None:
        yield True, f"{SIGNATURE} signs these files; use --key PUBLIC_KEY to check who signed them"
        return
    point = public_point(key)
    if point is None:
        yield False, f"{key} is not a public P-256 key in PEM format; ask the publisher for theirs"
        return
    kind = envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    good = is_signed(message, base64.b64decode(envelope["signatures"][0]["sig"]), point)
    fault = f"{SIGNATURE} was not made by the owner of {key.name}: another key signed it, or it was changed"
    yield good, f"signed by the owner of {key.name}" if good else fault


def public_point(key: Path) -> tuple[int, int] | None:
    """Returns the point of a public P-256 key in PEM format; None when the file is not one."""
    try:
        lines = key.read_text(encoding="ascii").split("-----")
        der = base64.b64decode(lines[2]) if lines[1] == "BEGIN PUBLIC KEY" else b""
    except (OSError, ValueError, IndexError):
        return None
    x, y = int.from_bytes(der[27:59], "big"), int.from_bytes(der[59:], "big")
    on_curve = max(x, y) < PRIME and (y * y - x**3 + 3 * x - COEFFICIENT) % PRIME == 0
    return (x, y) if der[:27] == KEY_HEADER and len(der) == 91 and on_curve else None


def is_signed(message: bytes, signature: bytes, key: tuple[int, int]) -> bool:
    """Verifies an ECDSA signature (FIPS 186-5, section 6.4.2) on P-256 with SHA-256; `signature` is DER."""
    size = signature[3]
    r, s = int.from_bytes(signature[4 : 4 + size], "big"), int.from_bytes(signature[6 + size :], "big")
    numbers = [number.to_bytes(number.bit_length() // 8 + 1, "big") for number in (r, s)]
    written = b"".join(b"\x02%c%s" % (len(number), number) for number in numbers)
    if not (0 < r < ORDER and 0 < s < ORDER) or signature != b"0%c%s" % (len(written), written):
        return False
    inverse, digest = pow(s, -1, ORDER), int.from_bytes(hashlib.sha256(message).digest(), "big")
    point = plus(times(digest * inverse % ORDER, GENERATOR), times(r * inverse % ORDER, key))
    return point is not None and point[0] % ORDER == r


def plus(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """Adds two points of P-256; None is the point at infinity."""
    if one is None or other is None:
        return one or other
    if one[0] != other[0]:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, PRIME)
    elif (one[1] + other[1]) % PRIME:
        slope = (3 * one[0] ** 2 - 3) * pow(2 * one[1], -1, PRIME)
    else:
        return None
    x = (slope * slope - one[0] - other[0]) % PRIME
    return x, (slope * (one[0] - x) - one[1]) % PRIME


def times(count: int, point: tuple[int, int] | None) -> tuple[int, int] | None:
    """Multiplies a point by `count`, by doubling and adding."""
    total = None
    while count:
        total = plus(total, point) if count & 1 else total
        point, count = plus(point, point), count >> 1
    return total


def check_model(folder: Path, file: str, contract: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Checks the contract inside the file, its inputs and outputs, and its outputs for the golden inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
    inside = json.loads(session.get_modelmeta().custom_metadata_map["imagewright.contract"])
    same = inside == contract
    yield same, f"{file}: the contract inside {'is' if same else 'is not'} the one in contract.json"
    for kind, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        promised = ", ".join(signature(one["name"], one["dtype"], one["shape"]) for one in contract[kind])
        found = ", ".join(signature(one.name, DTYPES.get(one.type, one.type), one.shape) for one in tensors)
        same = found == promised
        yield same, f"{file}: {kind} {found}" + ("" if same else f"; promised were {promised}")
    yield from check_golden(folder, file, contract, session)


def signature(name: str, dtype: str, shape: list[Any]) -> str:
    """Returns for instance `noise float32 [N, 100]`; every axis of free length is an N."""
    return f"{name} {dtype} [{', '.join(str(size) if isinstance(size, int) else 'N' for size in shape)}]"


def check_golden(folder: Path, file: str, contract: dict[str, Any], session: Any) -> Iterator[tuple[bool, str]]:
    """Checks that the golden inputs, alone and as one batch, give the golden outputs within the contract's tolerance.

    A file with a fixed batch is run at that size only.
    """
    import numpy as np

    with np.load(folder / f"{Path(file).stem}.golden.npz", allow_pickle=False) as archive:
        golden = {name: archive[name] for name in archive.files}
    first = contract["inputs"][0]
    names = [one["name"] for one in contract["outputs"]]
    for count in sorted({1 if first["shape"][0] == "N" else first["shape"][0], len(golden[first["name"]])}):
        inputs = {one["name"]: golden[one["name"]][:count] for one in contract["inputs"]}
        for name, output in zip(names, session.run(names, inputs), strict=True):
            fault = compare(output, golden[name][:count], contract["tolerance"])
            if name == "image" and contract["range"] and not fault:
                fault = outside(output, *contract["range"])
            sentence = fault or f"as promised on {session.get_providers()[0]}"
            yield not fault, f"{file}: {name} for N = {count} is {sentence}"


def compare(output: Any, golden: Any, tolerance: float) -> str:
    """Returns a fault where the largest difference exceeds the tolerance; it is relative where values exceed 1."""
    import numpy as np

    if output.shape != golden.shape or output.dtype != golden.dtype:
        return f"{output.dtype} {list(output.shape)}, but {golden.dtype} {list(golden.shape)} was promised"
    scale = 1.0 if golden.dtype == np.uint8 else max(1.0, float(np.abs(golden).max()))
    difference = float(np.abs(output.astype(np.float64) - golden).max() / scale)
    return "" if difference <= tolerance else f"{difference:.2g} away from the golden values, beyond {tolerance:.2g}"


def outside(output: Any, low: float, high: float) -> str:
    """Returns a fault where a value is outside the range."""
    return "" if low <= output.min() and output.max() <= high else f"outside [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main())
