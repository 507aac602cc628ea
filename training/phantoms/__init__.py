"""Radiographs with known truth, made by physics; numpy and scipy only."""
