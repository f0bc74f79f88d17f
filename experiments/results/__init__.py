"""What lies on the disk: points, rows, journals, tables, and the files that hold them."""
