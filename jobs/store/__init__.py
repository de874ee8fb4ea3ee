"""Where results are kept: one small Protocol, a folder, an S3 bucket."""
