"""Vital signs of a training, and what counts as ill: pure functions of figures that training has anyway.

Each verdict is None, or a clause for people that says what was seen.
"""

from torch import Tensor

LEAST_DIVERSITY = 0.2  # of the real images' spread; healthy runs lie above 0.35 from the first look on
LARGEST_MARGIN = 20.0  # in logits: odds of a billion to one
DOUBTFUL_MARGIN = 10.0  # too large a margin where the probe says that the images are bad:
WORSE, CONSTANT_GENERATOR_PROBE = 2.0, 1.0  # so many times its best, or no better than one mean point
ACTIVE_VARIANCE = 0.01
LEAST_ACTIVE = 0.05  # share of the code's dimensions
MOST_NATS = 10.0  # that a dimension adds to the loss; healthy runs stay below 4


def mode_collapsed(diversity: float | None) -> str | None:
    """Mode collapse: images from different noise differ far less than real images do."""
    if diversity is None or diversity >= LEAST_DIVERSITY:
        return None
    return f"the generator collapsed (its images vary {diversity:.2g} times as much as real ones)"


def discriminator_dominates(
    real: float | None, fake: float | None, probe: float | None, best: float | None
) -> str | None:
    """A discriminator that has won: nothing it says tells the generator which way is better.

    `real` and `fake` are mean logits, `probe` the last look, 1 where one mean point is as good, and `best` the best
    look; long healthy runs may reach a doubtful margin, but then their images are good and do not get worse.
    """
    if real is None or fake is None:
        return None
    bad = probe is not None and (probe > CONSTANT_GENERATOR_PROBE or (best is not None and probe > WORSE * best))
    if real - fake <= (DOUBTFUL_MARGIN if bad else LARGEST_MARGIN):
        return None
    return f"the discriminator has won (real and generated images lie {real - fake:.3g} logits apart)"


def generator_diverged(probe: float | None, best: float | None) -> str | None:
    """A generator that fell apart: its images are no better than one mean point, and were far better."""
    if probe is None or best is None or probe <= CONSTANT_GENERATOR_PROBE or probe <= WORSE * best:
        return None
    return f"the generator fell apart (its images are {probe / best:.2g} times as far from real ones as at their best)"


# ---- number of dimensions u with Var_x(E[z_u | x]) > 0.01: Burda 2016, section 5.1 -----------------------------------
def active_units(means: Tensor) -> int:
    """Dimensions of a code that depend on the image, from posterior means float [N, L]."""
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


def posterior_collapsed(active: float | None, length: int) -> str | None:
    """Posterior collapse: the decoder draws without looking at the code."""
    if active is None or active >= max(1.0, LEAST_ACTIVE * length):
        return None
    return f"the code collapsed ({active:.0f} of its {length} dimensions depend on the image)"


def posterior_diverged(kl: float | None, weight: float, length: int) -> str | None:
    """A posterior that flew away from the prior, as it does at once where the learning rate is far too high.

    `weight` is that of the divergence in the loss: where it is next to nothing, a code may lie anywhere.
    """
    if kl is None or weight * kl <= MOST_NATS * length:
        return None
    return f"the code exploded (it lies {kl / length:.3g} nats per dimension from N(0, I))"
