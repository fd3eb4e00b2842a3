"""``manage.py events groups``."""
