"""What works, what does not, and how to mend it: on this machine, and on every node of a cluster."""
