"""Score table in, certificate out; the decision rule; monitoring. Pure functions."""
