"""What the product's side of a run does, each file one process: ``run(clock, …)`` returns what it has to tell."""
