"""How far generated images are from real ones: pure functions on features, float64 [N, D]."""
