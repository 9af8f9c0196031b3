"""What of a machine and its set-up would make a run fail."""
