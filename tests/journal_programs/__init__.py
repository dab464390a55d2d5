"""What the tests of the write side and the read side share: programs to start, and journals to make by hand."""
