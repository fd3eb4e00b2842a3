"""The documentation: pages, the site that is made of them, and the pictures."""
