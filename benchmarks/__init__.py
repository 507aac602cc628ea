"""What Demur costs and what it withstands, measured."""
