"""What speaks Redis or Valkey."""
