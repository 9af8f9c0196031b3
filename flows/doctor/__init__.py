"""`make doctor`: checks what would make a run fail on this machine."""
