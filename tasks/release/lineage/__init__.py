"""Who made a file that ships: what its contract says, and what stands beside it since it was released."""
