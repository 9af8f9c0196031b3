"""The feature networks that judge, and what they say of the real images."""
