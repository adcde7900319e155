"""What all commands share: options, help, and the translation of errors."""
