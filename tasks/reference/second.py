"""The stage `reference_second`: a second feature network, which learnt something else, judges beside the first.

data/reference_second holds what data/reference holds of the first.
"""

from tasks.reference.train import make_second
from tasks.train.loop import run_training

if __name__ == "__main__":
    run_training("reference_second", make_second)
