"""The stages export_gan and export_vae: from weights to the files that ship."""
