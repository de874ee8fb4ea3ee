"""What scores say: exact ROC numbers, their intervals, paired differences before and after, and pools over domains."""
