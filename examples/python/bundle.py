"""Loads a bundle and generates images with it; needs only numpy and onnxruntime.

bundle = Bundle("data/bundle/gan")
noise, labels = bundle.sample_noise(range(16))
images = bundle.generate(noise, labels)  # float32 [16, C, H, W] in [0, 1]
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FORMATS = (1, 2)  # of contract.json; they differ in a key that this program does not read
LARGEST = 4096  # images per call, which bounds the memory
CHUNK = 64  # images per run of the network

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class BundleError(ValueError):
    """An error in a bundle or in a request; the message is one sentence."""


class Bundle:
    """A generator, for a VAE also its encoder and decoder; every input is checked."""

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        """Loads the bundle in `folder`; the network uses `threads` threads, 0 for one per core.

        Raises BundleError if the folder is no bundle, for a damaged file and a contract of an unknown format.
        """
        self.folder, self._threads = Path(folder), threads
        self.model, self._contracts = read_contract(self.folder)
        self.contract = self._contracts[f"{self.model}.onnx"]
        self.length: int = self.contract["inputs"][0]["shape"][1]  # length of a noise vector
        self.shape: tuple[int, int, int] = tuple(self.contract["outputs"][0]["shape"][1:])  # channels, height, width
        self.names: list[str] = self.contract["labels"]
        self.labelled = len(self.contract["inputs"]) > 1  # whether the model is conditional on a label
        self._sessions = {file: self._open(file) for file in self._contracts if _is_used(file, self.model)}

    def sample_noise(self, seeds: Iterable[int]) -> tuple[Floats, Labels | None]:
        """Returns noise float32 [N, length] and, for a conditional model, labels int64 [N]; each row from its seed."""
        generators = [np.random.default_rng(seed) for seed in seeds]
        noise = [one.standard_normal(self.length, dtype=np.float32) for one in generators]
        labels = [one.integers(len(self.names)) for one in generators] if self.labelled else None
        rows = np.array(noise, np.float32).reshape(-1, self.length)
        return rows, None if labels is None else np.array(labels, np.int64)

    def label(self, asked: str | int) -> int:
        """Returns the number of a label given by name or number; raises BundleError where there is no such label."""
        if not self.labelled:
            raise BundleError(f"this {self.model.upper()} takes no label; omit the label")
        if str(asked) in self.names:
            return self.names.index(str(asked))
        if str(asked).isdecimal() and int(asked) < len(self.names):
            return int(asked)
        known = ", ".join(f"{number} {name}" for number, name in enumerate(self.names))
        raise BundleError(f"there is no label {asked!r}; this model knows {known}")

    def check(self, noise: Floats, labels: Labels | None = None) -> None:
        """Raises BundleError for noise or labels that `generate` refuses."""
        if noise.ndim != 2 or noise.shape[1] != self.length:
            raise BundleError(f"noise must have the shape [N, {self.length}], and this one has {list(noise.shape)}")
        if not 1 <= len(noise) <= LARGEST:
            raise BundleError(f"{len(noise):,} images at once were asked for; ask for 1 to {LARGEST:,}")
        _check_values("noise", noise)
        if labels is None and self.labelled:
            raise BundleError(f"this {self.model.upper()} needs a label for every image, int64 [N]")
        if labels is not None:
            self._check_labels(labels, len(noise))

    def generate(self, noise: Floats, labels: Labels | None = None) -> Floats:
        """Returns images float32 [N, C, H, W] in [0, 1] for noise float32 [N, length] and labels int64 [N].

        Raises BundleError for noise or labels that do not fit.
        """
        self.check(noise, labels)
        return self._run(f"{self.model}.onnx", noise, *([] if labels is None else [labels]))

    def reconstruct(self, images: Floats) -> Floats:
        """Encodes and decodes images float32 [N, C, H, W] in [0, 1] with the VAE; returns the same shape and range.

        Raises BundleError for images that do not fit, and for a model without an encoder.
        """
        if "encoder.onnx" not in self._sessions:
            raise BundleError(f"a {self.model.upper()} has no encoder, so it cannot reconstruct images; take a VAE")
        if images.ndim != 4 or images.shape[1:] != self.shape or not 1 <= len(images) <= LARGEST:
            wanted = f"[N, {', '.join(map(str, self.shape))}] with N from 1 to {LARGEST:,}"
            raise BundleError(f"images must have the shape {wanted}, and these have {list(images.shape)}")
        _check_values("images", images)
        if images.min() < 0 or images.max() > 1:
            raise BundleError("images must lie in [0, 1]; divide pixels of 0 to 255 by 255")
        return self._run("decoder.onnx", self._run("encoder.onnx", images))

    def _check_labels(self, labels: Labels, count: int) -> None:
        if not self.labelled:
            raise BundleError(f"this {self.model.upper()} takes no label; omit the label")
        if labels.dtype != np.int64 or labels.shape != (count,):
            raise BundleError(
                f"labels must be int64 with the shape [{count}], and these are {labels.dtype} {list(labels.shape)}"
            )
        if labels.min() < 0 or labels.max() >= len(self.names):
            raise BundleError(f"labels must be from 0 to {len(self.names) - 1}, and one is not")

    def _run(self, file: str, *given: Floats | Labels) -> Floats:
        """Runs a network in chunks and returns its first output."""
        contract = self._contracts[file]
        names, output = [one["name"] for one in contract["inputs"]], contract["outputs"][0]["name"]
        parts = (
            {name: values[start : start + CHUNK] for name, values in zip(names, given, strict=True)}
            for start in range(0, len(given[0]), CHUNK)
        )
        return np.concatenate([self._sessions[file].run([output], part)[0] for part in parts])

    def _open(self, file: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = self._threads, 3  # log errors only
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads do not occupy cores
        try:
            return onnxruntime.InferenceSession(self.folder / file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds of exceptions for damaged files
            why = " ".join(str(error).split())
            raise BundleError(f"{self.folder / file} cannot be loaded ({why}); get the bundle again") from error


def read_contract(folder: Path) -> tuple[str, dict[str, Any]]:
    """Checks the files' hashes; returns the model's name and the contract of each file.

    Raises BundleError if the folder is no bundle, for a damaged file and a contract of an unknown format.
    """
    try:
        contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        found, model, contracts = contract["format"], contract["model"], contract["models"]
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BundleError(f"{folder} is no bundle: {Path(error.filename).name} is not there") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / 'contract.json'} cannot be read; get the bundle again") from error
    if found not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise BundleError(f"{folder} has a contract of format {found}, and this program reads formats {known}")
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for file in ("contract.json", *(file for file in contracts if _is_used(file, model))):
        _check_hash(folder / file, sums.get(file))
    return model, contracts


def _check_hash(path: Path, wanted: str | None) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is missing; get the bundle again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise BundleError(f"{path} was changed since it was bundled; get the bundle again")


def _is_used(file: str, model: str) -> bool:
    """Returns whether this program runs the file; a bundle may also have smaller variants of it."""
    return file in (f"{model}.onnx", "encoder.onnx", "decoder.onnx")


def _check_values(what: str, values: Floats) -> None:
    if values.dtype != np.float32:
        raise BundleError(f"{what} must be float32, and this is {values.dtype}")
    if not np.isfinite(values).all():
        raise BundleError(f"{what} must hold finite numbers alone, and there is a NaN or an infinity in it")
