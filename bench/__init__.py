"""The benchmark around `mnist_core`: scenarios, measuring, result files, tables, command line."""
