"""The stages export_gan and export_vae: `python -m tasks.export gan|vae` makes data/onnx from data/weights."""

import argparse

from tasks.common.cli import run_stage
from tasks.common.model_names import MODELS
from tasks.export.files import export

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    chosen = parser.parse_args().model
    run_stage(f"export_{chosen}", lambda params: export(chosen, params))
