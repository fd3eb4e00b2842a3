"""The product against loops written by hand, in the same run and on the same parts: ``./dev bench``."""
