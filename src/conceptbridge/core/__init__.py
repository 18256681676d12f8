"""What every part of the library uses."""
