"""Example files of the stages and the gate: metrics, curves, pictures, manifests and receipts."""

import shutil
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tasks.common.files import sha256_file, write_json
from tasks.common.image_grid import grid, write_png
from tasks.common.inputs import stage_inputs
from tasks.common.paths import work_folder
from tasks.reference.protocol import Protocol

ROOT = Path(__file__).parents[3]
PIPELINE = """stages:
  preprocess: {cmd: true, deps: [params.yaml], params: [preprocess], outs: [data/prepared]}
  train_gan: {cmd: true, deps: [data/prepared], params: [train_gan], outs: [data/weights/gan]}
  train_vae: {cmd: true, deps: [data/missing], params: [train_vae], outs: [data/weights/vae]}
"""
FLOOR = {"fd_10k_test": 0.021, "fd_relative": 0.0011, "precision": 0.91, "recall": 0.9, "coverage": 0.97}
GAN = {"fd_10k_test": 1.73, "fd_relative": 0.0913, "precision": 0.71, "recall": 0.42, "coverage": 0.66}
CLASSES = {
    "Bag": {"share": 0.48, "share_real": 0.5, "fd_relative": 0.123},
    "<b>Coat</b>": {"share": 0.52, "share_real": 0.5},
}
INTERVALS = {"gan": {"fd_relative": [0.0871, 0.0962]}, "vae": {"fd_relative": [0.147, 0.16], "kd_10k_test": [-1, 1]}}
SECOND = {
    "gan": {"fd_relative": 0.21, "precision": 0.64, "fd_10k_test": 7.5},
    "vae": {"fd_relative": 0.34, "vendi": 9.0},
}
CHECKS = {"held_out": 0.0011, "blurred": 0.187, "missing_class": 0.0423, "chance": 0.0004, "chance_deviation": 0.0001}
SENSITIVITY = """corrupted_by,amount,fd_relative
background,0,0.00209
background,24,0.0102
blur,0.5,0.0095
blur,1,0.0969
blur,2,0.418
noise,4,0.00357
noise,16,0.0485
contrast,0.95,0.00245
contrast,0.5,0.136
missing class,Bag,0.0423
missing class,<b>Coat</b>,0.0639
"""
VAE = {"fd_10k_test": 2.9, "fd_relative": 0.153, "precision": 0.8, "recall": 0.31, "coverage": 0.52}


def fill_everything() -> None:
    """Writes what every stage writes, into the current folder; only train_vae's input is missing."""
    fill_start()
    fill_data()
    fill_evaluators()
    fill_metrics()
    fill_pictures()
    fill_curves()
    fill_receipts()
    fill_gate()


def fill_start() -> None:
    """Writes a fresh clone: parameters and the DAG."""
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    Path("dvc.yaml").write_text(PIPELINE)


def fill_data() -> None:
    counts = {"train": [60, 40], "validation": [5, 6], "test": [20, 21]}
    splits = {name: {"count": sum(count), "per_label": count} for name, count in counts.items()}
    about = {"source": "fashion-mnist", "size": 28, "color": "grey", "official_splits": True}
    write_json(Path("data/prepared/manifest.json"), about | {"labels": ["Bag", "<b>Coat</b>"], "splits": splits})
    quarantine = [{"file": f"cut-{i}.png", "reason": "truncated"} for i in range(7)]
    quarantine += [{"file": "notes.txt", "reason": "not an image"}, {"file": f"{'x' * 80}.png", "reason": "too small"}]
    write_json(Path("data/prepared/quarantine.json"), quarantine)


def fill_evaluators() -> None:
    for folder, network in (("reference", "classifier"), ("reference_second", "selfsupervised")):
        evaluator = {"network": network, "accuracy": 0.9312, "checks": CHECKS, "trusted": True}
        write_json(Path("data") / folder / "evaluator.json", evaluator)
        (Path("data") / folder / "sensitivity.csv").write_text(SENSITIVITY)
    second = Path("data/reference_second/sensitivity.csv")
    second.write_text(SENSITIVITY.replace("blur,1,0.0969", "blur,1,0.31"))


def protocol() -> dict[str, object]:
    """Returns a protocol with every current key."""
    return {name: "a" * 64 if one.annotation is str else 5 for name, one in Protocol.model_fields.items()}


