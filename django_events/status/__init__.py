"""How the whole is: what waits, who runs, what has failed, and what an operator is to do about it."""
