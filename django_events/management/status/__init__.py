"""``manage.py events status``."""
