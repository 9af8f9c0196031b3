"""The stages evaluate_gan and evaluate_vae: the exported file, judged as the bytes that ship."""
