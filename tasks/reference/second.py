"""The stage `reference_second`: makes the second evaluator, a different network, in data/reference_second."""

from tasks.reference.train import make_second
from tasks.train.loop import run_training

if __name__ == "__main__":
    run_training("reference_second", make_second)
