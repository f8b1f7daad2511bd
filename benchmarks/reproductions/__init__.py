"""Claims of the field, tried at a small scale: docs/reproductions.md has the verdicts."""
