"""Code that several stages share and that no stage owns."""
