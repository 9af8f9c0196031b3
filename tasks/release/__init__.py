"""What a release adds to a bundle: its lineage, its notes and a signature."""
