"""From candidates to releases: the gate, commits, pushes and tags."""
