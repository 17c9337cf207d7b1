"""What tasks train on."""
