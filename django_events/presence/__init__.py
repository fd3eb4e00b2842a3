"""Which processes run, and what each does: every process writes a row about itself from time to time."""
