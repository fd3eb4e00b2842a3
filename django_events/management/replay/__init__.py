"""``manage.py events replay``."""
