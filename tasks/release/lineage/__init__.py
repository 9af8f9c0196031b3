"""The origin of a file that ships: what its contract says, and the lineage.json that its release added."""
