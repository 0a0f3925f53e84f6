"""Where the calls of workers run, one place for each worker."""
