"""`python -m tasks.preprocess` packs the images of data/raw into data/prepared."""

from tasks.common.cli import run_stage
from tasks.common.params import Params
from tasks.ingest.raw import RAW
from tasks.preprocess.dataset import PREPARED
from tasks.preprocess.prepare import preprocess


def main(params: Params) -> dict[str, int]:
    """Runs the stage on the project's folders."""
    return preprocess(RAW, PREPARED, params.preprocess)


if __name__ == "__main__":
    run_stage("preprocess", main)