def fill_metrics() -> None:
    for model, metrics in (("gan", GAN), ("vae", VAE | {"psnr_reconstructions": 21.4})):
        second = {"metrics": SECOND[model], "floor": {"fd_relative": 0.002}, "protocol": protocol()}
        second["intervals"] = {
            "fd_relative": [SECOND[model]["fd_relative"] - 0.01, SECOND[model]["fd_relative"] + 0.01]
        }
        record = {"model": model, "metrics": metrics, "floor": FLOOR, "classes": CLASSES, "memorises": False}
        record |= {"protocol": protocol(), "intervals": INTERVALS[model], "second": second}
        write_json(Path("data/evaluation") / f"{model}.json", record)


def fill_pictures() -> None:
    images = (load_digits().images * 255 / 16).round().astype(np.uint8)[:, None]
    noisy = np.clip(images + np.random.default_rng(0).normal(0, 30, images.shape), 0, 255).astype(np.uint8)
    for model, made in (("gan", noisy), ("vae", images[::-1])):
        write_png(Path("data/samples") / model / "grid.png", grid(made[:64], 8))
        write_png(Path("data/samples") / model / "nearest.png", grid(made[:32], 8))
        write_png(Path("data/samples") / model / "worst.png", grid(made[40:56], 8))
        write_png(Path("data/samples") / model / "real.png", grid(images[:64], 8))
    write_png(Path("data/samples/vae/reconstructions.png"), grid(images[:64], 8))


def fill_curves() -> None:
    steps = np.arange(1, 76) * 6400
    rows = [f"{n},{1 + 9e4 / n:.5g},{1.4 - 3e3 / n:.5g},{0.2 if n % 96000 == 0 else ''}" for n in steps]
    Path("data/curves").mkdir(parents=True)
    for model in ("gan", "vae"):
        Path(f"data/curves/{model}.csv").write_text("\n".join(["n_images,generator,discriminator,probe", *rows]) + "\n")


def fill_receipts() -> None:
    machine = {"processor": "A Processor of 2026", "cores": 2}
    for stage, facts in (
        ("preprocess", {"images": 152}),
        ("train_gan", {"images_per_second": 4321, "warning": "stopped by the wall clock: not reproducible"}),
    ):
        key = stage_inputs(stage).key
        receipt = {"stage": stage, "key": key, "seconds": 12.3, "peak_mib": 1234, "machine": machine, "facts": facts}
        write_json(work_folder() / "receipts" / stage / f"{key}.json", receipt)


def fill_gate() -> None:
    """Writes a refusal of the GAN in data/bundle, with the pictures of both models."""
    file = Path("data/bundle/gan/gan.onnx")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a network")
    write_json(file.with_name("contract.json"), {"models": {file.name: {"hashes": {"weights": "e" * 64}}}})
    write_json(work_folder() / "gate/gan.json", decision(sha256_file(file)))
    images = (load_digits().images * 255 / 16).round().astype(np.uint8)[:, None]
    for name, start in (("candidate", 0), ("live", 64)):
        write_png(work_folder() / "gate/gan" / f"{name}.png", grid(images[start : start + 64], 8))


def decision(sha256: str) -> dict[str, object]:
    """Returns what `imagewright gate` writes when it refuses a candidate after a comparison."""
    comparisons = {
        "fd_relative": comparison("ratio", (1.52, 1.47, 1.58), 1.35, "worse"),
        "coverage": comparison("difference", (0.021, 0.011, 0.032), -0.05, "better"),
        "precision": comparison("difference", (-0.04, -0.061, -0.02), -0.05, "perhaps worse"),
    }
    return {
        "candidate": evaluated("data/bundle/gan", sha256),
        "live": evaluated("live/gan", "f" * 64),
        "settings": {"confidence": 0.95, "seed": 0},
        "skipped": "the second evaluator, which fails its own checks (data/reference_second/evaluator.json)",
        "decision": "refused",
        "reasons": ["regression: fd_relative is 1.47 to 1.58 times that of the live model; <beyond the margin>"],
        "comparisons": comparisons,
        "override": None,
    }


def evaluated(bundle: str, sha256: str) -> dict[str, object]:
    view = {"metrics": GAN, "protocol": protocol(), "device": "cpu"}
    return view | {"bundle": bundle, "model": "gan", "sha256": sha256, "second": None, "memorises": False}


def comparison(kind: str, ends: tuple[float, float, float], margin: float, word: str) -> dict[str, object]:
    estimate, low, high = ends
    return {"kind": kind, "estimate": estimate, "low": low, "high": high, "margin": margin, "verdict": word}
