"""What runs units: one process that holds a model warm, tries stages, commits them, and leaves in order when it is told to."""
