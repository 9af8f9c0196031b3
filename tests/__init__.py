"""Tests; a regular package, because torch-fidelity installs one of the same name, which would hide any other."""
