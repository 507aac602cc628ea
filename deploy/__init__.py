"""Checkpoints and certificate in, one verified bundle out; run it and replay it."""
