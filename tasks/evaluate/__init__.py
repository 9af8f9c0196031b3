"""The stages evaluate_gan and evaluate_vae: they evaluate the exported file, as the bytes that ship."""
