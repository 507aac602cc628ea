"""The append-only, hash-chained record of what was stored, decided and read."""
