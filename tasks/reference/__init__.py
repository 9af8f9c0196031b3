"""The stages reference and reference_second: two feature networks and their statistics of the real images."""
