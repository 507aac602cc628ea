"""From stored instances to a decision."""
