"""The one encoder loop and the Hugging Face model around it."""
