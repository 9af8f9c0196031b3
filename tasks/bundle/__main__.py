"""`python -m tasks.bundle gan|vae`."""

import argparse

from tasks.bundle.folder import write_bundle
from tasks.common.cli import run_stage
from tasks.common.model_names import MODELS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tasks.bundle", description="Makes the folder that ships.")
    parser.add_argument("model", choices=MODELS)
    model = parser.parse_args().model
    run_stage(f"bundle_{model}", lambda params: write_bundle(model, params.bundle, params.threads))
