"""What several stages share and none of them owns."""
