"""Bundles that are made once for all examples."""

from functools import partial
from pathlib import Path

import pytest

from tests.conftest import made_once
from tests.examples.bundles import make_bundle


@pytest.fixture(scope="session")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a GAN that makes grey images of 28 by 28 pixels from 6 numbers."""
    return made_once(tmp_path_factory, "bundle-gan", partial(make_bundle, name="gan"))


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of such a GAN that takes one of three labels."""
    return made_once(tmp_path_factory, "bundle-told", partial(make_bundle, name="told"))


@pytest.fixture(scope="session")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a VAE that makes colour images of 32 by 32 pixels from 5 numbers."""
    return made_once(tmp_path_factory, "bundle-vae", partial(make_bundle, name="vae"))
