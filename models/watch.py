"""Vital signs of a training, and what counts as ill: pure functions of figures that training has anyway.

Each verdict is None, or a clause for people that says what was seen.
"""

from torch import Tensor

LEAST_DIVERSITY = 0.2  # of the real images' spread; healthy runs lie above 0.5 from their first probe on
LARGEST_MARGIN = (
    20.0  # in logits: real and generated told apart with odds of a billion to one; healthy runs stay below 10
)
ACTIVE_VARIANCE = 0.01
LEAST_ACTIVE = 0.05  # share of the code's dimensions


def collapsed(diversity: float | None) -> str | None:
    """Mode collapse: images from different noise differ far less than real images do."""
    if diversity is None or diversity >= LEAST_DIVERSITY:
        return None
    return f"the generator collapsed (its images vary {diversity:.2g} times as much as real ones)"


def outplayed(real: float | None, fake: float | None) -> str | None:
    """A discriminator that has won: nothing it says tells the generator which way is better."""
    if real is None or fake is None or real - fake <= LARGEST_MARGIN:
        return None
    return f"the discriminator has won (real and generated images lie {real - fake:.3g} logits apart)"


# ---- number of dimensions u with Var_x(E[z_u | x]) > 0.01: Burda 2016, section 5.1 -----------------------------------
def active_units(means: Tensor) -> int:
    """Dimensions of a code that depend on the image, from posterior means float [N, L]."""
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


def ignored(active: float | None, length: int) -> str | None:
    """Posterior collapse: the decoder draws without looking at the code."""
    if active is None or active >= max(1.0, LEAST_ACTIVE * length):
        return None
    return f"the code collapsed ({active:.0f} of its {length} dimensions depend on the image)"
