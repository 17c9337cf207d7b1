"""What the activation functions of a trained model are and do."""
