"""The driver: what is missing as units of work, the queue that hands them out, and the two ways to run them (here, or on Ray Tune)."""
