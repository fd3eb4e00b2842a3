"""An app that declares a topic for each of many payload classes."""
