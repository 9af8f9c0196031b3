"""`python -m tasks.release gan|vae --version v1.2.0`."""

from tasks.common.cli import run
from tasks.release.pack import main

if __name__ == "__main__":
    run(main)
