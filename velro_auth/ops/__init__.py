"""For operators: the command line, the database, doctor, monitor, benchmark, checkpoints."""
