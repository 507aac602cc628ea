"""The sites that send, and how far each trusts Demur."""
