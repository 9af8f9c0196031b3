"""The stage `reference`: `python -m tasks.reference` makes the first of two feature networks that judge.

data/reference then holds the network, its features of held-out and of training images, the moments of all training
images, how it answers to images that are spoilt on purpose, and evaluator.json: how good it is and whether it counts.
"""

from tasks.reference.train import make_first
from tasks.train.loop import run_training

if __name__ == "__main__":
    run_training("reference", make_first)
