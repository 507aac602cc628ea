"""What a study is, what the network sees, and the network."""
