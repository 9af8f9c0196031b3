"""One HTML page, from what stands there, that opens from disk without a network; it is no stage."""
