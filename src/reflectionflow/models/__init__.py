"""Adapters to the outside world: each module plays roles with one family of models and imports its library inside."""
