"""A site without our tables: of its handlers each prints what it does."""
