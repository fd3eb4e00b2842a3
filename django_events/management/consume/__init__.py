"""What ``manage.py consume`` is made of, beside the consuming itself."""
