"""What surrounds an attempt: retries, timeouts, breakers and limits, as pure machines."""
