"""Multi-site radiographs in, ensemble checkpoints out."""
