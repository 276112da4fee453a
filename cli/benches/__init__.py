"""What `maintenance bench` measures, one module per group of figures."""
