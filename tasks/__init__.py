"""What is done: one module, or one package, per stage, with the stage's name. Prefect never enters here."""

import importlib.util
import sys

# DVC takes `python` from PATH, so a stage can find itself under an interpreter that has none of its packages.
if sys.version_info < (3, 11) or importlib.util.find_spec("safetensors") is None:
    sys.exit(
        f"error: {sys.executable} is not Imagewright's interpreter; put the checkout's .venv/bin first on PATH, "
        "as `make repro` does"
    )
