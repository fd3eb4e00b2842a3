"""An app that declares as many topics as it is told to."""
