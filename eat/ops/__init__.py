"""Pure tensor functions: no state, no configuration, each testable by hand."""
