"""What ``manage.py events dead-letters`` does."""
