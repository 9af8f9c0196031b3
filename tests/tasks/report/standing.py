"""What the stages leave in a project, made up: figures, curves, pictures, manifests and receipts."""

import shutil
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tasks.files import write_json
from tasks.inputs import stage_inputs
from tasks.pictures import grid, write_png
from tasks.workplace import work_folder

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
VAE = {"fd_10k_test": 2.9, "fd_relative": 0.153, "precision": 0.8, "recall": 0.31, "coverage": 0.52}


def fill_everything() -> None:
    """The state of the folder where it is called after every stage ran, save that train_vae's input is gone."""
    fill_start()
    fill_data()
    fill_figures()
    fill_pictures()
    fill_curves()
    fill_receipts()


def fill_start() -> None:
    """A fresh clone: parameters and the DAG."""
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    Path("dvc.yaml").write_text(PIPELINE)


def fill_data() -> None:
    counts = {"train": [60, 40], "validation": [5, 6], "test": [20, 21]}
    splits = {name: {"count": sum(count), "per_label": count} for name, count in counts.items()}
    about = {"source": "fashion-mnist", "size": 28, "color": "grey", "official_splits": True}
    write_json(Path("data/prepared/manifest.json"), about | {"labels": ["Bag", "<b>Coat</b>"], "splits": splits})
    quarantine = [{"file": f"cut-{i}.png", "reason": "truncated"} for i in range(7)]
    write_json(Path("data/prepared/quarantine.json"), [*quarantine, {"file": "notes.txt", "reason": "not an image"}])
    checks = {"held_out": 0.0011, "blurred": 0.187, "missing_class": 0.0423}
    judge = {"network": "labels", "accuracy": 0.9312, "checks": checks, "counts": True}
    write_json(Path("data/reference/judge.json"), judge)


def fill_figures() -> None:
    protocol = {"network": "a" * 64, "reference": "b" * 64, "n_images": 10000, "seed": 0, "neighbours": 5}
    for model, figures in (("gan", GAN), ("vae", VAE | {"psnr_reconstructions": 21.4})):
        record = {"model": model, "figures": figures, "floor": FLOOR, "classes": CLASSES, "memorises": False}
        record["protocol"] = protocol
        write_json(Path("data/metrics") / f"{model}.json", record)


def fill_pictures() -> None:
    images = (load_digits().images * 255 / 16).round().astype(np.uint8)[:, None]
    noisy = np.clip(images + np.random.default_rng(0).normal(0, 30, images.shape), 0, 255).astype(np.uint8)
    for model, made in (("gan", noisy), ("vae", images[::-1])):
        write_png(Path("data/samples") / model / "grid.png", grid(made[:64], 8))
        write_png(Path("data/samples") / model / "nearest.png", grid(made[:32], 8))
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
