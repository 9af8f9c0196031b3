"""Bundles that are made once for all examples."""

from pathlib import Path

import pytest

from tests.examples.bundles import make_bundle


@pytest.fixture(scope="session")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a GAN that makes grey images of 28 by 28 pixels from 6 numbers."""
    return make_bundle(tmp_path_factory.mktemp("gan"), "gan")


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of such a GAN that takes one of three labels."""
    return make_bundle(tmp_path_factory.mktemp("told"), "told")


@pytest.fixture(scope="session")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a VAE that makes colour images of 32 by 32 pixels from 5 numbers."""
    return make_bundle(tmp_path_factory.mktemp("vae"), "vae")
