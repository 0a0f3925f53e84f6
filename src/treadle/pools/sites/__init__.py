"""Where the jobs of a foreman run, one site for each mode."""
