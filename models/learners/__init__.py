"""Learners: each has networks, optimisers and a training step."""
