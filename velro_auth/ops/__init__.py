"""What operators run: the command line, database, diagnostics, benchmark, monitor and checkpoints."""
