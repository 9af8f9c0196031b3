"""The stage `reference`: `python -m tasks.reference` makes the first of the two evaluators (feature networks).

data/reference then holds the network, its features of held-out and training images, the moments of all training images,
the distances of corrupted images (sensitivity.csv), and evaluator.json: its checks and whether it passes them.
"""

from tasks.reference.train import make_first
from tasks.train.loop import run_training

if __name__ == "__main__":
    run_training("reference", make_first)
