"""Turns candidates into releases: gate, commits, pushes and tags."""
