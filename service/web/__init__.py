"""The pages that readers work with: sign-in, the worklist, and a case with its films."""
