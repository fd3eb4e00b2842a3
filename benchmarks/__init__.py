"""What the product is measured against: hand-written loops, in the same run and on the same parts."""
