"""What is done: manifests, failures, progress and leases in a store."""
