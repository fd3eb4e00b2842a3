"""How payloads become bytes and back. ``codec`` is what every codec has; the others are those that we bring."""
