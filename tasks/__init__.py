"""What is done: one module, or one package, per stage, with the stage's name. Prefect never enters here."""

import importlib.util
import os
import sys

# DVC takes `python` from PATH, so a stage can find itself under an interpreter that has none of its packages.
if sys.version_info < (3, 11) or importlib.util.find_spec("safetensors") is None:
    sys.exit(
        f"error: {sys.executable} is not Imagewright's interpreter; put the checkout's .venv/bin first on PATH, "
        "as `make repro` does"
    )

# How often a thread of OpenMP looks for work before it sleeps (libgomp: 300,000 times, which is milliseconds). While
# another process computes, a thread that looks on keeps its core from the very thread that it waits for. Read when
# torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")
