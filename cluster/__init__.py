"""What jobs run on: embedded services, Ray start and connect, node facts. Knows nothing of trials."""
