"""The page: figures that can be zoomed, asked and sorted, in one file that opens without a network."""
