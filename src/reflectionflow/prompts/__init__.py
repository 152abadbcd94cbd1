"""Every word sent to a model, as named templates."""
