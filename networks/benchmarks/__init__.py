"""The field's benchmarks: series by their canonical definitions, and what a network of any node makes of them."""
