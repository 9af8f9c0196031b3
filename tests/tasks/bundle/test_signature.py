"""model.sig: who signed a bundle, as verify.py says it and as the library of the format does."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from model_signing.verifying import Config as VerifyingConfig

from tasks.bundle.faults import write_sums
from tasks.bundle.verify import GENERATOR, is_signed, verify_files
from tasks.common.errors import UserError
from tasks.release.signature import make_keys, sign
from tests.tasks.bundle.consumer import faults, verify


def test_a_signature_is_checked_against_the_key_that_is_named(shipped: Path, tmp_path: Path) -> None:
    mine, other = make_keys(tmp_path / "mine.pem"), make_keys(tmp_path / "other.pem")
    assert "model.sig is missing: this bundle is not signed" in verify(shipped, key=mine).stdout
    sign(shipped, tmp_path / "mine.pem")
    said = verify(shipped)
    assert said.returncode == 0 and "use --key PUBLIC_KEY to check who signed them" in said.stdout
    said = verify(shipped, key=mine)
    assert said.returncode == 0 and "signed by the owner of mine.pub" in said.stdout
    said = verify(shipped, key=other)
    assert said.returncode == 1
    assert "FAIL  model.sig was not made by the owner of other.pub: another key signed it" in said.stdout
    assert "is not a public P-256 key in PEM format" in verify(shipped, key=tmp_path / "mine.pem").stdout


@pytest.mark.parametrize("name", ["lineage.json", "gan.onnx", "verify.py"])
def test_mended_sums_do_not_mend_a_signature(shipped: Path, tmp_path: Path, name: str) -> None:
    make_keys(tmp_path / "mine.pem")
    sign(shipped, tmp_path / "mine.pem")
    (shipped / name).write_bytes((shipped / name).read_bytes() + b" ")
    write_sums(shipped)
    assert faults(shipped) == ["FAIL  model.sig signs other files than these; get the bundle again"]


def test_a_signature_of_changed_bits_is_nobodys(shipped: Path, tmp_path: Path) -> None:
    mine = make_keys(tmp_path / "mine.pem")
    sign(shipped, tmp_path / "mine.pem")
    written = json.loads((shipped / "model.sig").read_text())
    [one] = written["dsseEnvelope"]["signatures"]
    whole = base64.b64decode(one["sig"])
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        one["sig"] = base64.b64encode(changed).decode()
        (shipped / "model.sig").write_text(json.dumps(written))
        write_sums(shipped)
        assert not verify_files(shipped, mine), f"byte {place}"


def test_it_judges_signatures_as_a_library_does() -> None:
    for number in range(20):
        key, message = generate_private_key(SECP256R1()), f"message {number}".encode()
        numbers, signature = key.public_key().public_numbers(), key.sign(message, ECDSA(SHA256()))
        assert is_signed(message, signature, (numbers.x, numbers.y))
        assert not is_signed(message + b".", signature, (numbers.x, numbers.y))
        assert not is_signed(message, signature, GENERATOR)


def test_model_signing_takes_the_signature(shipped: Path, tmp_path: Path) -> None:
    public = make_keys(tmp_path / "mine.pem")
    sign(shipped, tmp_path / "mine.pem")
    VerifyingConfig().use_elliptic_key_verifier(public_key=public).verify(shipped, shipped / "model.sig")
    (shipped / "lineage.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'lineage\.json'"):
        VerifyingConfig().use_elliptic_key_verifier(public_key=public).verify(shipped, shipped / "model.sig")


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("cannot be signed: SHA256SUMS is missing", lambda path: sign(path, path / "mine.pem")),
        ("is not a readable private key", lambda path: sign(path / "bundle", path / "bundle/SHA256SUMS")),
        ("a lost key cannot be restored", lambda path: make_keys(path / "mine.pem")),
    ],
)
def test_what_cannot_be_signed_is_one_sentence(tmp_path: Path, words: str, call: Callable[[Path], object]) -> None:
    (tmp_path / "bundle").mkdir()
    write_sums(tmp_path / "bundle")
    make_keys(tmp_path / "mine.pem")
    with pytest.raises(UserError, match=words):
        call(tmp_path)
