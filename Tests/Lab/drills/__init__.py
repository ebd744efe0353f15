"""What must hold on real hosts. `Tests/Lab/drill` runs these."""
