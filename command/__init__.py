"""The `meter` command: composition roots, the command line and the development server."""
