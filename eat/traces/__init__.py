"""What every head answered, once, and all that follows from it without a model or a clock."""
