"""The stages export_gan and export_vae: they make the files that ship from the weights."""
