"""What happens to a study's record after it was read: erasure, retention, and correction of its patient."""
