"""`python -m tasks.preprocess`: data/raw to data/prepared."""

from tasks.console import run_stage
from tasks.ingest.raw import RAW
from tasks.params import load_params
from tasks.prepared import PREPARED
from tasks.preprocess.prepare import preprocess


def main() -> dict[str, object]:
    """Runs the stage with the project's parameters and folders."""
    return preprocess(RAW, PREPARED, load_params().preprocess)


if __name__ == "__main__":
    run_stage("preprocess", main)
