"""Tables of series: which column is what, cells as numbers and times, splits and windows."""
