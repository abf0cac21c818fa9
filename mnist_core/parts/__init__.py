"""What `loop` exchanges: where a batch comes from, how it is computed and counted, how the weights are updated."""
