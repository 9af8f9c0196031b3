"""`imagewright sign FOLDER --key private.pem`: signs a bundle with your own key.

It writes FOLDER/model.sig in the format of sigstore's model-signing. The signature covers every file except itself and
SHA256SUMS; SHA256SUMS is then written again, because it also lists the signature. `verify.py --key public.pub` checks
the signature, and so does
`model_signing verify key FOLDER --signature FOLDER/model.sig --public_key public.pub`. Nothing uses the network.

`--new FILE` makes a pair of keys. To sign every release of this clone, tell git where the private key is:
`git config imagewright.signingKey /path/to/private.pem`.
"""

import argparse
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from model_signing.hashing import Config as Hashing
from model_signing.signing import Config as Signing

from tasks.bundle.faults import write_sums
from tasks.bundle.verify import SIGNATURE, SUMS, check_files
from tasks.common.cli import run
from tasks.common.errors import UserError


def sign(folder: Path, key: Path) -> None:
    """Writes model.sig and SHA256SUMS; raises UserError if the bundle fails its check or the key is unsuitable."""
    _check_key(key)
    if faults := [sentence for good, sentence in check_files(folder) if not good]:
        raise UserError(f"{folder} cannot be signed: {faults[0]}")
    hashing = Hashing()  # type: ignore[no-untyped-call]
    hashing.add_ignored_paths(model_path=folder, paths=[SIGNATURE, SUMS])
    signing = Signing().set_hashing_config(hashing)  # type: ignore[no-untyped-call]
    signing.use_elliptic_key_signer(private_key=key).sign(folder, folder / SIGNATURE)
    write_sums(folder)


def make_keys(private: Path) -> Path:
    """Makes a pair of keys; returns the path of the public one. Raises UserError if one of the files exists."""
    public = private.with_suffix(".pub")
    for path in (private, public):
        if path.exists():
            raise UserError(f"{path} already exists, and a lost key cannot be restored; name another file")
    key, pem = generate_private_key(SECP256R1()), serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with open(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def _check_key(path: Path) -> None:
    """Raises UserError unless the file has a private key without a password for P-256, the curve of verify.py."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a readable private key ({error}); `--new FILE` makes one") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise UserError(f"{path} is not a P-256 key; `imagewright sign --new FILE` makes one")


def main() -> None:
    """Signs a folder, or makes keys."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="the bundle to sign")
    parser.add_argument("--key", type=Path, help="your private key")
    parser.add_argument("--new", type=Path, metavar="FILE", help="make a private key in FILE, its public key beside it")
    given = parser.parse_args()
    if given.new:
        print(f"keep {given.new} secret, and give {make_keys(given.new)} to those who check your bundles")
    elif given.folder and given.key:
        sign(given.folder, given.key)
        print(f"{given.folder / SIGNATURE}")
    else:
        parser.error("name a folder and --key, or --new")


if __name__ == "__main__":
    run(main)
