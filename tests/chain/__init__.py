"""Three services in a row: each handles what the one before has sent, and sends something itself."""
