"""Where the bytes of instances lie, by content."""
