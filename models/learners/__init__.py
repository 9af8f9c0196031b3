"""Learners: each owns its networks and optimisers and knows how to take one step."""
