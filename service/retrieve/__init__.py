"""Search and retrieve what was stored."""
