"""The MLflow mirror: delayed or rebuilt at will, never in the way of the grid."""
