"""The stages, and the command line that runs them."""
