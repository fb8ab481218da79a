"""What a run found: numbers as plain rows, and the pictures and pages made of them."""
