"""`python -m reflectionflow` is the command line."""

from reflectionflow.cli import main

main()
