"""Who saw which study, and decisions made again."""
