"""What must be true of every history. A rule is a generator of violations, and its docstring is the promise."""
