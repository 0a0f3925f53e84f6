"""What several backends decide the same way, and who waits in a process for any of them."""
