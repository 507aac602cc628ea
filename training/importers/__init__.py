"""Published data sets to the study table."""
